"""Every query on clients and keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2.extensions
import structlog
from sqlalchemy import Connection, Row, text

from app.access.principal import Scope

KEYS_LISTED_MAX = 100

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

log = structlog.get_logger()


@dataclass(frozen=True)
class KeySpec:
    """What a new key may do. Limits left out are the service's defaults."""

    scopes: frozenset[Scope]
    rate_limit_per_minute: int | None = None
    burst: int | None = None
    ip_allowlist: tuple[str, ...] = ()
    signing_required: bool = False
    lifetime_seconds: int | None = None


@dataclass(frozen=True)
class KeyRecord:
    """A key as the guard needs it."""

    key_id: str
    client_id: str
    secret_hash: str
    scopes: frozenset[Scope]
    rate_limit_per_minute: int | None
    burst: int | None
    networks: tuple[Network, ...]
    signing_required: bool
    revoked: bool
    expired: bool
    use_unnoted: bool
    """Nobody noted in the last minute that it is in use."""

    @property
    def active(self) -> bool:
        """Whether it opens anything."""
        return not (self.revoked or self.expired)


@dataclass(frozen=True)
class KeyInfo:
    """A key as its owner may see it."""

    key_id: str
    client_id: str
    scopes: tuple[Scope, ...]
    rate_limit_per_minute: int | None
    burst: int | None
    ip_allowlist: tuple[str, ...]
    signing_required: bool
    active: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_LOOKUP = """
    SELECT key_id, client_id, secret_hash, scopes, rate_limit_per_minute, burst, ip_allowlist,
           signing_required, revoked_at IS NOT NULL, coalesce(expires_at <= now(), false),
           coalesce(last_used_at < now() - interval '1 min', true)
    FROM api_keys WHERE key_id = ANY(%s)
"""
# A row that somebody holds is left out, and for the table itself nobody waits long: who may come in does not
# depend on it. Both statements are one message, which is a transaction.
_NOTE_USE = """
    SET LOCAL lock_timeout = '100ms';
    UPDATE api_keys SET last_used_at = now()
    WHERE key_id IN (
        SELECT key_id FROM api_keys
        WHERE key_id = ANY(%s) AND coalesce(last_used_at < now() - interval '1 min', true)
        FOR NO KEY UPDATE SKIP LOCKED
    )
"""

_ACTIVE = "revoked_at IS NULL AND coalesce(expires_at > now(), true)"
_INSERT = text(
    """
    INSERT INTO api_keys (key_id, client_id, secret_hash, scopes, rate_limit_per_minute, burst,
                          ip_allowlist, signing_required, expires_at)
    VALUES (:key_id, :client_id, :secret_hash, :scopes, :rate_limit_per_minute, :burst,
            :ip_allowlist, :signing_required, now() + make_interval(secs => :lifetime_seconds))
    """
)
_SELECT = f"""
    SELECT key_id, client_id, scopes, rate_limit_per_minute, burst, ip_allowlist, signing_required,
           {_ACTIVE} AS active, created_at, expires_at, revoked_at, last_used_at
    FROM api_keys WHERE client_id = :client_id
"""  # noqa: S608  only constants are put in
_FIND = text(f"{_SELECT} AND key_id = :key_id")
_LIST = text(f"{_SELECT} ORDER BY {_ACTIVE} DESC, created_at DESC, key_id LIMIT :limit")
_COUNT_ACTIVE = text(f"SELECT count(*) FROM api_keys WHERE client_id = :client_id AND {_ACTIVE}")  # noqa: S608
_REVOKE = text(
    """
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
    WHERE client_id = :client_id AND key_id = :key_id
    """
)
_AMEND = text(
    """
    UPDATE api_keys
    SET scopes = :scopes, rate_limit_per_minute = :rate_limit_per_minute, burst = :burst,
        ip_allowlist = :ip_allowlist, signing_required = :signing_required
    WHERE client_id = :client_id AND key_id = :key_id
      AND (scopes, rate_limit_per_minute, burst, ip_allowlist, signing_required) IS DISTINCT FROM
          (CAST(:scopes AS text[]), CAST(:rate_limit_per_minute AS integer), CAST(:burst AS integer),
           CAST(:ip_allowlist AS text[]), CAST(:signing_required AS boolean))
    """
)
_EXPIRE = text(
    """
    UPDATE api_keys
    SET expires_at = least(expires_at, now() + make_interval(secs => :seconds))
    WHERE client_id = :client_id AND key_id = :key_id
    """
)


def look_up(connection: psycopg2.extensions.connection, key_ids: Sequence[str]) -> dict[str, KeyRecord]:
    """Return those of the keys that exist, on a connection of the guard's own."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOKUP, (list(key_ids),))
        rows = cursor.fetchall()
    found = {}
    for row in rows:
        try:
            found[row[0]] = _record(row)
        except ValueError as exc:
            # It opens nothing: without its networks it would open too much. The others do as ever.
            log.error("access_key_unreadable", key_id=row[0], error=str(exc))  # noqa: TRY400  it is a value
    return found


def note_use(connection: psycopg2.extensions.connection, key_ids: Iterable[str]) -> None:
    """Write that keys are in use, once a minute at most."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_USE, (list(key_ids),))


def _record(row: Sequence[Any]) -> KeyRecord:
    return KeyRecord(
        key_id=row[0],
        client_id=row[1],
        secret_hash=row[2],
        # A scope that a newer version of this code wrote opens nothing here.
        scopes=frozenset(Scope(scope) for scope in row[3] if scope in _SCOPES),
        rate_limit_per_minute=row[4],
        burst=row[5],
        networks=tuple(ipaddress.ip_network(network) for network in row[6]),
        signing_required=row[7],
        revoked=row[8],
        expired=row[9],
        use_unnoted=row[10],
    )


_SCOPES = frozenset(Scope)


class KeyRepository:
    """Queries, in the transaction of the connection given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_client(self, client_id: str) -> bool:
        """Store a client; return whether it is new."""
        statement = text("INSERT INTO clients (id) VALUES (:id) ON CONFLICT DO NOTHING")
        return self._connection.execute(statement, {"id": client_id}).rowcount == 1

    def lock_client(self, client_id: str) -> bool:
        """Hold the client's keys as they are until the transaction ends; return whether it exists."""
        query = text("SELECT id FROM clients WHERE id = :id FOR UPDATE")
        return self._connection.execute(query, {"id": client_id}).one_or_none() is not None

    def clients(self) -> list[str]:
        """Return the ids of all clients."""
        return list(self._connection.execute(text("SELECT id FROM clients ORDER BY id")).scalars())

    def count_active(self, client_id: str) -> int:
        """Return how many keys of the client open something."""
        return int(self._connection.execute(_COUNT_ACTIVE, {"client_id": client_id}).scalar_one())

    def insert(self, client_id: str, key_id: str, secret_hash: str, spec: KeySpec) -> None:
        """Store a key."""
        new = {"secret_hash": secret_hash, "lifetime_seconds": spec.lifetime_seconds}
        self._connection.execute(_INSERT, _values(client_id, key_id, spec) | new)

    def amend(self, client_id: str, key_id: str, spec: KeySpec) -> bool:
        """Let a key do what the specification says, but for its lifetime; return whether that is new."""
        return self._connection.execute(_AMEND, _values(client_id, key_id, spec)).rowcount == 1

    def find(self, client_id: str, key_id: str) -> KeyInfo | None:
        """Return a key of this client."""
        row = self._connection.execute(_FIND, {"client_id": client_id, "key_id": key_id}).one_or_none()
        return _info(row) if row is not None else None

    def keys_of(self, client_id: str) -> list[KeyInfo]:
        """Return the client's keys: the active first, then the newest."""
        rows = self._connection.execute(_LIST, {"client_id": client_id, "limit": KEYS_LISTED_MAX})
        return [_info(row) for row in rows]

    def owner(self, key_id: str) -> str | None:
        """Return whose key this is."""
        query = text("SELECT client_id FROM api_keys WHERE key_id = :key_id")
        found: str | None = self._connection.execute(query, {"key_id": key_id}).scalar_one_or_none()
        return found

    def secret_hash(self, key_id: str) -> str | None:
        """Return what is stored of a key's secret."""
        query = text("SELECT secret_hash FROM api_keys WHERE key_id = :key_id")
        found: str | None = self._connection.execute(query, {"key_id": key_id}).scalar_one_or_none()
        return found

    def revoke(self, client_id: str, key_id: str) -> bool:
        """Revoke a key, for good; return whether the client has it."""
        values = {"client_id": client_id, "key_id": key_id}
        return self._connection.execute(_REVOKE, values).rowcount == 1

    def expire(self, client_id: str, key_id: str, *, seconds: int) -> None:
        """Let a key end after a while, if it does not end before."""
        values = {"client_id": client_id, "key_id": key_id, "seconds": seconds}
        self._connection.execute(_EXPIRE, values)


def _values(client_id: str, key_id: str, spec: KeySpec) -> dict[str, Any]:
    """Return what a key may do, as it is stored."""
    return {
        "client_id": client_id,
        "key_id": key_id,
        "scopes": sorted(spec.scopes),
        "rate_limit_per_minute": spec.rate_limit_per_minute,
        "burst": spec.burst,
        "ip_allowlist": list(spec.ip_allowlist),
        "signing_required": spec.signing_required,
    }


def _info(row: Row[Any]) -> KeyInfo:
    values = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public name
    values["scopes"] = tuple(Scope(scope) for scope in values["scopes"] if scope in _SCOPES)
    values["ip_allowlist"] = tuple(values["ip_allowlist"])
    return KeyInfo(**values)
