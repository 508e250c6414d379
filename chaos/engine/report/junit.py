"""The report as JUnit XML: a suite per variant, a case per check."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from chaos.domain.run import Check, DrillResult, VariantResult
from chaos.domain.verdict import Verdict
from chaos.engine.report.wording import advice, clean, iso_utc, one_line

_DRILL_CASE = "drill"  # stands for a variant that the lab could not judge


def to_junit(result: DrillResult) -> str:
    """Return one ``testsuites`` document. FAIL is a failure, ERROR an error."""
    root = ET.Element("testsuites", {"name": f"firedrill {one_line(result.scenario)}"})
    suites = [_suite(result, variant) for variant in result.variants]
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", _time(result.ended_unix - result.started_unix))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(result: DrillResult, variant: VariantResult) -> ET.Element:
    name = f"{one_line(result.scenario)}.{one_line(variant.variant)}"
    cases = [_case(name, check) for check in variant.checks]
    if variant.error is not None or not variant.checks:
        cases.append(_unjudged(name, variant))
    suite = ET.Element(
        "testsuite",
        {
            "name": name,
            "tests": str(len(cases)),
            "failures": str(sum(case.find("failure") is not None for case in cases)),
            "errors": str(sum(case.find("error") is not None for case in cases)),
            "skipped": "0",
            "time": _time(variant.ended_unix - variant.started_unix),
            "timestamp": iso_utc(variant.started_unix),
            "hostname": one_line(result.lab_id),
        },
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(result, variant):
        ET.SubElement(properties, "property", {"name": key, "value": value})
    suite.extend(cases)
    log = "\n".join(
        f"{event.at_unix:.3f} {one_line(event.kind)} {one_line(event.text)}" for event in variant.timeline
    )
    ET.SubElement(suite, "system-out").text = log
    return suite


def _properties(result: DrillResult, variant: VariantResult) -> list[tuple[str, str]]:
    pairs = [
        ("seed", str(result.seed)),
        ("run_id", one_line(variant.run_id)),
        ("cause", one_line(variant.cause)),
        ("verdict", str(variant.verdict)),
    ]
    for detection in variant.detections:
        prefix = f"detection.{one_line(detection.alert)}"
        pairs += [
            (f"{prefix}.measured_seconds", f"{detection.total_seconds:.3f}"),
            (f"{prefix}.floor_seconds", f"{detection.floor_seconds:.3f}"),
            (f"{prefix}.ceiling_seconds", f"{detection.ceiling_seconds:.3f}"),
        ]
    return pairs


def _case(suite: str, check: Check) -> ET.Element:
    case = ET.Element(
        "testcase",
        {
            "classname": suite,
            "name": f"{one_line(check.group)}: {one_line(check.name)}",
            "time": _time(check.seconds or 0.0),
        },
    )
    if check.verdict is not Verdict.PASS:
        kind = "failure" if check.verdict is Verdict.FAIL else "error"
        found = ET.SubElement(case, kind, {"message": one_line(check.detail), "type": str(check.verdict)})
        found.text = f"{clean(check.detail)}\n{advice(check)}"
    return case


def _unjudged(suite: str, variant: VariantResult) -> ET.Element:
    words = clean(variant.error if variant.error is not None else "Nothing was judged.")
    case = ET.Element("testcase", {"classname": suite, "name": _DRILL_CASE, "time": "0.000"})
    error = ET.SubElement(case, "error", {"message": one_line(words), "type": str(Verdict.ERROR)})
    error.text = words
    return case


def _time(value_seconds: float) -> str:
    return f"{max(0.0, value_seconds):.3f}"
