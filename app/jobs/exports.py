"""Whole results as NDJSON or CSV, sent in constant memory; no connection is held while a client reads."""

from __future__ import annotations

import csv
import enum
import io
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import anyio
import orjson
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Send

from app.access.standing import Standing
from app.database.slots import DatabaseSlots
from app.errors import DatabaseUnavailableError
from app.jobs.errors import TooManyColumnsError
from app.jobs.reader import JobReader
from app.telemetry.metrics import jobs as metrics

BATCH_RECORDS_MAX = 500
BATCH_RECORDS_MIN = 10
BATCH_BYTES = 1024**2
"""Of a batch that is larger, the next is half as many records."""
COLUMNS_MAX = 1000
TRIES_MAX = 3
RETRY_SECONDS = 0.5

_FORMULA = re.compile(r"^[=+\-@\t\r＝＋－＠]")  # noqa: RUF001  spreadsheets take the wide ones, too
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$")

AnswerT = TypeVar("AnswerT")

log = structlog.get_logger()


class Format(enum.StrEnum):
    """How a result is written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


MEDIA_TYPES = {Format.JSON: "application/json", Format.NDJSON: "application/x-ndjson", Format.CSV: "text/csv"}


def wanted_format(accept: str) -> Format:
    """Return what an ``Accept`` header likes best of what there is; JSON unless it says otherwise."""
    best, best_quality = Format.JSON, 0.0
    for offer in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in offer.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        value = float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 0.0
        for known, name in MEDIA_TYPES.items():
            if media_type == name and value > best_quality:
                best, best_quality = known, value
    return best


class _CutError(Exception):
    """The rest cannot be sent."""


class ResultStream(StreamingResponse):
    """A stream whose end says whether it is whole: one that is cut has no last chunk, an error in HTTP."""

    async def stream_response(self, send: Send) -> None:
        """Send all chunks; return without the last one if there is no more to be had."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self.body_iterator:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except _CutError:
            metrics.RESULT_STREAMS.labels("cut").inc()
            return
        metrics.RESULT_STREAMS.labels("complete").inc()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class ResultExport:
    """Writes the records of one finished job, which has ``total`` of them, while its reader may read them."""

    def __init__(
        self, slots: DatabaseSlots, reader: JobReader, job_id: UUID, total: int, standing: Standing
    ) -> None:
        self._standing = standing
        self._slots = slots
        self._reader = reader
        self._job_id = job_id
        self._total = total

    async def response(self, format_: Format, *, after: int) -> ResultStream:
        """Return the answer. Raises ``TooManyColumnsError`` for a CSV that would be too wide."""
        if format_ is Format.CSV:
            columns = await self._columns()
            chunks = self._chunks(lambda batch: _table(columns, batch), after, first=_header(columns))
            headers = {"Content-Disposition": f'attachment; filename="{self._job_id}.csv"'}
        else:
            chunks = self._chunks(_lines, after, first=b"")
            headers = {}
        headers["X-Record-Count"] = str(self._total)
        headers["X-Accel-Buffering"] = "no"
        return ResultStream(chunks, media_type=MEDIA_TYPES[format_], headers=headers)

    async def _columns(self) -> list[str]:
        names = await self._slots.run(
            lambda: self._reader.columns(self._job_id, enough=lambda count: count > COLUMNS_MAX)
        )
        if len(names) > COLUMNS_MAX:
            raise TooManyColumnsError
        return names

    async def _chunks(
        self, write: Callable[[Sequence[dict[str, Any]]], bytes], after: int, *, first: bytes
    ) -> AsyncIterator[bytes]:
        sent, limit = 0, BATCH_RECORDS_MAX
        expected = max(0, self._total - 1 - after)  # records count from 0, without gaps
        if first:
            yield first
        while True:
            if not await self._standing.holds():
                log.warning("result_stream_cut", job_id=str(self._job_id), reason="standing_lost", sent=sent)
                raise _CutError
            body, count, last = await self._patiently(lambda: self._batch(write, after, limit))  # noqa: B023
            if count:
                after = last
                sent += count
                yield body
            if count < limit:
                break
            if len(body) > BATCH_BYTES:
                limit = max(BATCH_RECORDS_MIN, limit // 2)
        if sent != expected:  # its records were deleted meanwhile
            log.warning("result_stream_cut", job_id=str(self._job_id), reason="deleted", sent=sent)
            raise _CutError

    def _batch(
        self, write: Callable[[Sequence[dict[str, Any]]], bytes], after: int, limit: int
    ) -> tuple[bytes, int, int]:
        batch = self._reader.batch(self._job_id, after=after, limit=limit)
        return write([content for _, content in batch]), len(batch), batch[-1][0] if batch else after

    async def _patiently(self, act: Callable[[], AnswerT]) -> AnswerT:
        for tries_left in reversed(range(TRIES_MAX)):
            try:
                return await self._slots.run(act)
            except DatabaseUnavailableError as exc:
                if not tries_left:
                    log.warning("result_stream_cut", job_id=str(self._job_id), reason=exc.reason)
                    raise _CutError from exc
                await anyio.sleep(RETRY_SECONDS)
        raise AssertionError


def _lines(batch: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE) for content in batch)


def _written(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _header(columns: Sequence[str]) -> bytes:
    return _written([[_inert(name) for name in columns]]) if columns else b""


def _table(columns: Sequence[str], batch: Sequence[dict[str, Any]]) -> bytes:
    return _written([[cell(content.get(name)) for name in columns] for content in batch])


def _inert(value: str) -> str:
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.match(value) else value


def cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula. What is nested is JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _inert(value)
    return orjson.dumps(value).decode()
