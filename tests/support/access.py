"""A key for every client that tests speak for: a function of its name, so that nobody hands keys around."""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing

from app.access.keys import Key, Peppers
from app.access.principal import Scope
from app.access.repository import KeyRepository, KeySpec
from tests.support.databases import open_database, target

DEFAULT_CLIENT = "default"
CLIENTS = (DEFAULT_CLIENT, "acme", "acme-corp", "globex", "other")
"""Clients whose keys are in every database made from the template. They may do everything. Another
name gets a key when a test first speaks for it, which takes a database that answers."""

# Beyond what any test asks for: limits are tested with keys of their own.
RATE_LIMIT_PER_MINUTE = 1_000_000


def key_of(client: str) -> Key:
    """Return the key of a client."""
    digest = hashlib.sha256(f"test key of {client}".encode())
    return Key(base64.b32encode(digest.digest()[:10]).decode().lower(), digest.hexdigest())


def headers_of(client: str | None) -> dict[str, str]:
    """Return what a request of this client carries; None is somebody without a key."""
    return {} if client is None else {"X-API-Key": key_of(client).text}


def admit(port: int, database: str, client: str, key: Key, spec: KeySpec) -> None:
    """Store a key. Whether the client has others does not matter."""
    with closing(open_database(target(port, database))) as opened, opened.transaction() as connection:
        _store(KeyRepository(connection), client, key, spec)


def admit_clients(port: int, database: str, *clients: str) -> None:
    """Let these clients in, with the key that their name makes."""
    spec = KeySpec(frozenset(Scope), rate_limit_per_minute=RATE_LIMIT_PER_MINUTE, burst=RATE_LIMIT_PER_MINUTE)
    with closing(open_database(target(port, database))) as opened, opened.transaction() as connection:
        for client in clients or CLIENTS:
            _store(KeyRepository(connection), client, key_of(client), spec)


def _store(repository: KeyRepository, client: str, key: Key, spec: KeySpec) -> None:
    repository.create_client(client)
    if repository.find(client, key.key_id) is None:
        repository.insert(client, key.key_id, Peppers().hash(key), spec)
