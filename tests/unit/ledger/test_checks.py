"""Each check, on a history that it accepts and on histories that it must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.domain.verdict import Verdict
from chaos.ledger.checks import CHECKS
from chaos.ledger.observed import CrossRead, JobEvent, Records, Told
from tests.support.ledger import EXPECTED, GOOD, History, broken, row, story, submission, texts


def test_a_good_history_passes_every_check() -> None:
    findings = History().findings()
    assert {finding.verdict for finding in findings.values()} == {Verdict.PASS}
    assert list(findings) == ["C1", "C2", "C3", "C4", "C5", "C6", "C9", "isolation"]
    assert len(CHECKS) == len(findings)


def _retries(count: int) -> list[tuple[str, int]]:
    return [step for epoch in range(1, count + 1) for step in (("claimed", epoch), ("retried", epoch))]


def _given_back(count: int) -> list[tuple[str, int]]:
    return [step for epoch in range(1, count + 1) for step in (("claimed", epoch), ("released", epoch))]


_TRIED_OUT = (("submitted", 0), *_retries(4), ("claimed", 5), ("dead", 5))


def _row_gone(h: History) -> None:
    h.jobs.pop()
    h.records.pop("job-2")
    h.events.pop("job-2")


def _never_submitted(h: History) -> None:
    h.jobs.append(row(3))
    h.records["job-3"] = Records(3, 3, EXPECTED.digest, (1,))
    h.events["job-3"] = story("job-3", *GOOD)


def _two_rows_of_a_key(h: History) -> None:
    _never_submitted(h)
    h.jobs[2] = replace(h.jobs[2], request_id="request-1-0", key="key-1")


def _two_acknowledgements(h: History) -> None:
    h.submitted[0].job_ids.append("job-9")
    h.told["job-9"] = Told(404)


def _records(count: int, distinct: int, digest: str = EXPECTED.digest) -> Callable[[History], None]:
    def change(h: History) -> None:
        h.records["job-1"] = Records(count, distinct, digest, (1,))
        h.change(1, record_count=count)
        h.told["job-1"] = Told(200, "succeeded", count)

    return change


def _events(*steps: tuple[str, int]) -> Callable[[History], None]:
    def change(h: History) -> None:
        h.events["job-1"] = story("job-1", *steps)
        h.change(1, events=len(steps))

    return change


def _unfinished(state: str) -> Callable[[History], None]:
    def change(h: History) -> None:
        h.change(1, state=state, record_count=0, leased=state == "running", events=2)
        h.records.pop("job-1")
        h.told["job-1"] = Told(200, state, 0)
        end = [("failed", 1)] if state == "failed" else []
        end = [("retried", 1)] if state == "queued" else end
        _events(*GOOD[:2], *end)(h)

    return change


def _buried(number: int, *steps: tuple[str, int], **changes: object) -> Callable[[History], None]:
    def change(h: History) -> None:
        h.change(number, state="dead", record_count=0, events=len(steps), **changes)
        h.records.pop(f"job-{number}")
        h.told[f"job-{number}"] = Told(200, "dead", 0)
        h.events[f"job-{number}"] = story(f"job-{number}", *steps)

    return change


def _all_dead(h: History) -> None:
    for number in (1, 2):
        _buried(number, *_TRIED_OUT, attempt=5, epoch=5)(h)


def _cancelled(h: History) -> None:
    h.change(1, state="cancelled", record_count=0, attempt=0, epoch=0, events=2)
    h.records.pop("job-1")
    h.told["job-1"] = Told(200, "cancelled", 0)
    _events(("submitted", 0), ("cancelled", 0))(h)


def _unacknowledged(h: History) -> None:
    h.submitted[0] = submission(1, job_ids=[], acked_unix=None, unknown=2)
    h.told.pop("job-1")


def _unacknowledged_and_queued(h: History) -> None:
    _unfinished("queued")(h)
    _unacknowledged(h)


def _unacknowledged_and_cancelled(h: History) -> None:
    _cancelled(h)
    _unacknowledged(h)


def _zombie_after_the_end(h: History) -> None:
    # Two workers ran it; the first one, whose epoch is over, ended it again.
    h.change(1, epoch=2, attempt=2, rescues=1)
    h.records["job-1"] = Records(3, 3, EXPECTED.digest, (2,))
    steps = [("submitted", 0), ("claimed", 1), ("rescued", 1), ("claimed", 2), ("succeeded", 2)]
    _events(*steps, ("succeeded", 1))(h)


def _wrong_epoch(h: History) -> None:
    h.records["job-1"] = Records(3, 3, EXPECTED.digest, (1,))
    h.change(1, epoch=2, attempt=2)
    _events(("submitted", 0), ("claimed", 1), ("retried", 1), ("claimed", 2), ("succeeded", 2))(h)


def _mixed_epochs(h: History) -> None:
    h.records["job-1"] = Records(3, 3, EXPECTED.digest, (1, 2))
    _wrong_epoch(h)
    h.records["job-1"] = Records(3, 3, EXPECTED.digest, (1, 2))


def _expecting(effect: str, found: str | None) -> Callable[[History], None]:
    def change(h: History) -> None:
        h.submitted[0].expected = replace(h.submitted[0].expected, effect=effect)
        if found is not None:
            h.effects["job-1"] = found

    return change


def _gap(h: History) -> None:
    steps = list(story("job-1", *GOOD))
    h.events["job-1"] = [steps[0], replace(steps[1], seq=3), replace(steps[2], seq=4)]


def _of_another_client(h: History) -> None:
    h.events["job-1"] = story("job-1", *GOOD, client="ledger-07")


def _at_another_client(h: History) -> None:
    h.change(1, client="ledger-09")
    h.events["job-1"] = story("job-1", *GOOD, client="ledger-09")


BROKEN: dict[str, tuple[Callable[[History], object], set[str], str]] = {
    "acknowledged and gone": (_row_gone, {"C1"}, "not in the database"),
    "still queued": (_unfinished("queued"), {"C1"}, "still queued 12 s after"),
    "still running": (_unfinished("running"), {"C1", "C9"}, "still running"),
    "given up for good": (_unfinished("failed"), {"C1"}, "given up for good"),
    "buried at the first rescue": (
        _buried(1, *GOOD[:2], ("dead", 1), rescues=1),
        {"C1"},
        "dead after 1 of 5 attempts",
    ),
    "buried at once, and the row says otherwise": (
        _buried(1, *GOOD[:2], ("dead", 1), attempt=1, rescues=5),
        {"C1"},
        "dead after 1 of 5 attempts",
    ),
    "buried after being given back": (
        _buried(1, ("submitted", 0), *_given_back(4), ("claimed", 5), ("dead", 5), epoch=5),
        {"C1"},
        "dead after 1 of 5 attempts",
    ),
    "buried again when it was replayed": (
        _buried(1, *_TRIED_OUT, ("replayed", 5), ("claimed", 6), ("dead", 6), epoch=6),
        {"C1"},
        "dead after 1 of 5 attempts",
    ),
    "everything is dead": (_all_dead, {"C1"}, "2 of 2 jobs are dead, 1 may be"),
    "cancelled, and nobody asked": (_cancelled, {"C1"}, "cancelled, and no client asked for that"),
    "stored, never acknowledged, and still queued": (_unacknowledged_and_queued, {"C1"}, "still queued"),
    "stored, never acknowledged, and cancelled": (_unacknowledged_and_cancelled, {"C1"}, "no client asked"),
    "its client cannot see it": (lambda h: h.told.update({"job-1": Told(404)}), {"C1"}, "answered 404"),
    "its client is told otherwise": (
        lambda h: h.told.update({"job-1": Told(200, "running", 3)}),
        {"C1"},
        "told running",
    ),
    "its client is told another number": (
        lambda h: h.told.update({"job-1": Told(200, "succeeded", 4)}),
        {"C1"},
        "with 4 records",
    ),
    "never submitted": (_never_submitted, {"C2"}, "nobody submitted it"),
    "records of no job": (
        lambda h: h.records.update({"job-8": Records(1, 1, "", (1,))}),
        {"C2"},
        "has records and is no job",
    ),
    "of another client": (_at_another_client, {"C2"}, "ledger-09 has it"),
    "of another kind": (lambda h: h.change(1, kind="api"), {"C2"}, "stored as api"),
    "refused and stored": (
        lambda h: setattr(h.submitted[0], "refused", ["request-1-1"]),
        {"C2"},
        "was refused, and is stored",
    ),
    "two jobs of one key": (_two_rows_of_a_key, {"C3"}, "became 2 jobs"),
    "two answers to one key": (_two_acknowledgements, {"C1", "C3"}, "became 2 jobs"),
    "a record twice": (_records(4, 3), {"C3"}, "4 records of 3 keys"),
    "a record too many": (_records(4, 4), {"C3"}, "its source has 3"),
    "a record missing": (_records(2, 2), {"C3"}, "its source has 3"),
    "other records": (_records(3, 3, "another"), {"C3"}, "not those of its source"),
    "no records at all": (lambda h: h.records.pop("job-1"), {"C3"}, "holds 0 records"),
    "no avatar": (_expecting("ready", None), {"C3"}, "ended without effect, not ready"),
    "an avatar of what was not allowed": (_expecting("rejected", "ready"), {"C3"}, "ready, not rejected"),
    "miscounted": (
        lambda h: (h.change(1, record_count=7), h.told.update({"job-1": Told(200, "succeeded", 7)}))[0],
        {"C3"},
        "says 7 records and holds 3",
    ),
    "given other records": (
        lambda h: h.told.update({"job-1": Told(200, "succeeded", 3, "another")}),
        {"C3"},
        "given other records",
    ),
    "a zombie ends it again": (_zombie_after_the_end, {"C4", "C6"}, "of epoch 1 came after epoch 2"),
    "records of an epoch that is over": (_wrong_epoch, {"C4"}, "written by epoch 1, it ended in 2"),
    "records of two epochs": (_mixed_epochs, {"C4"}, "written by epoch 1, 2"),
    "too many attempts": (
        lambda h: (
            h.change(1, attempt=6, epoch=6),
            h.records.update({"job-1": Records(3, 3, EXPECTED.digest, (6,))}),
            _events(("submitted", 0), *_retries(5), ("claimed", 6), ("succeeded", 6))(h),
        )[0],
        {"C5"},
        "6 attempts, 5 and 0 rescues allowed",
    ),
    "more attempts than epochs": (lambda h: h.change(1, attempt=2), {"C5", "C6"}, "2 attempts in 1 epochs"),
    "too many rescues": (lambda h: h.change(1, rescues=6), {"C5"}, "rescued 6 times"),
    "no story": (lambda h: h.events.pop("job-1"), {"C6"}, "no story at all"),
    "a gap in the story": (_gap, {"C6"}, "numbered 1, 3, 4"),
    "an event fewer than counted": (lambda h: h.change(1, events=4), {"C6"}, "counts 4 events and has 3"),
    "a story without a beginning": (_events(("claimed", 1), ("succeeded", 1)), {"C6"}, "finds it nowhere"),
    "a story without an end": (_events(*GOOD[:2]), {"C6"}, "ends running"),
    "an end before the claim": (_events(("submitted", 0), ("succeeded", 0)), {"C6"}, "finds it queued"),
    "two ends": (_events(*GOOD, ("succeeded", 1)), {"C6"}, "finds it succeeded"),
    "an unknown event": (_events(*GOOD[:2], ("vanished", 1)), {"C6"}, "nobody knows"),
    "an epoch skipped": (
        _events(("submitted", 0), ("claimed", 2), ("succeeded", 2)),
        {"C6"},
        "after epoch 0",
    ),
    "the story of another client": (_of_another_client, {"C6"}, "are of ledger-07"),
    "the story of no job": (
        lambda h: h.events.update({"job-8": [JobEvent("job-8", 1, 0, "submitted", "ledger-01")]}),
        {"C6"},
        "has events and is no job",
    ),
    "an attempt nobody claimed": (lambda h: h.change(1, attempt=0), {"C6"}, "and 0 attempts"),
    "a toxic left": (
        lambda h: h.leftovers.append("proxy redis toxics: expected none"),
        {"C9"},
        "proxy redis",
    ),
    "a lease left": (lambda h: h.change(1, leased=True), {"C9"}, "leased"),
    "another's job is shown": (
        lambda h: h.cross_reads.append(CrossRead("ledger-02", "ledger-01", "job-1", "result", 200)),
        {"isolation"},
        "got 200",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_promise_is_found_by_its_check_and_by_no_other(what: str) -> None:
    change, checks, said = BROKEN[what]
    history = History()
    change(history)
    findings = history.findings()
    assert broken(findings) == checks
    assert said in " | ".join(texts(findings[check]) for check in checks)


@pytest.mark.parametrize(
    ("what", "loss"),
    [
        ("acknowledged and gone", "lost"),
        ("still queued", "lost"),
        ("buried at the first rescue", "lost"),
        ("cancelled, and nobody asked", "lost"),
        ("stored, never acknowledged, and still queued", "lost"),
        ("a record missing", "lost"),
        ("two jobs of one key", "duplicated"),
        ("a record twice", "duplicated"),
        ("records of two epochs", "duplicated"),
        ("another's job is shown", "leaked"),
        ("of another client", "leaked"),
    ],
)
def test_what_is_broken_is_counted_as_what_it_is(what: str, loss: str) -> None:
    history = History()
    BROKEN[what][0](history)
    counted = {
        kind: sum(finding.counted(kind) for finding in history.findings().values())
        for kind in ("lost", "duplicated", "leaked")
    }
    assert counted[loss] == 1


def test_a_dead_job_that_was_tried_as_often_as_allowed_has_ended_and_is_not_lost() -> None:
    history = History()
    _buried(1, *_TRIED_OUT, attempt=5, epoch=5)(history)
    assert broken(history.findings()) == set()


def test_a_job_that_was_rescued_as_often_as_allowed_may_be_dead() -> None:
    history = History()
    rescued = [step for epoch in range(1, 5) for step in (("claimed", epoch), ("rescued", epoch))]
    steps = (("submitted", 0), *rescued, ("claimed", 5), ("dead", 5))
    _buried(1, *steps, attempt=5, rescues=5, epoch=5)(history)
    assert broken(history.findings()) == set()


def test_many_dead_jobs_are_counted_as_lost_one_by_one() -> None:
    history = History()
    _all_dead(history)
    assert history.findings()["C1"].counted("lost") == 2


@pytest.mark.parametrize(("dead", "checks"), [(3, set()), (4, {"C1"})])
def test_one_job_of_a_hundred_may_be_dead(dead: int, checks: set[str]) -> None:
    numbers = range(1, 301)
    history = History(
        submitted=[submission(number) for number in numbers],
        jobs=[row(number) for number in numbers],
        records={f"job-{number}": Records(3, 3, EXPECTED.digest, (1,)) for number in numbers},
        events={f"job-{number}": story(f"job-{number}", *GOOD) for number in numbers},
        told={f"job-{number}": Told(200, "succeeded", 3) for number in numbers},
    )
    for number in range(1, dead + 1):
        _buried(number, *_TRIED_OUT, attempt=5, epoch=5)(history)
    assert broken(history.findings()) == checks


def test_a_job_that_was_never_acknowledged_may_be_there_or_not() -> None:
    history = History(submitted=[submission(1), submission(2, job_ids=[], acked_unix=None, unknown=2)])
    assert broken(history.findings()) == set()
    _row_gone(history)
    history.told.pop("job-2")
    assert broken(history.findings()) == set()


def test_what_a_worker_gave_back_counts_no_attempt() -> None:
    history = History().change(1, epoch=2)
    history.records["job-1"] = Records(3, 3, EXPECTED.digest, (2,))
    _events(("submitted", 0), ("claimed", 1), ("released", 1), ("claimed", 2), ("succeeded", 2))(history)
    assert broken(history.findings()) == set()


@pytest.mark.parametrize(
    ("unread", "checks"),
    [("job_events", {"C4", "C6"}), ("records.epoch", {"C4"}), ("leftovers", {"C9"})],
)
def test_what_could_not_be_read_is_no_pass(unread: str, checks: set[str]) -> None:
    findings = History(unread=(unread,)).findings()
    assert {name for name, finding in findings.items() if finding.verdict is Verdict.ERROR} == checks


def test_nothing_examined_is_no_pass() -> None:
    history = History([], [], {}, {}, {}, [])
    verdicts = {finding.verdict for name, finding in history.findings().items() if name != "C9"}
    assert verdicts == {Verdict.ERROR}
