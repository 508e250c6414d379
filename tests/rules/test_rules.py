from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from chaos.domain import promql
from tests.rules.checks import coverage_problems, promql_commands, rule_problems, runbook_problems
from tests.support.monitoring import RULES, RUNBOOKS, alerts, run, shipped_rules

HERE = Path(__file__).parent
PROMTOOL_TESTS = sorted(HERE.glob("*.test.yml"))
TESTS = {path.name: path.read_text(encoding="utf-8") for path in PROMTOOL_TESTS}
ALERTS = alerts(shipped_rules())


@pytest.mark.parametrize("kind", ["production", "lab"])
def test_promtool_accepts_the_rendered_configuration(
    promtool: str, rendered: Mapping[str, Path], kind: str
) -> None:
    prometheus = rendered[kind] / "prometheus"
    checked = run(promtool, "check", "config", "--lint=all", "--lint-fatal", prometheus / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout
    assert f"{len(list(RULES.glob('*.yml')))} rule files found" in checked.stdout
    files = sorted((prometheus / "rules").glob("*.yml"))
    checked = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.name)
def test_alerts_fire_and_stay_silent_as_their_tests_say(promtool: str, path: Path) -> None:
    tested = run(promtool, "test", "rules", "--diff", path)
    assert tested.returncode == 0, tested.stdout


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert list(coverage_problems(ALERTS, TESTS)) == []


def test_every_alert_carries_what_routing_and_people_need() -> None:
    assert list(rule_problems(ALERTS)) == []


def test_every_alert_has_a_runbook_an_operator_can_follow() -> None:
    assert list(runbook_problems(ALERTS, RUNBOOKS)) == []


