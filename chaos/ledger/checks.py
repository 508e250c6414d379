"""The promises, one function each: pure, over what was submitted and what was found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from chaos.ledger.findings import Finding, Violation
from chaos.ledger.observed import TERMINAL, JobRow, Observed
from chaos.ledger.states import attempts_told, broken_story
from chaos.ledger.submissions import Submission

LOST, DUPLICATED, LEAKED = "lost", "duplicated", "leaked"

DEAD_SHARE_MAX = 0.01
"""So many may be dead, each tried as often as allowed: faults end, and attempts are spread over longer."""
DEAD_FEW = 1
"""And this many in a run of few jobs."""


@dataclass(frozen=True)
class Case:
    """What was submitted beside what was found."""

    submitted: Sequence[Submission]
    observed: Observed

    @cached_property
    def rows(self) -> Mapping[str, JobRow]:
        """Jobs by id."""
        return {row.id: row for row in self.observed.jobs}

    @cached_property
    def by_request(self) -> Mapping[str, Submission]:
        """Submissions by the id of any of their requests."""
        return {request: one for one in self.submitted for request in one.request_ids}

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str | None], Submission]:
        """Submissions by client and key."""
        return {(one.client, one.key): one for one in self.submitted}

    def origin(self, row: JobRow) -> Submission | None:
        """Return what a row was submitted as, if it ever was."""
        return self.by_request.get(row.request_id or "") or self.by_key.get((row.client, row.key))


def c1_ended(case: Case) -> Finding:
    """Every acknowledged job is there, and every job that is there has ended as it should."""
    promised = [(one, job_id) for one in case.submitted for job_id in one.job_ids]
    acked = {job_id for _, job_id in promised}
    # Nobody knows of these whether they were promised; once stored, they are as good as promised.
    others = [row for row in case.observed.jobs if row.id not in acked and case.origin(row) is not None]
    violations = [violation for one, job_id in promised for violation in _promised(case, one, job_id)]
    violations += [violation for row in others for violation in _ended(case, row)]
    return Finding(
        "C1",
        "every acknowledged job ends",
        sum(one.acked for one in case.submitted),
        [*violations, *_buried(case)],
    )


def _promised(case: Case, one: Submission, job_id: str) -> Iterator[Violation]:
    row, told = case.rows.get(job_id), case.observed.told.get(job_id)
    if row is None:
        yield Violation(job_id, f"{one.client} was promised it, and it is not in the database", LOST)
        return
    yield from _ended(case, row)
    if told is None:
        return
    if told.code != 200:  # noqa: PLR2004
        yield Violation(job_id, f"its own client is answered {told.code}", LOST)
    elif told.state != row.state or told.record_count not in (None, row.record_count):
        yield Violation(
            job_id,
            f"its client is told {told.state} with {told.record_count} records, the row says {row.state} "
            f"with {row.record_count}",
        )


def _ended(case: Case, row: JobRow) -> Iterator[Violation]:
    if row.state not in TERMINAL:
        seconds = case.observed.settle_seconds
        yield Violation(row.id, f"still {row.state} {seconds:.0f} s after the last fault", LOST)
    elif row.state == "failed":
        yield Violation(row.id, "given up for good although its source is sound", LOST)
    elif row.state == "cancelled":
        yield Violation(row.id, "cancelled, and no client asked for that", LOST)


def _buried(case: Case) -> Iterator[Violation]:
    """Dead is an end for a job that was tried as often as allowed, and only for few."""
    dead = [row for row in case.observed.jobs if row.state == "dead"]
    jobs = len(case.observed.jobs)
    allowed = max(DEAD_FEW, int(jobs * DEAD_SHARE_MAX))
    for row in dead:
        tried = _attempts(case, row)
        if tried < row.max_attempts:
            yield Violation(row.id, f"dead after {tried} of {row.max_attempts} attempts", LOST)
        elif len(dead) > allowed:
            yield Violation(row.id, f"{len(dead)} of {jobs} jobs are dead, {allowed} may be", LOST)


def _attempts(case: Case, row: JobRow) -> int:
    if "job_events" in case.observed.unread:
        return max(row.attempt, row.rescues)
    return attempts_told(case.observed.events.get(row.id, ()))


def c2_submitted(case: Case) -> Finding:
    """No job and no record that nobody submitted, and none of what was refused."""
    violations = []
    for row in case.observed.jobs:
        one = case.origin(row)
        if one is None:
            violations.append(Violation(row.id, f"nobody submitted it (request {row.request_id})"))
        elif row.client != one.client:
            violations.append(Violation(row.id, f"{one.client} submitted it, {row.client} has it", LEAKED))
        elif row.kind != one.kind:
            violations.append(Violation(row.id, f"submitted as {one.kind}, stored as {row.kind}"))
        elif row.request_id in one.refused:
            violations.append(Violation(row.id, f"request {row.request_id} was refused, and is stored"))
    violations += [
        Violation(job_id, "has records and is no job")
        for job_id in case.observed.records
        if job_id not in case.rows
    ]
    return Finding("C2", "nothing that was never submitted", len(case.observed.jobs), violations)


def c3_once(case: Case) -> Finding:
    """Each submission is one job, each job holds each record of its source once."""
    violations: list[Violation] = []
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in case.observed.jobs:
        if (one := case.origin(row)) is not None:
            rows[one.client, one.key].append(row.id)
    for one in case.submitted:
        ids = sorted({*rows[one.client, one.key], *one.job_ids})
        if len(ids) > 1:
            violations.append(
                Violation(
                    ids[0],
                    f"key {one.key} of {one.client} became {len(ids)} jobs: {', '.join(ids)}",
                    DUPLICATED,
                )
            )
    for row in case.observed.jobs:
        if (one := case.origin(row)) is not None:
            violations += _records(case, one, row)
    return Finding("C3", "one job per key, each record once", len(case.observed.jobs), violations)


def _records(case: Case, one: Submission, row: JobRow) -> Iterator[Violation]:
    held = case.observed.records.get(row.id)
    count, distinct = (held.count, held.distinct_keys) if held else (0, 0)
    if row.state != "succeeded":
        if count:
            yield Violation(row.id, f"is {row.state} and holds {count} records", DUPLICATED)
        return
    if count > distinct:
        yield Violation(row.id, f"holds {count} records of {distinct} keys", DUPLICATED)
    elif count > one.expected.count:
        yield Violation(row.id, f"holds {count} records, its source has {one.expected.count}", DUPLICATED)
    elif count < one.expected.count:
        yield Violation(row.id, f"holds {count} records, its source has {one.expected.count}", LOST)
    elif held is not None and held.digest != one.expected.digest:
        yield Violation(row.id, f"holds {count} records, but not those of its source", LOST)
    effect = case.observed.effects.get(row.id, "")
    if effect != one.expected.effect:
        yield Violation(row.id, f"it ended {effect or 'without effect'}, not {one.expected.effect}", LOST)
    if row.record_count != count:
        yield Violation(row.id, f"says {row.record_count} records and holds {count}")
    told = case.observed.told.get(row.id)
    if told and told.record_keys not in (None, one.expected.digest):
        yield Violation(row.id, "its client is given other records than its source has", LOST)


def c4_fenced(case: Case) -> Finding:
    """No write of an epoch after one of a later epoch."""
    violations = []
    for job_id, held in case.observed.records.items():
        row = case.rows.get(job_id)
        if row is not None and (len(held.epochs) > 1 or any(epoch != row.epoch for epoch in held.epochs)):
            written = ", ".join(map(str, held.epochs))
            violations.append(
                Violation(
                    job_id,
                    f"its records were written by epoch {written}, it ended in {row.epoch}",
                    DUPLICATED,
                )
            )
    for job_id, events in case.observed.events.items():
        latest = 0
        for event in events:
            if event.epoch < latest:
                violations.append(
                    Violation(
                        job_id,
                        f"event {event.seq} ({event.name}) of epoch {event.epoch} came after epoch {latest}",
                    )
                )
            latest = max(latest, event.epoch)
    return Finding(
        "C4",
        "no write of an epoch that is over",
        len(case.observed.events) or len(case.observed.records),
        violations,
        _unread(case, "job_events", "records.epoch"),
    )


def c5_attempts(case: Case) -> Finding:
    """No job is tried more often than allowed."""
    violations = []
    for row in case.observed.jobs:
        if row.attempt > row.max_attempts + row.rescues:
            violations.append(
                Violation(
                    row.id, f"{row.attempt} attempts, {row.max_attempts} and {row.rescues} rescues allowed"
                )
            )
        if row.rescues > row.max_attempts:
            violations.append(Violation(row.id, f"rescued {row.rescues} times, {row.max_attempts} allowed"))
        if row.attempt > row.epoch:
            violations.append(Violation(row.id, f"{row.attempt} attempts in {row.epoch} epochs"))
    return Finding("C5", "no more attempts than allowed", len(case.observed.jobs), violations)


def c6_audited(case: Case) -> Finding:
    """Every job has its whole story: numbered without gaps, and possible."""
    violations = []
    for row in case.observed.jobs:
        broken = broken_story(row, case.observed.events.get(row.id, ()))
        if broken:
            violations.append(Violation(row.id, broken))
    violations += [
        Violation(job_id, "has events and is no job")
        for job_id in case.observed.events
        if job_id not in case.rows
    ]
    return Finding(
        "C6", "the audit trail is whole", len(case.observed.events), violations, _unread(case, "job_events")
    )


def c9_clean(case: Case) -> Finding:
    """Nothing is left over: no toxic, lease, lock, connection, thread or file."""
    violations = [Violation("the stack", text) for text in case.observed.leftovers]
    violations += [
        Violation(row.id, f"is {row.state} and leased") for row in case.observed.jobs if row.leased
    ]
    return Finding("C9", "nothing left over", 1, violations, _unread(case, "leftovers"))


def isolated(case: Case) -> Finding:
    """No client sees another's job."""
    violations = [
        Violation(
            read.job_id, f"{read.reader} asked for {read.what} of {read.owner} and got {read.code}", LEAKED
        )
        for read in case.observed.cross_reads
        if read.code != 404  # noqa: PLR2004
    ]
    return Finding("isolation", "no client sees another's job", len(case.observed.cross_reads), violations)


CHECKS: Sequence[Callable[[Case], Finding]] = (
    c1_ended,
    c2_submitted,
    c3_once,
    c4_fenced,
    c5_attempts,
    c6_audited,
    c9_clean,
    isolated,
)


def check(submitted: Sequence[Submission], observed: Observed) -> list[Finding]:
    """Return what every check found."""
    case = Case(submitted, observed)
    return [each(case) for each in CHECKS]


def _unread(case: Case, *names: str) -> str:
    missing = [name for name in names if name in case.observed.unread]
    return f"could not be read: {', '.join(missing)}" if missing else ""


def states(case: Case) -> Counter[str]:
    """Return how many jobs ended how."""
    return Counter(row.state for row in case.observed.jobs)
