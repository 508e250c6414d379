from __future__ import annotations

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from app.database.engine import ConnectError
from app.database.failures import ConnectFailure, classify_connect_error

PREFIX = 'connection to server at "10.0.0.7", port 5432 failed: '
HINT = "\n\tIs the server running on that host and accepting TCP/IP connections?\n"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (PREFIX + "Connection refused" + HINT, "refused"),
        # libpq before 14 wrote it this way
        ('could not connect to server: Connection refused\n\tIs the server running on host "db"', "refused"),
        (
            PREFIX + "server closed the connection unexpectedly\n"
            "\tThis probably means the server terminated abnormally\n"
            "\tbefore or while processing the request.\n",
            "closed",
        ),
        (PREFIX + "could not receive data from server: Connection reset by peer\n", "closed"),
        (PREFIX + "SSL SYSCALL error: EOF detected\n", "closed"),
        (PREFIX + "SSL connection has been closed unexpectedly\n", "closed"),
        (PREFIX + "could not send startup packet: Broken pipe\n", "closed"),
        (PREFIX + "timeout expired\n", "timeout"),
        (PREFIX + "Connection timed out" + HINT, "timeout"),
        (PREFIX + "FATAL:  sorry, too many clients already\n", "too_many_clients"),
        (
            PREFIX
            + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute\n",
            "too_many_clients",
        ),
        (
            PREFIX
            + "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
            "too_many_clients",
        ),
        (PREFIX + 'FATAL:  too many connections for role "dcs"\n', "too_many_clients"),
        (PREFIX + 'FATAL:  too many connections for database "dcs"\n', "too_many_clients"),
        (PREFIX + "FATAL:  the database system is starting up\n", "starting"),
        (PREFIX + "FATAL:  the database system is not yet accepting connections\n", "starting"),
        (
            PREFIX + "FATAL:  the database system is not accepting connections\n"
            "DETAIL:  Hot standby mode is disabled.",
            "starting",
        ),
        (PREFIX + "FATAL:  the database system is in recovery mode\n", "starting"),
        (PREFIX + "FATAL:  the database system is shutting down\n", "stopping"),
        (PREFIX + "FATAL:  terminating connection due to administrator command\n", "stopping"),
        ('could not translate host name "db" to address: Name or service not known\n', "dns"),
        ('could not translate host name "db" to address: Temporary failure in name resolution\n', "dns"),
        (PREFIX + "No route to host" + HINT, "unreachable"),
        (PREFIX + "Network is unreachable" + HINT, "unreachable"),
        (PREFIX + 'FATAL:  password authentication failed for user "dcs"\n', "auth"),
        (PREFIX + "fe_sendauth: no password supplied\n", "auth"),
        (PREFIX + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "dcs"', "auth"),
        (PREFIX + 'FATAL:  role "dcs" does not exist\n', "auth"),
        (PREFIX + 'FATAL:  database "dcs" does not exist\n', "other"),
        ("something nobody has seen", "other"),
        ("", "other"),
    ],
)
def test_a_message_has_one_reason(message: str, reason: str) -> None:
    assert classify_connect_error(psycopg2.OperationalError(message)) == reason


def test_of_several_addresses_the_last_one_counts() -> None:
    v6 = (
        'connection to server at "db" (::1), port 5432 failed: Connection refused\n\tIs the server running?\n'
    )
    v4 = 'connection to server at "db" (10.0.0.7), port 5432 failed: timeout expired\n'
    assert classify_connect_error(psycopg2.OperationalError(v6 + v4)) is ConnectFailure.TIMEOUT
    assert classify_connect_error(psycopg2.OperationalError(v4 + v6)) is ConnectFailure.REFUSED


def test_what_a_server_said_outranks_the_network() -> None:
    said = 'connection to server at "db" (::1), port 5432 failed: FATAL:  sorry, too many clients already\n'
    refused = 'connection to server at "db" (10.0.0.7), port 5432 failed: Connection refused\n'
    assert (
        classify_connect_error(psycopg2.OperationalError(said + refused)) is ConnectFailure.TOO_MANY_CLIENTS
    )


def test_wrappers_are_looked_through() -> None:
    inner = psycopg2.OperationalError(PREFIX + "timeout expired\n")
    assert classify_connect_error(OperationalError("SELECT 1", {}, inner)) is ConnectFailure.TIMEOUT
    outer = RuntimeError("could not do it")
    outer.__cause__ = ConnectError(ConnectFailure.TIMEOUT, str(inner))
    assert classify_connect_error(outer) is ConnectFailure.TIMEOUT


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert classify_connect_error(one) is ConnectFailure.OTHER
