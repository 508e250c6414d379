from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chaos.domain.verdict import Verdict
from chaos.engine.nemesis.campaign import Injection
from chaos.engine.nemesis.result import NemesisResult, lines, to_html
from chaos.engine.nemesis.table import not_possible
from chaos.ledger.findings import Finding, Violation

GOOD = Finding("C1", "every acknowledged job ends", 10, [])
LOST = Finding("C1", "every acknowledged job ends", 10, [Violation("job-1", "is <gone>", "lost")])
UNREAD = Finding("C6", "the audit trail is whole", 0, [], "could not be read: job_events")
HIT = Injection("kill:redis", required=True, stream="", began_unix=2.0, seconds=1.0)
MISSED = replace(HIT, cell="down:redis", why="down:redis does not show within 12 s")

RESULT = NemesisResult(
    seed=1,
    minutes=5.0,
    run_id="run",
    lab_id="lab",
    started_unix=1.0,
    ended_unix=400.0,
    lease_seconds=5.0,
    submissions=10,
    jobs=10,
    jobs_min=10,
    calls={"attempts": 12},
    states={"succeeded": 10},
    settle_seconds=1.5,
    owed=["kill:redis"],
    table=["kill:redis", "down:redis", "pause:api-1"],
    injections=[HIT],
    not_possible=not_possible([]),
    findings=[GOOD],
    trouble=[],
    history="history.jsonl",
)


def test_all_checks_green_and_all_cells_hit_is_a_pass() -> None:
    assert RESULT.verdict is Verdict.PASS
    assert RESULT.problems() == []
    assert lines(RESULT)[-1] == "10 jobs, 1 faults, 0 lost, 0 duplicated, 0 leaked"


def test_calls_are_told_in_words() -> None:
    calls = {"attempts": 12, "slowest_seconds": 6.10751383, "refusals": {}}
    assert "  calls: 12 attempts, the slowest acknowledged after 6.1 s" in lines(replace(RESULT, calls=calls))
    refused = calls | {"refusals": {"401": 2, "409": 1}}
    assert any(line.endswith("refusals: 2 401, 1 409") for line in lines(replace(RESULT, calls=refused)))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            replace(RESULT, owed=["kill:redis", "down:redis"], injections=[HIT, MISSED]),
            "does not show within",
        ),
        (replace(RESULT, owed=["kill:redis", "down:redis"]), "the run ended before its turn"),
        (replace(RESULT, jobs=9), "9 jobs, 10 are needed"),
        (replace(RESULT, trouble=["lane paths did not end"]), "lane paths did not end"),
        (replace(RESULT, findings=[GOOD, UNREAD]), "C6 could not be read: job_events"),
        (replace(RESULT, findings=[replace(GOOD, examined=0)]), "C1 examined nothing"),
    ],
)
def test_what_was_not_judged_is_an_error_and_says_so(result: NemesisResult, said: str) -> None:
    assert result.verdict is Verdict.ERROR
    assert any(said in problem for problem in result.problems())
    assert any(said in line for line in lines(result))
    assert said in to_html(result)


def test_nothing_checked_is_an_error() -> None:
    assert replace(RESULT, findings=[]).verdict is Verdict.ERROR


def test_a_broken_promise_is_a_fail_whatever_else_went_wrong() -> None:
    result = replace(RESULT, findings=[LOST, UNREAD], trouble=["something"])
    assert result.verdict is Verdict.FAIL
    assert result.summary == "10 jobs, 1 faults, 1 lost, 0 duplicated, 0 leaked"


def test_the_report_is_plain_json_and_a_page_that_quotes_what_it_shows() -> None:
    plain = json.loads(json.dumps(replace(RESULT, findings=[LOST]).as_dict()))
    assert plain["verdict"] == "FAIL"
    assert plain["findings"][0]["violations"][0]["job"] == "job-1"
    page = to_html(replace(RESULT, findings=[LOST]))
    assert "is &lt;gone&gt;" in page
    assert "<script" not in page
    assert all(each.fault in page for each in not_possible([]))
