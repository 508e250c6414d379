from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from tests.support.programs import Program, eventually, let_pass
from tests.support.programs_daemons import Postgres, cpu_seconds

SLOTS = Postgres.FREE
HELD = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reporting' AND state = 'idle'"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres()
    try:
        postgres.start()
        postgres.execute("CREATE ROLE client LOGIN PASSWORD 'test only'")
        yield postgres
    finally:
        postgres.remove()


@contextmanager
def reporting(server: Postgres, log: Path, *more: str, user: str = "client") -> Iterator[Program]:
    arguments = ["--port", str(server.port), "--user", user, "--database", "postgres"]
    password = ["--password-file", str(server.password_file)]
    program = Program("chaos.upstreams.reporting", [*arguments, *password, *more], log)
    try:
        yield program
    finally:
        program.close()


def held(server: Postgres) -> int:
    return int(server.execute(HELD)[0][0])


def test_it_takes_every_slot_until_others_are_told_too_many_clients(server: Postgres, tmp_path: Path) -> None:
    with reporting(server, tmp_path / "log") as program:
        eventually(lambda: held(server) == SLOTS, 5, "every slot is taken")
        with pytest.raises(psycopg2.OperationalError, match=r"too many clients|slots are reserved"):
            server.connect("client")
        assert program.stop() == 0
    eventually(lambda: held(server) == 0, 2, "every connection is ended")
    server.connect("client").close()


def test_what_the_server_reserves_is_left_to_its_administrator(server: Postgres, tmp_path: Path) -> None:
    with reporting(server, tmp_path / "log", "--threads", "8") as program:
        eventually(lambda: held(server) == SLOTS, 5, "every slot is taken")
        eventually(lambda: any(int(str(e["refused"])) for e in program.events("connections_held")), 5, "full")
        let_in = sum(lets_in_administrator(server) for _ in range(100))
    # A refused backend of a busy server ends a little after its client has gone, so not every time.
    assert let_in >= 80


def lets_in_administrator(server: Postgres) -> bool:
    try:
        server.connect("postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def test_a_slot_that_comes_free_is_taken_and_a_lost_one_is_opened_again(
    server: Postgres, tmp_path: Path
) -> None:
    mine = [server.connect("client") for _ in range(5)]
    with reporting(server, tmp_path / "log"):
        eventually(lambda: held(server) == SLOTS - 5, 5, "what is left is taken")
        for connection in mine:
            connection.close()
        eventually(lambda: held(server) == SLOTS, 2, "the freed slots are taken")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reporting'"
        )
        eventually(lambda: held(server) == SLOTS, 2, "the lost ones are opened again")


def test_its_own_limit_is_kept_and_idle_costs_next_to_nothing(server: Postgres, tmp_path: Path) -> None:
    with reporting(server, tmp_path / "log", "--connections-max", "7") as program:
        eventually(lambda: held(server) == 7, 5, "seven connections")
        before = cpu_seconds(program.process.pid)
        let_pass(1)
        assert held(server) == 7
        assert cpu_seconds(program.process.pid) - before < 0.1


def last_told(program: Program) -> object:
    events = program.events("connections_held")
    return events[-1]["held"] if events else None


def test_it_outlives_a_restart_of_the_server(server: Postgres, tmp_path: Path) -> None:
    with reporting(server, tmp_path / "log") as program:
        eventually(lambda: held(server) == SLOTS, 5, "every slot is taken")
        server.stop()
        server.start()
        eventually(lambda: held(server) == SLOTS, 5, "every slot is taken again")
        # What was lost is no longer counted, or its limit would be used up by the dead.
        eventually(lambda: last_told(program) == SLOTS, 5, "the count is right")
        assert program.process.poll() is None


def test_a_refused_login_is_told_and_does_not_hammer_the_server(server: Postgres, tmp_path: Path) -> None:
    with reporting(server, tmp_path / "log", user="nobody-known") as program:
        line = eventually(lambda: program.events("connections_held"), 5, "a line of the log")[0]
        assert line["held"] == 0
        assert "nobody-known" in str(line["last_error"])
        assert int(str(line["failed"])) <= 4 * 12
        assert program.stop() == 0
