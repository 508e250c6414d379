"""What health checks say while dependencies come and go."""

from __future__ import annotations

import threading
from typing import Any

from app.migrate import migrate
from tests.support.databases import TEMPLATE, settings_for
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.waiting import eventually


def dependency(process: ServiceProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = process.get("/health").json()["dependencies"][name]
    return found


def wait_for(process: ServiceProcess, name: str, reason: str | None) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        answer = process.get("/health").json()["dependencies"].get(name)
        return answer if answer and answer["reason"] == reason else None

    return eventually(found, within_seconds=10, what=f"{name} has reason {reason}")


def test_all_is_well(api: ServiceProcess) -> None:
    wait_for(api, "postgres", None)
    wait_for(api, "redis", None)
    body = api.get("/health").json()
    assert (body["status"], body["instance"]) == ("ok", "test-1")
    assert body["dependencies"]["postgres"]["status"] == "up"
    assert api.get("/health/ready").json() == {"status": "ready"}
    assert api.metric("dcs_dependency_up", dependency="postgres") == 1


def test_a_database_that_is_away_degrades_and_neither_kills_nor_unreadies(
    start: Start, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        api = start("app.main", DCS_DATABASE_PORT=str(path.port))
        wait_for(api, "postgres", None)
        for state, reason in (
            (PathState.REFUSE, "refused"),
            (PathState.CLOSE, "closed"),
            (PathState.BLACK_HOLE, "timeout"),
        ):
            path.set_state(state)
            found = wait_for(api, "postgres", reason)
            assert (found["status"], found["target"]) == ("down", f"127.0.0.1:{path.port}")
            answer = api.get("/health")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < 1
            assert answer.json()["status"] == "degraded"
            assert answer.json()["dependencies"]["postgres"]["checked_seconds_ago"] < 3
            assert api.get("/health/live").status_code == 200
            assert api.get("/health/ready").status_code == 200
            assert api.metric("dcs_dependency_up", dependency="postgres") == 0
            path.set_state(PathState.PASS)
            wait_for(api, "postgres", None)


def test_redis_away_degrades_and_jobs_are_still_accepted(start: Start) -> None:
    api = start("app.main", DCS_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    wait_for(api, "redis", "refused")
    assert api.get("/health").json()["status"] == "degraded"
    assert api.get("/health/ready").status_code == 200
    assert api.trigger("file", {"path": "x.csv"}).status_code == 202
    assert api.metric("dcs_redis_errors_total", reason="refused") > 0
    assert api.events("redis_unavailable")


def test_a_redis_in_a_black_hole_costs_a_request_little(start: Start, postgres: PostgresServer) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as hole:
        hole.set_state(PathState.BLACK_HOLE)
        api = start("app.main", DCS_REDIS_URL=f"redis://127.0.0.1:{hole.port}/0")
        wait_for(api, "redis", "timeout")
        answers = [api.trigger("file", {"path": "x.csv"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202] * 3
        # The first one pays the time-out; the next know better.
        assert sorted(answer.elapsed.total_seconds() for answer in answers)[1] < 0.5


def test_unmigrated_is_not_ready_until_migrated(start: Start, postgres: PostgresServer) -> None:
    postgres.execute("CREATE DATABASE unmigrated OWNER dcs")
    api = start("app.main", DCS_DATABASE_NAME="unmigrated")

    def readiness() -> tuple[int, str]:
        answer = api.get("/health/ready")
        return answer.status_code, answer.json()["status"]

    eventually(lambda: readiness() == (503, "unmigrated"), within_seconds=10, what="unmigrated")
    assert api.get("/health").status_code == 200
    assert api.trigger("file", {"path": "x.csv"}).status_code == 503
    migrate(settings_for(postgres.port, "unmigrated"))
    eventually(lambda: readiness() == (200, "ready"), within_seconds=10, what="ready")


def test_a_database_that_was_never_there_does_not_hold_readiness_back(start: Start) -> None:
    api = start("app.main", DCS_DATABASE_PORT=str(free_port()))
    eventually(lambda: api.get("/health/ready").status_code == 200, within_seconds=10, what="ready")


def test_live_answers_while_all_threads_wait_for_the_database(start: Start, postgres: PostgresServer) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        api = start(
            "app.main",
            DCS_DATABASE_PORT=str(path.port),
            DCS_DATABASE_QUERY_DEADLINE_SECONDS="3",
            DCS_LEASE_SECONDS="10",
        )
        wait_for(api, "postgres", None)
        path.set_state(PathState.BLACK_HOLE)
        threads = [threading.Thread(target=api.trigger, args=("file", {"path": "x.csv"})) for _ in range(12)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            for route in ("/health/live", "/health", "/metrics"):
                assert api.get(route).elapsed.total_seconds() < 1
        for thread in threads:
            thread.join(15)
            assert not thread.is_alive()


def test_sigterm_ends_the_api_cleanly(start: Start) -> None:
    api = start("app.main")
    assert api.terminate() == 0
    assert api.events("service_stopping")


def test_a_worker_shows_its_pulse(worker: ServiceProcess) -> None:
    first = worker.metric("dcs_worker_heartbeat_timestamp_seconds")
    eventually(
        lambda: worker.metric("dcs_worker_heartbeat_timestamp_seconds") > first,
        within_seconds=10,
        what="the heartbeat moves",
    )
    assert worker.get("/nowhere").status_code == 404
    assert worker.metric("dcs_jobs_queued") == 0


def test_a_port_that_is_taken_is_a_start_that_fails(
    api: ServiceProcess, service_settings: dict[str, str]
) -> None:
    for module in ("app.main", "app.worker"):
        second = ServiceProcess(module, service_settings, port=api.port)
        try:
            assert second.process.wait(40) != 0
        finally:
            second.close()


def test_the_template_is_left_alone(postgres: PostgresServer) -> None:
    assert postgres.rows("SELECT count(*) FROM jobs", TEMPLATE) == [(0,)]
