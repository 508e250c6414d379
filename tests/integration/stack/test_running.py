"""A stack that runs: what it shows, where it listens, what it comes back from."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import psutil
import psycopg2
import pytest

from chaos.domain.clients import OPERATOR
from chaos.domain.topology import DIRECT_PORTS
from chaos.errors import StackError
from chaos.stacks.embedded import keys
from chaos.stacks.embedded.identity import ports_of
from chaos.stacks.embedded.readiness import fetch_json, redis_command
from tests.support.lab import Lab, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

PSS_BYTES_MAX = int(1.25 * 2**30)


def test_status_shows_every_daemon_as_it_should_be(lab: Lab) -> None:
    done = lab.run("status", "--json")
    status = json.loads(done.stdout)
    inner = {name for name in DIRECT_PORTS if name.startswith("seaweedfs-")}  # of one process, each
    expected = set(DIRECT_PORTS) - inner - {"loki-grpc", "unused"} | {"reporting"}
    assert {program["name"] for program in status["programs"]} == expected - set(status["missing"])
    assert [p["name"] for p in status["programs"] if p["state"] != p["expected_state"]] == []
    assert done.returncode == 0
    assert status["run"] is None


def test_the_whole_stack_fits_into_its_memory(lab: Lab) -> None:
    status = json.loads(lab.run("status", "--json").stdout)
    print(f"PSS of the stack: {status['pss_bytes_total'] / 2**20:.0f} MiB")
    assert 200 * 2**20 < status["pss_bytes_total"] < PSS_BYTES_MAX


def test_status_as_a_person_reads_it(lab: Lab) -> None:
    told = lab.run("status").stdout
    assert "api-1" in told
    assert str(keys.path(lab.stack.layout, OPERATOR)) in told
    assert "MiB (PSS" in told
    assert "run active: no" in told
    eventually(lambda: "Watchdog" in lab.run("status").stdout, 20, "Watchdog among the firing alerts")


def sockets_of(process: psutil.Process) -> list[Any]:
    """Return a process's sockets; none of one that has just ended, as a database backend may at any time."""
    try:
        return list(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return []


def test_nothing_listens_beyond_this_machine(lab: Lab) -> None:
    listening = {
        (connection.laddr[0], connection.laddr[1])
        for process in lab.processes()
        for connection in sockets_of(process)
        if connection.laddr and (connection.status == psutil.CONN_LISTEN or connection.type == 2)
    }
    assert {address for address, _ in listening} == {"127.0.0.1"}
    ports = {port for _, port in listening}
    missing = [port for name, port in ports_of(lab.stack.topology).items() if port not in ports]
    absent = [lab.stack.topology.address(name).port for name in lab.stack.missing()]
    assert sorted(missing) == sorted(absent)
    assert ports <= set(ports_of(lab.stack.topology).values())


def test_programs_are_known_to_hold_their_own_ports(lab: Lab) -> None:
    programs = [program for program in lab.stack.programs() if program.port is not None]
    assert [program.name for program in programs if not lab.stack.listens(program.name)] == []
    assert not lab.stack.listens("reporting"), "it does not run, and has no port"


def test_up_again_changes_nothing_and_is_quick(lab: Lab) -> None:
    before = lab.pids()
    began = time.monotonic()
    told = lab.ok("up")
    took = time.monotonic() - began
    assert lab.pids() == before, told
    assert took < 10


def test_the_service_works_from_nginx_to_the_client_s_database(lab: Lab) -> None:
    import httpx  # noqa: PLC0415 - the one test that posts

    url = lab.stack.topology.address("nginx").url
    config = {"database": "acme", "query": "open_findings", "params": {"min_severity": 3}}
    body = {"source_type": "database", "config": config}
    key = {"X-API-Key": keys.path(lab.stack.layout, OPERATOR).read_text().strip()}
    job = httpx.post(f"{url}/api/v1/jobs/trigger", json=body, headers=key, timeout=5).json()
    status = f"{url}/api/v1/jobs/status/{job['job_id']}"
    eventually(
        lambda: httpx.get(status, headers=key, timeout=5).json()["status"] == "succeeded",
        15,
        "the job's success",
    )


def test_what_dies_comes_back_and_status_says_when(lab: Lab) -> None:
    old = lab.pids()["redis"]
    lab.stack.signal("redis", signal.SIGKILL)
    eventually(lambda: lab.pids()["redis"] not in (old, None), 5, "another redis")
    eventually(lambda: redis_command(lab.stack.redis_address(), "PING") == "+PONG", 5, "redis to answer")
    shown = next(
        p for p in json.loads(lab.run("status", "--json").stdout)["programs"] if p["name"] == "redis"
    )
    assert shown["last_restart_unix"] is not None


def test_a_toxiproxy_that_dies_comes_back_with_its_proxies(lab: Lab) -> None:
    old = lab.pids()["toxiproxy-service"]
    lab.stack.signal("toxiproxy-service", signal.SIGKILL)
    eventually(lambda: lab.pids()["toxiproxy-service"] not in (old, None), 5, "another toxiproxy")
    lab.stack.start("toxiproxy-service")
    held = fetch_json(lab.stack.topology.address("toxiproxy-service"), "/proxies")
    assert set(held) == set(lab.stack.topology.service_proxies)
    assert all(proxy["enabled"] and not proxy["toxics"] for proxy in held.values())


def test_a_daemon_that_does_not_start_shows_its_last_log_lines(lab: Lab) -> None:
    lab.stack.set_override("evidence-api", {"PYTHONHOME": "/nonexistent"})
    with pytest.raises(StackError) as caught:
        lab.stack.restart("evidence-api")
    assert str(caught.value).startswith("evidence-api does not start")
    assert "No module named 'encodings'" in str(caught.value)
    assert lab.run("status").returncode == 3
    told = lab.ok("up")
    assert "left over from before: override of evidence-api: healing first" in told
    assert lab.run("status").returncode == 0


def test_repair_heals_everything_it_is_there_for(lab: Lab) -> None:
    stack = lab.stack
    stack.set_override("worker-1", {"DCS_DATABASE_PORT": "1"})
    stack.bounce("worker-1")
    stack.set_override("redis-exporter", {"X": "1"})
    stack.signal("toxiproxy-monitoring", signal.SIGSTOP)
    stack.start("reporting")
    stack.stop("pager")
    eventually(lambda: stack.launched_overrides("worker-1"), 5, "the launcher's record")
    assert stack.overridden() == ("redis-exporter", "worker-1")
    found = stack.snapshot()
    assert found["stopped_by_signal"] == ["toxiproxy-monitoring"]
    assert found["programs"]["reporting"] == "RUNNING"

    mended = "; ".join(stack.repair())
    for part in ("override of worker-1", "override of redis-exporter", "woke toxiproxy", "stopped reporting",
                 "restarted worker-1", "started pager"):  # fmt: skip
        assert part in mended
    assert stack.repair() == []


@pytest.mark.parametrize("reset_first", [False, True])
def test_repair_makes_the_database_listen_again(lab: Lab, *, reset_first: bool) -> None:
    stack = lab.stack
    link = psycopg2.connect(**stack.admin_dsn())
    link.autocommit = True
    link.cursor().execute("ALTER SYSTEM SET listen_addresses = ''")
    link.close()
    stack.bounce("postgres")
    address = stack.topology.address("postgres")

    def by_socket_only() -> bool:
        try:
            link = psycopg2.connect(**stack.admin_dsn())
        except psycopg2.OperationalError:
            return False
        if reset_first:
            link.autocommit = True
            link.cursor().execute("ALTER SYSTEM RESET ALL")
        link.close()
        return True

    eventually(by_socket_only, 10, "the database on its socket")
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(
            host=address.host, port=address.port, user="probe", dbname="postgres", connect_timeout=2
        )
    assert any("postgres" in what for what in stack.repair())
    assert stack.snapshot()["postgres_auto_settings"] == []


def test_a_stopped_program_is_restarted_without_waiting_for_it(lab: Lab) -> None:
    lab.stack.signal("toxiproxy-service", signal.SIGSTOP)
    began = time.monotonic()
    lab.stack.restart("toxiproxy-service")
    assert time.monotonic() - began < 8


def test_a_database_that_restarts_in_a_loop_is_healed(lab: Lab) -> None:
    stack = lab.stack
    first = stack.supervisor.info("postgres").pid
    stack.set_override("postgres", {"LAUNCH_DELAY_SECONDS": "0.5", "LAUNCH_END_AFTER_SECONDS": "1"})
    stack.bounce("postgres")
    second = stack.supervisor.info("postgres").pid
    eventually(
        lambda: stack.supervisor.info("postgres").pid not in (None, first, second), 10, "the loop to turn"
    )
    stack.repair()
    pid = stack.supervisor.info("postgres").pid
    assert stack.launched_overrides("postgres") == {}
    assert pid is not None
    assert psutil.Process(pid).name() == "postgres"


def test_a_signal_reaches_no_process_but_the_program_s_own(lab: Lab) -> None:
    with pytest.raises(StackError, match="does not run"):
        lab.stack.signal("reporting", signal.SIGTERM)
