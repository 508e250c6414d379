from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from chaos.domain.run import DrillResult
from chaos.engine.report import to_junit
from tests.support import report_samples as samples

SAMPLES = {
    "passing": samples.passing(),
    "mixed": samples.mixed(),
    "hostile": samples.hostile(),
    "empty": samples.drill(),
}


def parsed(result: DrillResult) -> ET.Element:
    text = to_junit(result)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    return ET.fromstring(text.encode())  # noqa: S314 our own output


@pytest.mark.parametrize("name", SAMPLES)
def test_the_document_has_the_usual_shape(name: str) -> None:
    root = parsed(SAMPLES[name])
    assert root.tag == "testsuites"
    assert {suite.tag for suite in root} <= {"testsuite"}
    for suite in root:
        # The order that strict readers ask for.
        order = [child.tag for child in suite]
        assert order == ["properties", *["testcase"] * (len(order) - 2), "system-out"]
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases)) != "0"
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("errors") == str(len(suite.findall("testcase/error")))
        assert len(suite.get("timestamp", "")) == len("2025-11-22T07:42:00")
        for case in cases:
            assert {"name", "classname", "time"} <= set(case.keys())
            assert float(case.get("time", "nan")) >= 0
            assert len(list(case)) <= 1
    for total in ("tests", "failures", "errors"):
        assert int(root.get(total, "-1")) == sum(int(suite.get(total, "-1")) for suite in root)


def test_one_suite_per_variant_and_one_case_per_check() -> None:
    result = samples.passing()
    root = parsed(result)
    assert [suite.get("name") for suite in root] == [f"03-connection-refused.{name}" for name in samples.IDS]
    assert [len(suite.findall("testcase")) for suite in root] == [len(v.checks) for v in result.variants]
    assert root.get("failures") == root.get("errors") == "0"


def test_fail_is_a_failure_and_error_is_an_error() -> None:
    suites = list(parsed(samples.mixed()))
    assert [(suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("1", "0"),
        ("1", "0"),
        ("1", "0"),
        ("0", "1"),
        ("0", "0"),
    ]
    failure = suites[1].find("testcase/failure")
    assert failure is not None
    assert "define no alert" in failure.get("message", "")
    assert "Open the alert's rule" in (failure.text or "")
    error = suites[3].find("testcase/error")
    assert error is not None
    assert "Loki does not answer" in error.get("message", "")


def test_a_check_that_could_not_be_judged_is_an_error_and_no_failure() -> None:
    suite = next(iter(parsed(samples.hostile())))
    kinds = [[child.tag for child in case] for case in suite.findall("testcase")]
    assert kinds == [["failure"], ["error"], ["error"]]


def test_seed_floor_and_ceiling_are_properties() -> None:
    result = samples.passing()
    suite = next(iter(parsed(result)))
    kept = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    detection = result.variants[0].detections[0]
    assert kept["seed"] == "7"
    assert kept["detection.PostgresUnreachable.floor_seconds"] == f"{detection.floor_seconds:.3f}"
    assert kept["detection.PostgresUnreachable.ceiling_seconds"] == f"{detection.ceiling_seconds:.3f}"
    assert kept["detection.PostgresUnreachable.measured_seconds"] == f"{detection.total_seconds:.3f}"


def test_hostile_text_stays_text() -> None:
    text = to_junit(samples.hostile())
    assert "<script>" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    message = parsed(samples.hostile()).find("testsuite/testcase/failure")
    assert message is not None
    assert message.get("message", "").startswith("<script>")
