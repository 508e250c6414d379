from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.ledger.history import Entry, History, HistoryDamagedError, Type, read_history
from chaos.ledger.submissions import Submission, submissions

CALL: dict[str, Any] = {"kind": "file", "body": {}, "count": 3, "digest": "d"}


def folded(path: Path, *lines: tuple[Type, str, dict[str, Any]]) -> list[Submission]:
    with History(path) as history:
        history.record(Type.INFO, "nemesis", "begin")
        for type_, client, detail in lines:
            history.record(type_, client, "submit", **detail)
    return submissions(read_history(path))


def test_all_attempts_of_a_key_are_one_submission(tmp_path: Path) -> None:
    first, second = {"key": "k", "request_id": "r1"}, {"key": "k", "request_id": "r2"}
    [one] = folded(
        tmp_path / "h",
        (Type.INVOKE, "a", first | CALL),
        (Type.INFO, "a", first | {"why": "ReadTimeout"}),
        (Type.INVOKE, "a", second | CALL),
        (Type.OK, "a", second | {"job_id": "j"}),
    )
    assert (one.key, one.client, one.request_ids, one.job_ids) == ("k", "a", ["r1", "r2"], ["j"])
    assert one.acked
    assert one.unknown == 1


def test_the_same_key_of_two_clients_is_two_submissions(tmp_path: Path) -> None:
    found = folded(
        tmp_path / "h",
        (Type.INVOKE, "a", {"key": "k", "request_id": "r1"} | CALL),
        (Type.INVOKE, "b", {"key": "k", "request_id": "r2"} | CALL),
    )
    assert [(one.client, one.acked) for one in found] == [("a", False), ("b", False)]


def test_a_refusal_is_remembered_by_its_request(tmp_path: Path) -> None:
    call = {"key": "k", "request_id": "r1"}
    [one] = folded(tmp_path / "h", (Type.INVOKE, "a", call | CALL), (Type.FAIL, "a", call | {"why": "422"}))
    assert one.refused == ["r1"]
    assert not one.acked


def test_a_repeated_acknowledgement_is_one_job_and_another_job_is_a_second(tmp_path: Path) -> None:
    calls = [{"key": "k", "request_id": f"r{number}"} for number in range(3)]
    [one] = folded(
        tmp_path / "h",
        *((Type.INVOKE, "a", call | CALL) for call in calls),
        *((Type.OK, "a", call | {"job_id": job}) for call, job in zip(calls, "jjx", strict=True)),
    )
    assert one.job_ids == ["j", "x"]


def test_an_answer_without_a_call_is_no_history() -> None:
    answer = Entry(0, 1.0, Type.OK, "a", "submit", {"key": "k", "request_id": "r", "job_id": "j"})
    with pytest.raises(HistoryDamagedError, match="never made"):
        submissions([answer])
