"""Scenario 3 end to end, and what must not pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.config import ROOT
from tests.support.lab import Lab

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.mark.full
def test_every_variant_passes_and_its_evidence_is_true_of_it_alone(lab: Lab) -> None:
    code, report, said = lab.drill_json("--variant", "all", "--seed", "7")
    assert code == 0, said
    ids = report["all_variants"]
    assert len(ids) >= 7
    assert [variant["variant"] for variant in report["variants"]] == ids
    assert_as_promised(report)


@pytest.mark.parametrize("variant", ["path-closed", pytest.param("too-many-clients", marks=pytest.mark.full)])
def test_a_variant_passes_and_leaves_its_reports(lab: Lab, variant: str) -> None:
    code, report, said = lab.drill_json("--variant", variant)
    assert code == 0, said
    assert_as_promised(report)
    newest = max((lab.config.state_dir / "reports").iterdir())
    assert {path.name for path in newest.iterdir()} == {"report.json", "report.junit.xml", "report.html"}


def assert_as_promised(report: dict[str, Any]) -> None:
    """Check detection, its legs and the evidence of every variant that was drilled."""
    ids = report["all_variants"]
    for variant in report["variants"]:
        assert variant["evidence_row"] == {name: name == variant["variant"] for name in ids}
        assert not any(variant["baseline_row"].values())
        assert variant["detections"]
        for detection in variant["detections"]:
            assert detection["receiver"] == "pager"
            assert 0 < detection["total_seconds"] <= detection["ceiling_seconds"], detection
            legs = sum(leg["measured_seconds"] for leg in detection["legs"])
            assert legs == pytest.approx(detection["total_seconds"], abs=0.01)
        assert variant["recoveries"]


def planted(tmp_path: Path, source: str) -> Path:
    """Return a copy of one of the checkout's folders to spoil."""
    target = tmp_path / source
    shutil.copytree(ROOT / source, target)
    return target


def test_an_alert_deleted_from_the_rules_is_a_fail(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    observability = planted(tmp_path, "observability")
    file = observability / "prometheus" / "rules" / "postgres.alerts.yml"
    rules = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") != "PostgresUnreachable"]
    file.write_text(yaml.safe_dump(rules), encoding="utf-8")
    code, report, said = new_lab(LAB_OBSERVABILITY_DIR=str(observability)).drill_json()
    assert code == 1, said
    assert report["verdict"] == "FAIL"
    assert "the deployed rules do not define it" in said


def test_a_wrong_route_is_a_fail(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    observability = planted(tmp_path, "observability")
    file = observability / "alertmanager" / "alertmanager.yml.j2"
    text = file.read_text(encoding="utf-8")
    assert "receiver: pager" in text
    file.write_text(text.replace("receiver: pager", "receiver: tickets"), encoding="utf-8")
    code, report, said = new_lab(LAB_OBSERVABILITY_DIR=str(observability)).drill_json()
    assert code == 1, said
    assert "it reached tickets instead" in said
    assert report["verdict"] == "FAIL"


def test_a_fault_that_does_nothing_is_an_error(new_lab: Callable[..., Lab], tmp_path: Path) -> None:
    scenarios = planted(tmp_path, "scenarios")
    file = scenarios / "03-connection-refused" / "scenario.yml"
    text = file.read_text(encoding="utf-8")
    assert "{kind: proxy_down, proxy: postgres}" in text
    harmless = text.replace(
        "{kind: proxy_down, proxy: postgres}", "{kind: proxy_down, proxy: evidence-api}", 1
    )
    file.write_text(harmless, encoding="utf-8")
    code, report, said = new_lab(LAB_SCENARIOS_DIR=str(scenarios)).drill_json()
    assert code == 3, said
    assert report["verdict"] == "ERROR"
    assert "no-op" in said


def test_without_loki_nothing_is_judged(lab: Lab) -> None:
    lab.stack.stop("loki")
    code, report, said = lab.drill_json()
    assert code == 3, said
    assert report["verdict"] == "ERROR"
    assert "loki does not run" in said


def test_unknown_scenarios_and_variants_are_usage_errors(lab: Lab) -> None:
    for arguments, told in (
        (("drill", "77"), "there is no scenario '77'"),
        (("drill", "3", "--variant", "nonsense"), "path-closed, wrong-host"),
        (("fix", "3"), "scenario 3 is not held"),
        (("scenario", "3", "--hold", "10"), "write a number with a unit"),
    ):
        done = lab.run(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert told in done.stderr


def test_an_invalid_scenario_is_a_usage_error_with_every_line(
    new_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    scenarios = planted(tmp_path, "scenarios")
    file = scenarios / "03-connection-refused" / "scenario.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("max_duration: 3m", "max_duration: 3") + "surprise: 1\n", encoding="utf-8")
    done = new_lab(LAB_SCENARIOS_DIR=str(scenarios)).run("drill", "3")
    assert done.returncode == 2
    assert "has no unit" in done.stderr
    assert "surprise" in done.stderr


def test_two_labs_side_by_side_do_not_disturb_each_other(lab: Lab, new_lab: Callable[..., Lab]) -> None:
    other = new_lab()
    other.ok("up")
    before = other.baseline()
    programs = {program.name: program.pid for program in other.stack.programs()}
    seen = len(other.wired.operators.notifications.since(0))
    code, _, said = lab.drill_json()
    assert code == 0, said
    assert other.left_over(before) == []
    assert {program.name: program.pid for program in other.stack.programs()} == programs
    told = other.wired.operators.notifications.since(0)[seen:]
    assert {name for item in told for name in item.names} <= {"Watchdog"}
    other.ok("down")
