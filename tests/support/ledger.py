"""Hand-made histories: a run in which all went well, and what may be changed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chaos.ledger.checks import CHECKS, Case
from chaos.ledger.findings import Finding
from chaos.ledger.observed import CrossRead, JobEvent, JobRow, Observed, Records, Told
from chaos.ledger.submissions import Submission
from chaos.ledger.workload import Expected

EXPECTED = Expected(3, "digest-of-three")


def submission(number: int, **changes: Any) -> Submission:
    made = Submission(
        key=f"key-{number}",
        client="ledger-01",
        kind="file",
        expected=EXPECTED,
        request_ids=[f"request-{number}-0", f"request-{number}-1"],
        job_ids=[f"job-{number}"],
        acked_unix=1.0,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def row(number: int, **changes: Any) -> JobRow:
    made = JobRow(
        id=f"job-{number}",
        client="ledger-01",
        kind="file",
        state="succeeded",
        attempt=1,
        max_attempts=5,
        rescues=0,
        epoch=1,
        record_count=3,
        request_id=f"request-{number}-1",
        key=f"key-{number}",
        leased=False,
        events=3,
    )
    return replace(made, **changes)


def story(job: str, *steps: tuple[str, int], client: str = "ledger-01") -> list[JobEvent]:
    return [JobEvent(job, seq, epoch, name, client) for seq, (name, epoch) in enumerate(steps, 1)]


GOOD = (("submitted", 0), ("claimed", 1), ("succeeded", 1))


@dataclass
class History:
    """A run with two jobs, one of them retried after a lost answer; both ended well."""

    submitted: list[Submission] = field(default_factory=lambda: [submission(1), submission(2, unknown=1)])
    jobs: list[JobRow] = field(default_factory=lambda: [row(1), row(2)])
    records: dict[str, Records] = field(
        default_factory=lambda: {f"job-{n}": Records(3, 3, EXPECTED.digest, (1,)) for n in (1, 2)}
    )
    events: dict[str, Sequence[JobEvent]] = field(
        default_factory=lambda: {f"job-{n}": story(f"job-{n}", *GOOD) for n in (1, 2)}
    )
    told: dict[str, Told] = field(
        default_factory=lambda: {
            "job-1": Told(200, "succeeded", 3, EXPECTED.digest),
            "job-2": Told(200, "succeeded", 3),
        }
    )
    cross_reads: list[CrossRead] = field(
        default_factory=lambda: [CrossRead("ledger-02", "ledger-01", "job-1", "status", 404)]
    )
    effects: dict[str, str] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    unread: tuple[str, ...] = ()

    def change(self, number: int, **changes: Any) -> History:
        """Change a row."""
        self.jobs[number - 1] = replace(self.jobs[number - 1], **changes)
        return self

    def case(self) -> Case:
        observed = Observed(
            jobs=self.jobs,
            records=self.records,
            events=self.events,
            effects=self.effects,
            told=self.told,
            cross_reads=self.cross_reads,
            leftovers=self.leftovers,
            settled=True,
            settle_seconds=12.0,
            unread=self.unread,
        )
        return Case(self.submitted, observed)

    def findings(self) -> Mapping[str, Finding]:
        case = self.case()
        return {finding.check: finding for finding in (each(case) for each in CHECKS)}


def texts(finding: Finding) -> str:
    return " | ".join(str(violation) for violation in finding.violations)


def broken(findings: Mapping[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.violations}
