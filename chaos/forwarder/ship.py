"""One bounded queue and one thread that send log records of many programs by OTLP/HTTP."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult

QUEUE_MAX_RECORDS = 5_000
BATCH_MAX_RECORDS = 512
EXPORT_TIMEOUT_SECONDS = 2.0
BACKOFF_MIN_SECONDS = 0.25
BACKOFF_MAX_SECONDS = 2.0
BATCH_AGE_MAX_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 1.0

_RETRYABLE = frozenset({408, 429})

_LOGGER = logging.getLogger(__name__)

Outcome = Callable[[Sequence[ReadableLogRecord], str], None]


class Shipper:
    """Sends what it is given; drops the oldest when the receiver is away for too long.

    ``outcome`` is told the fate of every record: shipped, dropped_queue or dropped_export.
    """

    def __init__(self, endpoint: str, outcome: Outcome, queue_max_records: int = QUEUE_MAX_RECORDS) -> None:
        self._outcome = outcome
        self._queue: deque[ReadableLogRecord] = deque()
        self._queue_max_records = queue_max_records
        self._wake = threading.Condition()
        self._stopping = False
        self._last_status = 0
        self.failing_since_unix: float | None = None
        # The exporter would log a line per attempt; `failing_since_unix` says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        session = requests.Session()
        session.trust_env = False
        session.hooks["response"].append(self._note_status)
        self._exporter = OTLPLogExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS, session=session)
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, records: Sequence[ReadableLogRecord]) -> None:
        """Queue records; never blocks."""
        if not records:
            return
        dropped = []
        with self._wake:
            self._queue.extend(records)
            while len(self._queue) > self._queue_max_records:
                dropped.append(self._queue.popleft())
            self._wake.notify()
        if dropped:
            self._outcome(dropped, "dropped_queue")

    def stop(self) -> None:
        """Send what is queued, within `STOP_TIMEOUT_SECONDS`, then give up."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(STOP_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends its own back-off
            self._thread.join(STOP_TIMEOUT_SECONDS / 2)

    def _note_status(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._last_status = response.status_code

    def _run(self) -> None:
        while batch := self._take():
            self._send(batch)

    def _take(self) -> list[ReadableLogRecord]:
        with self._wake:
            while not self._queue and not self._stopping:
                self._wake.wait()
            return [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX_RECORDS))]

    def _send(self, batch: list[ReadableLogRecord]) -> None:
        started = time.monotonic()
        backoff_seconds = BACKOFF_MIN_SECONDS
        while True:
            self._last_status = 0
            if self._exporter.export(batch) is LogRecordExportResult.SUCCESS:
                self._recovered()
                self._outcome(batch, "shipped")
                return
            status = self._last_status
            rejected = 400 <= status < 500 and status not in _RETRYABLE  # noqa: PLR2004
            if rejected or self._stopping or time.monotonic() - started > BATCH_AGE_MAX_SECONDS:
                _LOGGER.warning("batch_dropped", extra={"records": len(batch), "status": status})
                self._outcome(batch, "dropped_export")
                return
            self._failed(status)
            with self._wake:
                self._wake.wait_for(lambda: self._stopping, backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, BACKOFF_MAX_SECONDS)

    def _failed(self, status: int) -> None:
        if self.failing_since_unix is None:
            self.failing_since_unix = time.time()
            _LOGGER.warning("export_failing", extra={"status": status or None})

    def _recovered(self) -> None:
        if self.failing_since_unix is not None:
            _LOGGER.info(
                "export_recovered", extra={"after_seconds": round(time.time() - self.failing_since_unix, 1)}
            )
            self.failing_since_unix = None