def test_every_query_of_a_runbook_is_promql() -> None:
    found = [
        expression
        for path in RUNBOOKS.glob("*.md")
        for expression in promql_commands(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > len(ALERTS)
    for expression in found:
        promql.parse(expression)


def test_the_shipped_alerts_are_the_agreed_ones() -> None:
    assert {rule.name: rule.labels["severity"] for rule in ALERTS} == {
        "ApiDown": "critical",
        "ApiErrorBudgetBurn": "critical",
        "IngestStale": "critical",
        "IngestDayMissing": "warning",
        "IngestFilesDead": "warning",
        "IngestFilesQuarantined": "warning",
        "IngestPendingTooOld": "warning",
        "IngestListingLate": "warning",
        "ObjectStoreFailing": "warning",
        "PostgresUnreachable": "critical",
        "PostgresConnectionsExhausted": "critical",
        "PostgresSlowOrSilent": "critical",
        "PostgresDown": "warning",
        "PostgresConnectionsHigh": "warning",
        "RedisDown": "critical",
        "QueueOldestJobTooOld": "critical",
        "JobsDead": "warning",
        "WorkerDown": "critical",
        "ModerationFailing": "warning",
        "TargetDown": "warning",
        "Watchdog": "none",
    }


# Planted defects: each check must turn red once.

PLANTED = [
    ("postgres", 'reason=~"refused|closed|starting|stopping|dns|unreachable"', 'reason="refused"'),
    ("postgres", "refused|closed", "timeout|refused|closed"),
    ("postgres", "for: 2m30s", "for: 1m"),
    ("postgres", ") > 0.4", ") > 4"),
    ("postgres", "max(max_over_time(pg_up[2m])) == 0", "max(pg_up) == 0"),
    ("postgres", "> 0.8", ">= 0.8"),
    ("api", 'status=~"5.."', 'status=~"4.."'),
    ("api", "[1h]", "[5m]"),
    ("api", "> 0.1\n", "> 0\n"),
    ("api", 'route=~"/api/v1/.*"', 'route=~".*"'),
    ("api", "or vector(0)", "or vector(1)"),
    ("api", "14.4 * 0.001", "1.44 * 0.001"),
    ("queue", "> 300", "> 3000"),
    ("queue", "> 0)", ">= 0)"),
    ("queue", "unless on (service)", "and on (service)"),
    ("queue", "max by (service) (dcs_jobs", "min by (service) (dcs_jobs"),
    ("ingest", "> 201600 #", "> 190800 #"),
    ("ingest", "max by (service) (dcs_ingest_newest", "min by (service) (dcs_ingest_newest"),
    ("ingest", "max by (service, client)", "max by (service)"),
    ("ingest", 'postgres"}) == 0\n        for: 15m', 'postgres"}) == 2\n        for: 15m'),
    ("ingest", 'state="dead"}', 'state=~".*"}'),
    ("ingest", 'state="quarantined"}[1h]', 'state=~"quarantined|dead"}[1h]'),
    ("ingest", "timestamp_seconds > 0)", "timestamp_seconds >= 0)"),
    ("ingest", "> 3600 #", "> 360 #"),
    ("ingest", "> 93600 #", "> 9360 #"),
    ("ingest", "for: 1h", "for: 1m"),
    ("ingest", "refused|timeout|error", "refused|gone|changed"),
    ("ingest", "for: 2m30s", "for: 15s"),
    ("redis", "redis_up[2m]", "redis_upp[2m]"),
    ("redis", 'dependency="redis"', 'dependency=~".*"'),
    ("worker", "for: 3m", "for: 30m"),
    ("meta", "> 10", "> 60"),
]


@pytest.mark.parametrize(("component", "before", "after"), PLANTED)
def test_a_rule_that_was_changed_for_the_worse_is_noticed(
    promtool: str, tmp_path: Path, component: str, before: str, after: str
) -> None:
    source = (RULES / f"{component}.alerts.yml").read_text(encoding="utf-8")
    assert before in source
    rules = tmp_path / "observability" / "prometheus" / "rules"
    rules.mkdir(parents=True)
    (rules / f"{component}.alerts.yml").write_text(source.replace(before, after), encoding="utf-8")
    tests = tmp_path / "tests" / "rules"
    tests.mkdir(parents=True)
    for path in HERE.glob(f"{component}*.test.yml"):
        shutil.copy(path, tests)
    tested = run(promtool, "test", "rules", *tests.iterdir())
    assert tested.returncode == 1
    assert "FAILED" in tested.stdout


def test_a_duplicate_rule_is_fatal(promtool: str, tmp_path: Path) -> None:
    text = (RULES / "worker.alerts.yml").read_text(encoding="utf-8")
    rule = text[text.index("      - alert:") :]
    path = tmp_path / "twice.yml"
    path.write_text(text + rule, encoding="utf-8")
    assert run(promtool, "check", "rules", "--lint=all", "--lint-fatal", path).returncode != 0


def test_a_broken_configuration_is_refused(
    promtool: str, rendered: Mapping[str, Path], tmp_path: Path
) -> None:
    text = (rendered["lab"] / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("scrape_timeout: 1s", "scrape_timeout: 2s"), encoding="utf-8")
    assert run(promtool, "check", "config", path).returncode != 0


def test_a_misspelt_or_missing_case_is_noticed() -> None:
    # promtool itself passes a test that expects nothing of an alert that does not exist.
    misspelt = {
        name: text.replace("alertname: WorkerDown", "alertname: WorkersDown") for name, text in TESTS.items()
    }
    found = list(coverage_problems(ALERTS, misspelt))
    assert "WorkersDown is tested and does not exist" in found
    assert "WorkerDown has no case in which it fires" in found
    silent = {"a": "tests: [{alert_rule_test: [{alertname: WorkerDown, exp_alerts: [{}]}]}]"}
    assert "WorkerDown has no case in which it stays silent" in list(coverage_problems(ALERTS, silent))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("## Impact", "## Effect", "headings"),
        ("# WorkerDown", "# Worker down", "title"),
        ("lab status", "lab promql 'lab_fault_active'", "reads the lab"),
        ("lab status", "docker ps", "not a command"),
        ("<!-- diagnosis: working -->", "", "under a"),
        ("<!-- diagnosis: working -->", "<!-- diagnosis: log -->", "share an id"),
        ("## Meaning", "## Meaning\n[x](Nowhere.md)", "does not exist"),
    ],
)
def test_a_runbook_that_leads_nowhere_is_noticed(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    folder = tmp_path / "runbooks"
    shutil.copytree(RUNBOOKS, folder)
    path = folder / "WorkerDown.md"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    assert any(problem in found for found in runbook_problems(ALERTS, folder))


def test_a_runbook_that_is_missing_or_left_over_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "runbooks"
    shutil.copytree(RUNBOOKS, folder)
    (folder / "WorkerDown.md").rename(folder / "WorkersDown.md")
    found = list(runbook_problems(ALERTS, folder))
    assert "WorkerDown has no runbook" in found
    assert "WorkersDown.md belongs to no alert" in found
