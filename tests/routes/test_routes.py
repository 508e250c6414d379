from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from chaos.domain.routes import RouteTree, parse_routes
from chaos.domain.timing import alert_labels
from chaos.domain.watching import Rule
from tests.support.monitoring import alerts, program, run, shipped_rules

ALERTS = {rule.name: rule for rule in alerts(shipped_rules())}
RECEIVER_OF_SEVERITY = {"critical": "pager", "warning": "tickets", "none": "deadman"}
KINDS = ["production", "lab"]
POSTGRES_INCIDENTS = [
    "PostgresUnreachable",
    "PostgresDown",
    "PostgresConnectionsExhausted",
    "PostgresSlowOrSilent",
]


def config(rendered: Mapping[str, Path], kind: str) -> Path:
    return rendered[kind] / "alertmanager" / "alertmanager.yml"


def tree(rendered: Mapping[str, Path], kind: str) -> RouteTree:
    return parse_routes(config(rendered, kind).read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_amtool_accepts_the_rendered_configuration(
    amtool: str, rendered: Mapping[str, Path], kind: str
) -> None:
    checked = run(amtool, "check-config", config(rendered, kind))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule.name)
def test_every_alert_reaches_its_receiver_and_our_own_reading_agrees(
    amtool: str, rendered: Mapping[str, Path], kind: str, rule: Rule
) -> None:
    labels = alert_labels(rule)
    expected = RECEIVER_OF_SEVERITY[labels["severity"]]
    pairs = [f"{name}={value}" for name, value in labels.items()]
    command = [amtool, "config", "routes", "test", f"--config.file={config(rendered, kind)}"]
    tested = run(*command, f"--verify.receivers={expected}", *pairs)
    assert tested.returncode == 0, tested.stdout
    assert tree(rendered, kind).receivers_for(labels) == [expected]


def test_what_nobody_thought_of_goes_to_tickets(amtool: str, rendered: Mapping[str, Path]) -> None:
    command = [amtool, "config", "routes", "test", f"--config.file={config(rendered, 'lab')}"]
    assert run(*command, "--verify.receivers=tickets", "alertname=Unheard", "severity=odd").returncode == 0
    assert run(*command, "--verify.receivers=pager", "alertname=Unheard", "severity=odd").returncode != 0


def test_timings_and_grouping_are_as_agreed(rendered: Mapping[str, Path]) -> None:
    def timings(kind: str, name: str) -> tuple[tuple[str, ...], float, float, float]:
        route = tree(rendered, kind).routes_for(alert_labels(ALERTS[name]))[0]
        return (
            tuple(route.group_by),
            route.group_wait_seconds,
            route.group_interval_seconds,
            route.repeat_interval_seconds,
        )

    assert timings("production", "PostgresUnreachable") == (("service", "alertname"), 10, 60, 3600)
    assert timings("production", "PostgresDown") == (("service", "component"), 30, 300, 43200)
    assert timings("production", "Watchdog") == (("alertname",), 0, 60, 60)
    assert timings("lab", "PostgresUnreachable") == (("service", "alertname"), 0.333, 2, 120)
    assert timings("lab", "PostgresDown") == (("service", "component"), 1, 10, 1440)
    assert timings("lab", "Watchdog") == (("alertname",), 0, 2, 2)


@pytest.mark.parametrize("source", POSTGRES_INCIDENTS)
def test_a_postgres_incident_holds_back_what_follows_from_it(
    rendered: Mapping[str, Path], source: str
) -> None:
    firing = [alert_labels(ALERTS[source])]
    routes = tree(rendered, "lab")
    high, queue = (
        alert_labels(ALERTS["PostgresConnectionsHigh"]),
        alert_labels(ALERTS["QueueOldestJobTooOld"]),
    )
    assert routes.muted_by(high, firing) == "postgres-incident-over-postgres-warnings"
    assert routes.muted_by(queue, firing) == "postgres-incident-over-queue-age"
    assert routes.muted_by({**queue, "service": "another"}, firing) is None


def test_nothing_ever_holds_back_the_pages_for_what_users_feel_or_the_ticket_that_names_the_cause(
    rendered: Mapping[str, Path],
) -> None:
    firing = [alert_labels(rule) for rule in ALERTS.values()]
    routes = tree(rendered, "lab")
    muted = {name for name, rule in ALERTS.items() if routes.muted_by(alert_labels(rule), firing)}
    assert muted == {"PostgresConnectionsHigh", "QueueOldestJobTooOld"}
    slo = [rule for rule in ALERTS.values() if "slo" in rule.labels]
    assert slo
    for rule, source in itertools.product(slo, firing):
        assert routes.muted_by(alert_labels(rule), [source]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_receivers_hear_of_the_end_too(rendered: Mapping[str, Path], kind: str) -> None:
    text = config(rendered, kind).read_text(encoding="utf-8")
    assert text.count("send_resolved: true") == 3
    for receiver in ("pager", "tickets", "deadman"):
        assert f"/v1/notify/{receiver}" in text


def test_a_route_that_goes_wrong_is_noticed(
    amtool: str, rendered: Mapping[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "alertmanager.yml"
    text = config(rendered, "lab").read_text(encoding="utf-8")
    broken.write_text(text.replace('severity="critical"', 'severity="critcal"'), encoding="utf-8")
    command = [amtool, "config", "routes", "test", f"--config.file={broken}"]
    labels = alert_labels(ALERTS["PostgresUnreachable"])
    pairs = [f"{name}={value}" for name, value in labels.items()]
    assert run(*command, "--verify.receivers=pager", *pairs).returncode != 0
    assert parse_routes(broken.read_text(encoding="utf-8")).receivers_for(labels) == ["tickets"]
    broken.write_text(text.replace("receiver: pager", "receiver: nobody"), encoding="utf-8")
    assert run(amtool, "check-config", broken).returncode != 0


@pytest.mark.parametrize("kind", KINDS)
def test_loki_accepts_its_configuration(rendered: Mapping[str, Path], kind: str, tmp_path: Path) -> None:
    loki, path = program("loki"), rendered[kind] / "loki" / "loki.yml"
    checked = run(loki, "-verify-config", f"-config.file={path}")
    assert checked.returncode == 0, checked.stdout
    broken = tmp_path / "loki.yml"
    broken.write_text(path.read_text(encoding="utf-8").replace("schema: v13", "schema: v9"), encoding="utf-8")
    assert run(loki, "-verify-config", f"-config.file={broken}").returncode != 0


@pytest.mark.parametrize("kind", KINDS)
def test_nginx_accepts_its_configuration(rendered: Mapping[str, Path], kind: str, tmp_path: Path) -> None:
    nginx, path = program("nginx"), rendered[kind] / "nginx" / "nginx.conf"
    checked = run(nginx, "-t", "-e", "stderr", "-c", path)
    assert checked.returncode == 0, checked.stdout
    broken = tmp_path / "nginx.conf"
    broken.write_text(path.read_text(encoding="utf-8").replace("proxy_pass http://api;", "proxy_pass;"))
    assert run(nginx, "-t", "-e", "stderr", "-c", broken).returncode != 0
