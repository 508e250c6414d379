from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chaos.config import ROOT
from tests.catalogue.alerts import expectation_problems, expected_alerts, unproven_problems


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("observability", "scenarios"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "deploy" / "nginx", tmp_path / "deploy" / "nginx")
    return tmp_path


def replace(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_every_expected_alert_exists_and_reaches_whom_it_should() -> None:
    assert list(expected_alerts(ROOT)) != []
    assert list(expectation_problems(ROOT)) == []


def test_every_alert_is_proven_by_a_scenario_or_says_why_not() -> None:
    assert list(unproven_problems(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "problem"),
    [
        (
            "prometheus/rules/postgres.alerts.yml",
            "PostgresUnreachable",
            "PostgresGone",
            "PostgresUnreachable, which no",
        ),
        ("prometheus/rules/redis.alerts.yml", "RedisDown", "RedisGone", "names RedisDown, which no rule"),
        (
            "prometheus/rules/postgres.alerts.yml",
            "severity: critical",
            "severity: warning",
            "it goes to tickets",
        ),
        ("prometheus/rules/postgres.alerts.yml", "severity: critical", "severity: warning", "it is warning"),
        (
            "alertmanager/alertmanager.yml.j2",
            "- receiver: pager",
            "- receiver: tickets",
            "it goes to tickets",
        ),
    ],
)
def test_an_expectation_that_cannot_come_true_is_noticed(
    checkout: Path, file: str, before: str, after: str, problem: str
) -> None:
    replace(checkout / "observability" / file, before, after)
    assert problem in "\n".join(expectation_problems(checkout))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("name: RedisDown", "name: RedisGone", "no scenario raises RedisDown"),
        ("name: RedisDown", "name: RedisGone", "RedisGone, which no rule defines"),
        ("name: RedisDown", "name: PostgresUnreachable", "which a scenario proves by now"),
        ("name: RedisDown", "name: ApiDown", "names ApiDown twice"),
        ("reason: needs a scenario that takes Redis away", "reason: ''", "no reason for RedisDown"),
    ],
)
def test_an_excuse_that_is_missing_or_stale_is_noticed(
    checkout: Path, before: str, after: str, problem: str
) -> None:
    replace(checkout / "observability" / "unproven.yml", before, after)
    assert problem in "\n".join(unproven_problems(checkout))
