"""A TCP forwarder with the failures of a network path."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536


class PathState(enum.Enum):
    PASS = "pass"
    REFUSE = "refuse"  # nothing listens
    CLOSE = "close"  # accepted, then hung up: a proxy whose upstream is dead
    BLACK_HOLE = "black hole"  # accepted and acknowledged, never answered


@dataclass
class _Talk:
    """One connection through the forwarder, in both directions."""

    doomed: bool = False
    """The client sent the statement whose transaction it shall not see committed."""
    muted: bool = False
    """It also sent COMMIT: the server's next answer is swallowed, and the connection ends."""


class TcpForwarder:
    """Forwards to one upstream. Its state holds for existing connections, too."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._state = PathState.PASS
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.connections_seen = 0
        self._doom: bytes | None = None
        self.delay_seconds = 0.0
        """How long each chunk of the upstream's answers is kept back."""
        self._last_word = b"COMMIT"
        self.answer_bytes_max: int | None = None
        """After so many bytes of answers a connection is cut off, as by a limit on data."""

    def lose_answer_to_commit_after(self, statement: bytes) -> None:
        """Let the next COMMIT after ``statement`` take place, but cut the connection instead of saying so."""
        self._doom, self._last_word = statement, b"COMMIT"

    def lose_answer_to(self, statement: bytes) -> None:
        """Let the next such statement take place, but cut the connection instead of saying so."""
        self._doom = self._last_word = statement

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def set_state(self, state: PathState) -> None:
        was, self._state = self._state, state
        if state is PathState.REFUSE:
            # shutdown() wakes the thread in accept(); close() alone would leave it listening.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if state in (PathState.REFUSE, PathState.CLOSE) or was is PathState.BLACK_HOLE:
            self._hang_up()
        if was is PathState.REFUSE and state is not PathState.REFUSE:
            self._listener = self._listen(self.port)

    def _hang_up(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections_seen += 1
            if self._state is PathState.CLOSE:
                client.close()
                continue
            with self._lock:
                self._sockets.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._state is PathState.BLACK_HOLE:
            self._pump(client, None, _Talk())
            return
        try:
            upstream = socket.create_connection(self._upstream, timeout=5)
        except OSError:
            client.close()
            return
        upstream.settimeout(None)
        with self._lock:
            self._sockets.add(upstream)
        talk = _Talk()
        threading.Thread(target=self._pump, args=(upstream, client, talk), daemon=True).start()
        self._pump(client, upstream, talk, asks=True)

    def _listen_in(self, talk: _Talk, chunk: bytes) -> None:
        if self._doom is not None and self._doom in chunk:
            talk.doomed, self._doom = True, None
        if talk.doomed and self._last_word in chunk:
            talk.muted = True

    def _pump(
        self, source: socket.socket, sink: socket.socket | None, talk: _Talk, *, asks: bool = False
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if not asks and self.answer_bytes_max is not None and sink is not None:
                    # How much comes at once is up to the kernel; how much gets through is not.
                    sink.sendall(chunk[: max(0, self.answer_bytes_max - passed)])
                    passed += len(chunk)
                    if passed > self.answer_bytes_max:
                        break
                    continue
                if asks:
                    self._listen_in(talk, chunk)
                elif talk.muted:
                    break
                elif self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if self._state is not PathState.BLACK_HOLE and sink is not None:
                    sink.sendall(chunk)
        for one in (source, sink):
            if one is not None and self._state is not PathState.BLACK_HOLE:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
