"""What the history says was submitted, one entry per client and idempotency key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos.ledger.history import Entry, HistoryDamagedError, Type
from chaos.ledger.workload import Expected

SUBMIT = "submit"


@dataclass
class Submission:
    """One job that a client wanted, and every answer to it."""

    key: str
    client: str
    kind: str
    expected: Expected
    request_ids: list[str] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    """Of the acknowledgements, each id once. More than one is a defect."""
    acked_unix: float | None = None
    """When the first acknowledgement came."""
    refused: list[str] = field(default_factory=list)
    """Request ids that were refused for certain."""
    unknown: int = 0
    """Attempts whose outcome nobody knows."""

    @property
    def acked(self) -> bool:
        """Whether the service has promised to run it."""
        return bool(self.job_ids)


def submissions(entries: Iterable[Entry]) -> list[Submission]:
    """Fold a history into its submissions, in the order they were made.

    Raises:
        HistoryDamagedError: an answer has no call.
    """
    by_key: dict[tuple[str, str], Submission] = {}
    for entry in entries:
        if entry.act != SUBMIT:
            continue
        key, request_id = (entry.process, entry.detail["key"]), entry.detail["request_id"]
        if entry.type is Type.INVOKE:
            expected = Expected(entry.detail["count"], entry.detail["digest"], entry.detail.get("effect", ""))
            found = by_key.setdefault(key, Submission(key[1], key[0], entry.detail["kind"], expected))
            found.request_ids.append(request_id)
        elif key not in by_key or request_id not in by_key[key].request_ids:
            raise HistoryDamagedError(f"line {entry.seq} answers request {request_id}, which was never made")
        else:
            _learn(by_key[key], entry)
    return list(by_key.values())


def _learn(submission: Submission, entry: Entry) -> None:
    if entry.type is Type.OK:
        job_id = entry.detail["job_id"]
        if job_id not in submission.job_ids:
            submission.job_ids.append(job_id)
        if submission.acked_unix is None:
            submission.acked_unix = entry.at_unix
    elif entry.type is Type.FAIL:
        submission.refused.append(entry.detail["request_id"])
    else:
        submission.unknown += 1
