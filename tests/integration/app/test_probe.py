"""How the probe of PostgreSQL tells apart what happened to its query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from app.database.engine import ConnectOptions, Connector
from app.health.probe import DependencyProbe
from app.settings import Settings
from tests.support.databases import target
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

REASONS = ("deadline", "connection_lost", "other")


def probe_as(postgres: PostgresServer, database_name: str, user: str) -> DependencyProbe:
    settings = Settings(probe_interval_seconds=0.05, instance="probed")
    options = ConnectOptions("probed", connect_timeout=2, query_deadline=3.0)
    return DependencyProbe(settings, Connector(target(postgres.port, database_name, user), options))


@pytest.fixture
def probe(postgres: PostgresServer, database_name: str) -> Iterator[DependencyProbe]:
    probe = probe_as(postgres, database_name, "dcs")
    yield probe
    probe.stop()


def counted() -> dict[str, float]:
    return {
        reason: REGISTRY.get_sample_value("dcs_db_query_errors_total", {"reason": reason}) or 0.0
        for reason in REASONS
    }


def wait_for(probe: DependencyProbe, reason: str) -> None:
    def found() -> bool:
        finding = probe.findings.get("postgres")
        return finding is not None and finding.reason == reason

    eventually(found, within_seconds=10, what=f"the probe finds {reason}")


def test_a_query_that_is_not_allowed_is_no_deadline(postgres: PostgresServer, database_name: str) -> None:
    before = counted()
    probe = probe_as(postgres, database_name, "reader")
    probe.start()
    try:
        wait_for(probe, "other")
    finally:
        probe.stop()
    assert counted()["deadline"] == before["deadline"]
    assert counted()["other"] > before["other"]


def test_a_query_that_waits_too_long_is_a_timeout_and_a_killed_one_a_lost_connection(
    postgres: PostgresServer, database_name: str, probe: DependencyProbe
) -> None:
    before = counted()
    with postgres.connection(database_name) as blocker, blocker.cursor() as cursor:
        # The first probes ask for the revision.
        cursor.execute("BEGIN; LOCK TABLE alembic_version")
        probe.start()
        wait_for(probe, "timeout")
        after_timeout = counted()
        assert after_timeout["deadline"] > before["deadline"]
        assert after_timeout["connection_lost"] == before["connection_lost"]

        def killed() -> bool:
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'probed-probe' AND wait_event_type = 'Lock'"
            )
            return counted()["connection_lost"] > before["connection_lost"]

        eventually(killed, within_seconds=10, what="a probe is killed in the middle")
        wait_for(probe, "connection_lost")
        cursor.execute("ROLLBACK")
