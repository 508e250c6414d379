"""Events of jobs as they happen (SSE): one poller per process asks the database for all streams together."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from app.access.standing import Standing
from app.database.slots import DatabaseSlots
from app.errors import DatabaseUnavailableError
from app.jobs.errors import StreamsBusyError, TooManyStreamsError
from app.jobs.reader import JobReader, entry
from app.jobs.repository.reading import EVENTS_MAX
from app.jobs.schemas import AuditEntry, JobProgress, JobStatus
from app.telemetry.metrics import jobs as metrics

HEARTBEAT_SECONDS = 5.0
"""A third of what nginx waits for the next byte: a quiet stream is no dead one."""
STREAM_SECONDS_MAX = 300.0
"""A client comes back by itself, and is then asked again who it is."""
RECONNECT_MILLISECONDS = 1000
LOOK_SECONDS = 0.5
"""How soon a stream sees that the process is draining."""


@dataclass(eq=False)
class Subscription:
    """One stream: what it has been told, and what it is to be told next."""

    job_id: UUID
    client_id: str
    seq: int
    progress: JobProgress | None = None
    pending: list[bytes] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, job: JobStatus | None, happened: list[AuditEntry], *, everything: bool) -> None:
        """Queue what is new, ``everything`` or the beginning of it. ``job`` None: it has been deleted."""
        for one in happened:
            if one.seq > self.seq:
                self.seq = one.seq
                self.pending.append(_message(one.event.value, one.model_dump_json().encode(), one.seq))
                self.ended = one.status.finished
        if job is not None and job.progress != self.progress and not self.ended:
            self.progress = job.progress
            if job.progress is not None:
                self.pending.append(_message("progress", job.progress.model_dump_json().encode()))
        # A version before this one may have ended it, and kept no log.
        told = everything and not happened
        self.ended = self.ended or job is None or (job.status.finished and told)
        if self.pending or self.ended:
            self.changed.set()


def _message(event: str, data: bytes, seq: int | None = None) -> bytes:
    number = b"id: %d\n" % seq if seq is not None else b""
    return number + b"event: %s\ndata: %s\n\n" % (event.encode(), data)


class EventHub:
    """All event streams of this process."""

    def __init__(
        self,
        reader: JobReader,
        slots: DatabaseSlots,
        draining: threading.Event,
        *,
        streams_max: int,
        client_streams_max: int,
        poll_seconds: float,
    ) -> None:
        self._reader = reader
        self._slots = slots
        self._draining = draining
        self._streams_max = streams_max
        self._client_streams_max = client_streams_max
        self._poll_seconds = poll_seconds
        self._streams: set[Subscription] = set()
        self._of_client: Counter[str] = Counter()
        self._poller: asyncio.Task[None] | None = None

    def subscribe(self, job_id: UUID, client_id: str, seq: int) -> Subscription:
        """Open a stream that has seen everything up to ``seq``. ``close`` it.

        Raises:
            TooManyStreamsError: The client has as many as it may.
            StreamsBusyError: The process has.

        """
        if self._of_client[client_id] >= self._client_streams_max:
            raise TooManyStreamsError
        if len(self._streams) >= self._streams_max or self._draining.is_set():
            raise StreamsBusyError
        subscription = Subscription(job_id, client_id, seq)
        self._streams.add(subscription)
        self._of_client[client_id] += 1
        metrics.EVENT_STREAMS.set(len(self._streams))
        return subscription

    def close(self, subscription: Subscription) -> None:
        """Forget a stream."""
        if subscription in self._streams:
            self._streams.remove(subscription)
            self._of_client[subscription.client_id] -= 1
            self._of_client += Counter()  # drops what is at zero
            metrics.EVENT_STREAMS.set(len(self._streams))

    async def look(self) -> None:
        """Tell every stream what is new."""
        streams = list(self._streams)
        watched: dict[UUID, int] = {}
        for one in streams:
            watched[one.job_id] = min(one.seq, watched.get(one.job_id, one.seq))
        jobs, rows = await self._slots.run(lambda: self._reader.news(watched))
        happened: dict[UUID, list[AuditEntry]] = {}
        for row in rows:
            happened.setdefault(row.job_id, []).append(entry(row))
        for one in streams:
            one.tell(jobs.get(one.job_id), happened.get(one.job_id, []), everything=len(rows) < EVENTS_MAX)

    async def _poll(self) -> None:
        while self._streams:
            with contextlib.suppress(DatabaseUnavailableError):  # logged where it failed; streams go on
                await self.look()
            await asyncio.sleep(self._poll_seconds)

    async def follow(self, subscription: Subscription, standing: Standing) -> AsyncIterator[bytes]:
        """Yield what happens to the job until it has ended, or this process drains, or it was long enough.

        It ends as well when the client may not listen any more: asked again, it is told why.
        """
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="job-events")
        end_at = time.monotonic() + STREAM_SECONDS_MAX
        heard_at = time.monotonic()
        yield b"retry: %d\n\n" % RECONNECT_MILLISECONDS
        while await standing.holds():
            messages, subscription.pending = subscription.pending, []
            subscription.changed.clear()
            if messages:
                heard_at = time.monotonic()
                yield b"".join(messages)
            if subscription.ended or self._draining.is_set() or time.monotonic() >= end_at:
                return
            if time.monotonic() - heard_at >= HEARTBEAT_SECONDS:
                heard_at = time.monotonic()
                yield b": still here\n\n"
            try:
                await asyncio.wait_for(subscription.changed.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue
