"""Why a connection to PostgreSQL could not be made."""

from __future__ import annotations

import enum
from collections.abc import Iterator


class ConnectFailure(enum.StrEnum):
    """Reasons, as in the label of ``dcs_db_connect_errors_total``."""

    REFUSED = "refused"  # nothing listens there
    CLOSED = "closed"  # something answered and hung up: a proxy whose upstream is dead, a crash
    TIMEOUT = "timeout"  # packets are swallowed
    TOO_MANY_CLIENTS = "too_many_clients"
    STARTING = "starting"
    STOPPING = "stopping"
    DNS = "dns"
    UNREACHABLE = "unreachable"
    AUTH = "auth"
    TLS = "tls"  # the server has none, or its certificate is not one to believe
    OTHER = "other"


# What a server said. It outranks anything the network did on the way to another address of the host.
_SERVER_SAID = {
    ConnectFailure.TOO_MANY_CLIENTS: (
        "too many clients already",
        "remaining connection slots are reserved",
        "too many connections for role",
        "too many connections for database",
    ),
    ConnectFailure.STARTING: (
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is not accepting connections",
        "the database system is in recovery mode",
    ),
    ConnectFailure.STOPPING: (
        "the database system is shutting down",
        "terminating connection due to administrator command",
    ),
    ConnectFailure.AUTH: (
        "authentication failed",
        "no pg_hba.conf entry",
        "pg_hba.conf rejects connection",
        "no password supplied",
        "is not permitted to log in",
        "permission denied for database",
    ),
}

# What libpq found out about the server's TLS before anything was said.
_TLS = (
    "server does not support ssl",
    "certificate verify failed",
    "does not match host name",
    "could not get server's host name from server certificate",
    "alert unknown ca",
    "alert certificate",
    "wrong version number",
    "root certificate file",
    "ssl was required",
)

# What the network did. libpq tries every address of a host in turn and reports each: the last one counts.
_NETWORK_DID = {
    ConnectFailure.REFUSED: ("connection refused",),
    ConnectFailure.CLOSED: (
        "server closed the connection unexpectedly",
        "connection reset by peer",
        "connection has been closed unexpectedly",
        "eof detected",
        "broken pipe",
    ),
    ConnectFailure.TIMEOUT: ("timeout expired", "connection timed out", "operation timed out"),
    ConnectFailure.DNS: (
        "could not translate host name",
        "name or service not known",
        "temporary failure in name resolution",
        "nodename nor servname provided",
    ),
    ConnectFailure.UNREACHABLE: (
        "no route to host",
        "network is unreachable",
        "host is unreachable",
        "host is down",
    ),
}


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [exc]
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [getattr(current, "orig", None), current.__cause__, current.__context__]


def _classify_message(message: str) -> ConnectFailure | None:
    text = message.lower()
    for failure, phrases in _SERVER_SAID.items():
        if any(phrase in text for phrase in phrases):
            return failure
    if 'role "' in text and '" does not exist' in text:
        return ConnectFailure.AUTH
    if any(phrase in text for phrase in _TLS):
        return ConnectFailure.TLS
    last = {failure: max(map(text.rfind, phrases)) for failure, phrases in _NETWORK_DID.items()}
    failure, position = max(last.items(), key=lambda item: item[1])
    return failure if position >= 0 else None


def classify_connect_error(exc: BaseException) -> ConnectFailure:
    """Return why connecting failed.

    psycopg2 gives errors of connecting no ``pgcode``, so the message of libpq, or of the server inside
    it, is all there is. Wrappers are looked through.
    """
    for current in _chain(exc):
        failure = _classify_message(str(current))
        if failure is not None:
            return failure
    return ConnectFailure.OTHER
