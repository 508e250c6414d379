from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chaos.domain.run import DrillResult
from chaos.domain.verdict import Verdict
from chaos.engine.report import SCHEMA, ReportUnreadableError, from_json, to_json
from tests.support import report_samples as samples


@pytest.mark.parametrize("sample", [samples.passing, samples.mixed, samples.hostile, samples.drill])
def test_a_report_read_again_is_the_same(sample: Callable[[], DrillResult]) -> None:
    result = sample()
    again = from_json(to_json(result))
    assert again == result
    assert to_json(again) == to_json(result)
    assert again.verdict is result.verdict


def test_the_schema_comes_first_and_keys_keep_their_order() -> None:
    data = json.loads(to_json(samples.passing()))
    assert list(data)[:4] == ["schema", "scenario", "title", "symptom"]
    assert data["schema"] == SCHEMA == "firedrill-report/v1"
    assert data["verdict"] == "PASS"
    assert [variant["verdict"] for variant in data["variants"]] == ["PASS"] * 7


def test_a_kept_verdict_is_not_believed() -> None:
    data = json.loads(to_json(samples.mixed()))
    data["verdict"] = "PASS"
    assert from_json(json.dumps(data)).verdict is Verdict.ERROR


def _without_seed(data: dict[str, Any]) -> None:
    del data["seed"]


def _with_a_bad_verdict(data: dict[str, Any]) -> None:
    data["variants"][0]["checks"][0]["verdict"] = "MAYBE"


def _of_another_schema(data: dict[str, Any]) -> None:
    data["schema"] = "firedrill-report/v9"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_seed, "seed"),
        (_with_a_bad_verdict, "variants.0.checks.0.verdict"),
        (_of_another_schema, "firedrill-report/v9"),
    ],
)
def test_a_damaged_report_is_refused_by_name(spoil: Callable[[dict[str, Any]], None], words: str) -> None:
    data = json.loads(to_json(samples.passing()))
    spoil(data)
    with pytest.raises(ReportUnreadableError, match=words):
        from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"firedrill-report/v1"'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ReportUnreadableError):
        from_json(text)
