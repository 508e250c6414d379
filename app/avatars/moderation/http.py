"""Moderates by a moderation API. Every call ends in time, and every answer is checked before it counts."""

from __future__ import annotations

import base64
import datetime as dt
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from app.avatars.moderation import CATEGORIES, Content, ModerationError, Scores
from app.avatars.moderation.calls import ModerationCall, moderation_call
from app.net.breaker import Breaker, BreakerOpenError
from app.net.targets import TargetRefusedError
from app.sources.exchange import retry_after_seconds
from app.telemetry.tracing import outgoing_headers

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES_MAX = 64 * 1024
CATEGORIES_MAX = 64
RETRY_AFTER_SECONDS_DEFAULT = 5.0
_TOO_MANY_REQUESTS = 429
_RETRYABLE = frozenset({408, 421, 425})

CategoryName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_./-]{0,63}$")]
Score = Annotated[float, Field(ge=0.0, le=1.0, strict=True, allow_inf_nan=False)]


class _Answer(BaseModel):
    # What the API promises. Anything else is refused: a score that is missing would pass for a good one.
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(min_length=1, max_length=200)
    scores: dict[CategoryName, Score] = Field(max_length=CATEGORIES_MAX)
    flagged: StrictBool
    model: str = Field(min_length=1, max_length=200)


class HttpModerator:
    """Calls ``POST {base}/v1/moderate``. ``make_client``: what it is called with, made at the first call."""

    def __init__(
        self,
        url: str,
        make_client: Callable[[], httpx.Client],
        breaker: Breaker,
        *,
        timeout_seconds: float,
        token_file: Path | None = None,
    ) -> None:
        self._url = f"{url.rstrip('/')}/v1/moderate"
        self.name = f"http {self._url}"
        self._make_client = make_client
        self._breaker = breaker
        self._timeout_seconds = timeout_seconds
        self._token_file = token_file
        self._lock = threading.Lock()
        self._shared: httpx.Client | None = None

    def moderate(self, content: Content, *, key: str) -> Scores:
        """Ask the API, unless it has failed too often just now."""
        with moderation_call(self._url) as call:
            try:
                self._breaker.admit()
            except BreakerOpenError as exc:
                raise ModerationError(
                    "breaker_open", str(exc), retry_after_seconds=exc.retry_after_seconds
                ) from exc
            try:
                scores = _parsed(self._post(content, key, call))
            except ModerationError as exc:
                self._tell_breaker(exc)
                raise
            except BaseException:
                self._breaker.failed()
                raise
            self._breaker.succeeded()
            return scores

    def _tell_breaker(self, error: ModerationError) -> None:
        if error.reason == "rate_limited":
            self._breaker.pause(error.retry_after_seconds or RETRY_AFTER_SECONDS_DEFAULT)
        elif error.retryable:
            self._breaker.failed()
        else:
            self._breaker.succeeded()  # it answers; it is this request that it does not like

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._shared is None:
                self._shared = self._make_client()
            return self._shared

    def _post(self, content: Content, key: str, call: ModerationCall) -> bytes:
        import httpx  # noqa: PLC0415  only workers with an API to ask need it

        deadline = _Deadline(self._timeout_seconds)
        try:
            with (
                deadline,
                self._client().stream(
                    "POST",
                    self._url,
                    content=_question(content),
                    headers=self._headers(key),
                    extensions={"trace": deadline.watch},
                ) as response,
            ):
                call.status = response.status_code
                return _body(response)
        except TargetRefusedError as exc:
            raise ModerationError("forbidden", f"{self._url} {exc}") from exc
        except httpx.HTTPError as exc:
            if deadline.passed or isinstance(exc, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
                message = f"{self._url} did not answer within {self._timeout_seconds:g} s"
                raise ModerationError("timeout", message) from exc
            if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
                raise ModerationError("unreachable", f"{self._url}: {exc or type(exc).__name__}") from exc
            raise ModerationError("invalid_response", f"{self._url} broke off: {exc!r}") from exc

    def _headers(self, key: str) -> dict[str, str]:
        headers = {
            **outgoing_headers(),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # what would be decompressed has no size yet
            "Idempotency-Key": key,
            "Connection": "close",  # a deadline can only cut a connection that was seen to be made
        }
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        return headers


class _Deadline:
    """Cuts a call's connection when its time is over: time-outs of a read alone never end a drip."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.passed = False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None  # by now it may belong to somebody else

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn which socket is used, from httpcore's own events."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.passed:
                self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


def _question(content: Content) -> bytes:
    if content.png is not None:
        return orjson.dumps(
            {"image_base64": base64.b64encode(content.png).decode(), "media_type": "image/png"}
        )
    return orjson.dumps({"text": content.text})


def _body(response: httpx.Response) -> bytes:
    status = response.status_code
    if status == _TOO_MANY_REQUESTS:
        seconds = _asked_to_wait(response) or RETRY_AFTER_SECONDS_DEFAULT
        message = f"{response.url} answered 429; it may be asked again in {seconds:g} s"
        raise ModerationError("rate_limited", message, retry_after_seconds=seconds)
    if response.is_server_error or status in _RETRYABLE:
        raise ModerationError(
            "server_error",
            f"{response.url} answered {status}",
            retry_after_seconds=_asked_to_wait(response),
        )
    if not response.is_success:
        raise ModerationError("client_error", f"{response.url} answered {status}", retryable=False)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or response.headers.get("content-encoding", "identity") != "identity":
        raise ModerationError("invalid_response", f"{response.url} answered with {media_type or 'no type'}")
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise ModerationError("invalid_response", f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _asked_to_wait(response: httpx.Response) -> float | None:
    return retry_after_seconds(response.headers, now=dt.datetime.now(dt.UTC))


def _parsed(body: bytes) -> Scores:
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as exc:
        message = f"the answer is not what the API promises: {exc.error_count()} errors"
        raise ModerationError("invalid_response", message) from exc
    missing = [category for category in CATEGORIES if category not in answer.scores]
    if missing:
        raise ModerationError("invalid_response", f"the answer does not score {', '.join(missing)}")
    return Scores(answer.scores, answer.flagged, answer.model, answer.id)
