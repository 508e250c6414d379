"""Telemetry by OTLP/HTTP in its JSON encoding: a bounded queue, and a thread that sends what is in it.

Encoding: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Why not by OpenTelemetry's SDK:
docs/decisions/0052-otlp-in-json.md.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog
import urllib3

from app.telemetry.lines import encoded
from app.telemetry.metrics import runtime

SEND_EVERY_SECONDS = 0.4
SEND_SECONDS_MAX = 3.0
RETRIES_MAX = 2
RETRY_BACKOFF_SECONDS = 0.2
QUEUE_RECORDS_MAX = 4096
BATCH_RECORDS_MAX = 1024
SHUTDOWN_SECONDS_MAX = 2.0
MENTION_EVERY_SECONDS = 10.0
STDOUT_ONLY = "_stdout_only"
"""A key of log events whose subject is the transport they would travel by."""

_TRY_AGAIN_STATUSES = frozenset({429, 502, 503, 504})
INTEGER_MAX = 2**63 - 1

ItemT = TypeVar("ItemT")

log = structlog.get_logger()


@dataclass(frozen=True)
class Speaker:
    """Who exports: the resource of every record."""

    service: str
    instance: str
    environment: str
    version: str

    def resource(self) -> dict[str, Any]:
        """Return the resource, by OpenTelemetry's names."""
        return {
            "attributes": attributes(
                {
                    "service.name": self.service,
                    "service.namespace": "dcs",
                    "service.instance.id": self.instance,
                    "service.version": self.version,
                    "deployment.environment.name": self.environment,
                }
            )
        }


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them. What is neither text nor a number becomes JSON."""
    return [
        # Most values are such text, and a call for each would be half the cost.
        {"key": key, "value": {"stringValue": value}}
        if type(value) is str and value.isascii()
        else {"key": key, "value": value_of(value)}
        for key, value in values.items()
        if value is not None
    ]


def value_of(value: Any) -> dict[str, Any]:
    """Return one value as OTLP has it."""
    if isinstance(value, str):
        # A half of a surrogate pair is no text: a collector would refuse the whole batch.
        return {"stringValue": value if value.isascii() else value.encode(errors="replace").decode()}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -INTEGER_MAX <= value <= INTEGER_MAX:
        return {"intValue": value}
    if isinstance(value, float) and math.isfinite(value):
        return {"doubleValue": value}
    if isinstance(value, UUID):
        return {"stringValue": value}  # JSON has its text
    return {"stringValue": encoded(value).decode()}


class OtlpExporter(Generic[ItemT]):
    """Sends items in the background. When the queue is full the oldest are dropped; the caller never waits.

    Args:
        signal: ``logs`` or ``traces``, for metrics and messages.
        endpoint: The full URL.
        request: Makes the body of a request of items, as a structure that JSON can hold.

    """

    def __init__(self, signal: str, endpoint: str, request: Callable[[Sequence[ItemT]], object]) -> None:
        self._endpoint = endpoint
        self._request = request
        self._signal = signal
        self._queue: deque[ItemT] = deque()
        self._awake = threading.Event()
        self._ending = threading.Event()
        self._lost = runtime.OTLP_RECORDS_LOST.labels(signal)
        self._mentioned_at = -math.inf
        self._http = urllib3.PoolManager(
            num_pools=1,
            timeout=urllib3.Timeout(total=SEND_SECONDS_MAX),
            retries=urllib3.Retry(
                RETRIES_MAX,
                read=0,  # it may have been taken
                backoff_factor=RETRY_BACKOFF_SECONDS,
                backoff_max=SEND_SECONDS_MAX,
                status_forcelist=_TRY_AGAIN_STATUSES,
                allowed_methods=None,
                respect_retry_after_header=False,  # it may say an hour
                raise_on_status=False,
            ),
        )
        self._thread = threading.Thread(target=self._run, name=f"otlp-{signal}", daemon=True)
        self._thread.start()

    def put(self, item: ItemT) -> None:
        """Queue an item."""
        if len(self._queue) >= QUEUE_RECORDS_MAX:
            self._drop_oldest()
        self._queue.append(item)
        if len(self._queue) >= BATCH_RECORDS_MAX and not self._awake.is_set():
            self._awake.set()

    def shutdown(self) -> None:
        """Send what is queued, for at most 2 s."""
        self._ending.set()
        self._awake.set()
        self._thread.join(SHUTDOWN_SECONDS_MAX)

    def _drop_oldest(self) -> None:
        try:
            self._queue.popleft()
        except IndexError:  # it was sent just now
            return
        self._lost.inc()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._awake.wait(SEND_EVERY_SECONDS)
            self._awake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while batch := self._take():
            try:
                self._send(batch)
            except Exception as error:  # noqa: BLE001  nothing that is told may end the telling
                self._give_up(batch, error)
            if len(self._queue) < BATCH_RECORDS_MAX and not self._ending.is_set():
                return

    def _take(self) -> list[ItemT]:
        batch: list[ItemT] = []
        try:
            while len(batch) < BATCH_RECORDS_MAX:
                batch.append(self._queue.popleft())
        except IndexError:
            pass
        return batch

    def _send(self, batch: Sequence[ItemT]) -> None:
        answer = self._http.request(
            "POST",
            self._endpoint,
            body=encoded(self._request(batch)),
            headers={"Content-Type": "application/json"},
            redirect=False,
        )
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise urllib3.exceptions.HTTPError(f"status {answer.status}")

    def _give_up(self, batch: Sequence[ItemT], error: Exception) -> None:
        self._lost.inc(len(batch))
        now = time.monotonic()
        if now - self._mentioned_at < MENTION_EVERY_SECONDS:
            return
        self._mentioned_at = now
        log.warning(
            "otlp_export_failed",
            signal=self._signal,
            endpoint=self._endpoint,
            error=str(error),
            **{STDOUT_ONLY: True},
        )
