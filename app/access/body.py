"""A request's body, as it comes in, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access.errors import BodyTooLargeError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope


class BodyLimit:
    """Passes a body on until it is too large. Says so to whoever reads it, and remembers."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._bytes_max = self._bytes_left = bytes_max
        self._replay: Message | None = None
        self.exceeded = False

    def check_declared(self, scope: Scope) -> None:
        """Raise ``BodyTooLargeError`` for a body that is known to be too large before it comes."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._bytes_max:
                raise BodyTooLargeError

    async def __call__(self) -> Message:
        """Receive the next message. Raises ``BodyTooLargeError``."""
        if self._replay is not None:
            message, self._replay = self._replay, None
            return message
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_left -= len(message.get("body", b""))
            if self._bytes_left < 0:
                self.exceeded = True
                raise BodyTooLargeError
        return message

    async def whole(self) -> bytes:
        """Return the body, which the application can then receive all the same."""
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self()
            if message["type"] != "http.request":  # the client has gone
                self._replay = message
                return b"".join(chunks)
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(chunks)
        self._replay = {"type": "http.request", "body": body, "more_body": False}
        return body
