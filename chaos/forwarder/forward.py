"""Turns lines of log files into OpenTelemetry records, one resource per program."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AnyValue
from prometheus_client import CollectorRegistry, Counter, Gauge

from chaos.forwarder.levels import level_and_message
from chaos.forwarder.positions import load, save
from chaos.forwarder.ship import Shipper
from chaos.forwarder.tail import BEGINNING, Position, Tail

POLL_INTERVAL_SECONDS = 0.2
LINES_PER_SECOND_MAX = 500
BURST_SECONDS = 2

OUTCOMES = ("shipped", "dropped_rate", "dropped_queue", "dropped_export")

DAEMONS = (
    "postgres",
    "redis",
    "nginx",
    "toxiproxy-service",
    "toxiproxy-monitoring",
    "prometheus",
    "alertmanager",
    "loki",
    "postgres-exporter",
    "redis-exporter",
    "blackbox-exporter",
    "node-exporter",
)
"""Programs that cannot push their own logs."""

ACCESS_LOG = "nginx-access.log"


class Metrics:
    """Every metric of the forwarder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lines = Counter(
            "lab_forwarder_lines_total", "Lines read, by fate.", ["program", "outcome"], registry=registry
        )
        self.queued = Gauge("lab_forwarder_lines_queued", "Lines read but not yet sent.", registry=registry)

    def count(self, records: Sequence[ReadableLogRecord], outcome: str) -> None:
        """Count the fate of records."""
        by_program = Tally(str(record.resource.attributes["service.name"]) for record in records)
        for program, lines in by_program.items():
            self.lines.labels(program, outcome).inc(lines)


@dataclass
class _Allowance:
    """A token bucket: `LINES_PER_SECOND_MAX`, `BURST_SECONDS` of them at once."""

    tokens: float = LINES_PER_SECOND_MAX * BURST_SECONDS
    updated: float = 0.0

    def take(self, wanted: int, now: float) -> int:
        ceiling = LINES_PER_SECOND_MAX * BURST_SECONDS
        self.tokens = min(ceiling, self.tokens + (now - self.updated) * LINES_PER_SECOND_MAX)
        self.updated = now
        granted = min(wanted, int(self.tokens))
        self.tokens -= granted
        return granted


class Source:
    """One followed file and the program it belongs to."""

    def __init__(self, path: Path, program: str, environment: str) -> None:
        self.program = program
        self.tail = Tail(path)
        self._allowance = _Allowance()
        self._file_name = path.name
        self._last_ns = 0
        self._is_backlog = True
        self._resource = Resource(
            {
                "service.name": program,
                "service.namespace": "stack",
                "service.instance.id": program,
                "deployment.environment.name": environment,
            }
        )

    def read(self, metrics: Metrics) -> list[ReadableLogRecord]:
        """Return the new lines as records, within the file's rate."""
        lines = self.tail.poll()
        granted = self._allowance.take(len(lines), time.monotonic()) if lines else 0
        if granted < len(lines):
            metrics.lines.labels(self.program, "dropped_rate").inc(len(lines) - granted)
        written_ns = self._written_ns()
        return [self._record(line, written_ns) for line in lines[:granted]]

    def _written_ns(self) -> int:
        """Return about when new lines were written: now, but what was there at the start is older."""
        if not self._is_backlog:
            return time.time_ns()
        self._is_backlog = False
        try:
            return self.tail.path.stat().st_mtime_ns
        except OSError:
            return time.time_ns()

    def _record(self, line: bytes, written_ns: int) -> ReadableLogRecord:
        text = line.decode("utf-8", "replace").rstrip("\r")
        level, number, message = level_and_message(text)
        attributes: dict[str, AnyValue] = {"log.file.name": self._file_name}
        if level is not None:
            attributes["level"] = level
        if message is not None:
            attributes["msg"] = message
        # Loki orders a stream by time alone: lines of one read must not tie.
        self._last_ns = max(written_ns, self._last_ns + 1)
        record = LogRecord(
            timestamp=self._last_ns,
            observed_timestamp=self._last_ns,
            severity_text=level,
            severity_number=number,
            body=text,
            attributes=attributes,
        )
        return ReadableLogRecord(record, self._resource)


class Forwarder:
    """Polls every source and hands what it reads to the shipper."""

    def __init__(
        self,
        logs_dir: Path,
        programs: Sequence[str],
        environment: str,
        shipper: Shipper,
        metrics: Metrics,
        *,
        positions: Path | None = None,
    ) -> None:
        self._shipper = shipper
        self._metrics = metrics
        self._positions = positions
        self._kept: dict[str, Position] = {}
        self._sources = [Source(logs_dir / f"{name}.log", name, environment) for name in programs]
        if "nginx" in programs:
            self._sources.append(Source(logs_dir / ACCESS_LOG, "nginx", environment))
        kept = load(positions) if positions else {}
        for source in self._sources:
            if positions is None:
                source.tail.start_at_end()
            else:
                source.tail.resume(kept.get(source.tail.path.name, BEGINNING))
            for outcome in OUTCOMES:
                metrics.lines.labels(source.program, outcome)

    def poll(self) -> None:
        """Read every source once."""
        for source in self._sources:
            self._shipper.put(source.read(self._metrics))
        self._metrics.queued.set(len(self._shipper))
        self._keep_positions()

    def _keep_positions(self) -> None:
        if self._positions is None:
            return
        now = {s.tail.path.name: at for s in self._sources if (at := s.tail.position()) is not None}
        if now != self._kept:
            with contextlib.suppress(OSError):  # a full disk costs repeated lines, not the forwarder
                save(self._positions, now)
                self._kept = now

    async def run(self) -> None:
        """Poll until cancelled, then once more, so that last lines are not left behind."""
        try:
            while True:
                self.poll()
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        finally:
            self.poll()
            for source in self._sources:
                source.tail.close()

    def health(self) -> dict[str, object]:
        """Return what /health adds."""
        since = self._shipper.failing_since_unix
        return {"queued": len(self._shipper), "export_failing_since_unix": since}
