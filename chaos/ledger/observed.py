"""What the final read found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TERMINAL = frozenset({"succeeded", "failed", "dead", "cancelled"})


@dataclass(frozen=True)
class JobRow:
    """A row of ``jobs``."""

    id: str
    client: str
    kind: str
    state: str
    attempt: int
    max_attempts: int
    rescues: int
    epoch: int
    record_count: int
    request_id: str | None
    key: str | None
    leased: bool
    events: int | None
    """How many events it counts; None where the schema has no such column."""


@dataclass(frozen=True)
class Records:
    """What one job holds in ``records``. ``digest`` is of the keys in order, as ``workload.digest``."""

    count: int
    distinct_keys: int
    digest: str
    epochs: tuple[int, ...]
    """Distinct epochs that wrote them."""


@dataclass(frozen=True)
class JobEvent:
    """A row of ``job_events``."""

    job_id: str
    seq: int
    epoch: int
    name: str
    client: str


@dataclass(frozen=True)
class Told:
    """What the API told a job's own client: HTTP status code, and the job's state if there is one."""

    code: int
    state: str | None = None
    record_count: int | None = None
    record_keys: str | None = None
    """Digest of the keys of its result, where the result was read."""


@dataclass(frozen=True)
class CrossRead:
    """An attempt of one client to read another's job."""

    reader: str
    owner: str
    job_id: str
    what: str
    code: int


@dataclass(frozen=True)
class Observed:
    """Everything the final read found. What could not be read is missing by name in ``unread``."""

    jobs: Sequence[JobRow]
    records: Mapping[str, Records]
    events: Mapping[str, Sequence[JobEvent]]
    effects: Mapping[str, str]
    """What else became of a job, such as the stage of its avatar."""
    told: Mapping[str, Told]
    cross_reads: Sequence[CrossRead]
    leftovers: Sequence[str]
    settled: bool
    """Whether every job had ended when the time for that was over."""
    settle_seconds: float
    unread: Sequence[str] = field(default_factory=tuple)
