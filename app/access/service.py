"""What can be done with clients and keys. A secret leaves this module once: when its key is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import structlog

from app.access.errors import ClientNotFoundError, KeyInactiveError, KeyLimitError, KeyNotFoundError
from app.access.keys import Key, Peppers
from app.access.repository import KeyInfo, KeyRepository, KeySpec
from app.database.engine import Database

ACTIVE_KEYS_MAX = 2  # one in use and its successor

log = structlog.get_logger()


@dataclass(frozen=True)
class IssuedKey:
    """A new key with its secrets, which nobody can read again."""

    info: KeyInfo
    text: str = field(repr=False)
    signing_secret: str | None = field(repr=False)


class KeyService:
    """Makes keys and ends them."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self._database = database
        self._peppers = peppers

    def create_client(self, client_id: str) -> bool:
        """Create a client; return whether it is new."""
        with self._database.transaction() as connection:
            return KeyRepository(connection).create_client(client_id)

    def clients(self) -> list[str]:
        """Return the ids of all clients."""
        with self._database.transaction() as connection:
            return KeyRepository(connection).clients()

    def create(self, client_id: str, spec: KeySpec) -> IssuedKey:
        """Make a key.

        Raises:
            ClientNotFoundError: There is no such client.
            KeyLimitError: It has two active keys.

        """
        with self._database.transaction() as connection:
            issued = self._issue(KeyRepository(connection), client_id, spec)
        log.info("access_key_created", client_id=client_id, key_id=issued.info.key_id)
        return issued

    def keys_of(self, client_id: str) -> list[KeyInfo]:
        """Return the keys of a client, without their secrets."""
        with self._database.transaction() as connection:
            return KeyRepository(connection).keys_of(client_id)

    def find(self, client_id: str, key_id: str) -> KeyInfo:
        """Return a key of this client. Raises ``KeyNotFoundError``."""
        with self._database.transaction() as connection:
            return _existing(KeyRepository(connection), client_id, key_id)

    def rotate(self, client_id: str, key_id: str, *, overlap_seconds: int | None) -> IssuedKey:
        """Make a successor that may do the same; the old key goes on, or ends after the overlap.

        Raises:
            KeyNotFoundError: The client has no such key.
            KeyInactiveError: It was revoked or has expired.
            KeyLimitError: It has a successor already.

        """
        with self._database.transaction() as connection:
            repository = KeyRepository(connection)
            repository.lock_client(client_id)
            old = _existing(repository, client_id, key_id)
            if not old.active:
                raise KeyInactiveError
            spec = KeySpec(
                scopes=frozenset(old.scopes),
                rate_limit_per_minute=old.rate_limit_per_minute,
                burst=old.burst,
                ip_allowlist=old.ip_allowlist,
                signing_required=old.signing_required,
            )
            issued = self._issue(repository, client_id, spec)
            if overlap_seconds is not None:
                repository.expire(client_id, key_id, seconds=overlap_seconds)
        log.info("access_key_rotated", client_id=client_id, key_id=issued.info.key_id, old_key_id=key_id)
        return issued

    def revoke(self, client_id: str, key_id: str) -> None:
        """End a key for good. Harmless when it was. Raises ``KeyNotFoundError``."""
        with self._database.transaction() as connection:
            if not KeyRepository(connection).revoke(client_id, key_id):
                raise KeyNotFoundError
        log.info("access_key_revoked", client_id=client_id, key_id=key_id)

    def owner(self, key_id: str) -> str:
        """Return whose key this is. Raises ``KeyNotFoundError``."""
        with self._database.transaction() as connection:
            owner = KeyRepository(connection).owner(key_id)
        if owner is None:
            raise KeyNotFoundError
        return owner

    def admit(self, client_id: str, key: Key, spec: KeySpec) -> None:
        """Let a key that somebody holds already open things: for set-up from files, which may run again.

        The client is created. Where it has two other active keys, they are revoked: the files are right. A
        key that is known gets what the files say of it now.

        Raises:
            KeyInactiveError: This very key was revoked or has expired.
            ValueError: It is another client's.

        """
        with self._database.transaction() as connection:
            repository = KeyRepository(connection)
            repository.create_client(client_id)
            repository.lock_client(client_id)
            done = self._admit(repository, client_id, key, spec)
        if done == "created":
            log.info("access_key_created", client_id=client_id, key_id=key.key_id)
        elif done == "changed":
            log.info("access_key_changed", client_id=client_id, key_id=key.key_id)

    def _admit(
        self, repository: KeyRepository, client_id: str, key: Key, spec: KeySpec
    ) -> Literal["created", "changed"] | None:
        owner = repository.owner(key.key_id)
        if owner is None:
            active = [one for one in repository.keys_of(client_id) if one.active]
            if len(active) >= ACTIVE_KEYS_MAX:
                for one in active:
                    repository.revoke(client_id, one.key_id)
            repository.insert(client_id, key.key_id, self._peppers.hash(key), spec)
            return "created"
        if owner != client_id:
            msg = f"the key {key.key_id} belongs to another client"
            raise ValueError(msg)
        known = _existing(repository, client_id, key.key_id)
        stored = repository.secret_hash(key.key_id) or ""
        if not (known.active and self._peppers.matches(key, stored)):
            raise KeyInactiveError
        return "changed" if repository.amend(client_id, key.key_id, spec) else None

    def _issue(self, repository: KeyRepository, client_id: str, spec: KeySpec) -> IssuedKey:
        # The lock makes two creations at once count each other.
        if not repository.lock_client(client_id):
            raise ClientNotFoundError
        if repository.count_active(client_id) >= ACTIVE_KEYS_MAX:
            raise KeyLimitError
        key = Key.new()
        stored = self._peppers.hash(key)
        signing_secret = self._peppers.signing_secret(key.key_id, stored) if spec.signing_required else None
        repository.insert(client_id, key.key_id, stored, spec)
        return IssuedKey(_existing(repository, client_id, key.key_id), key.text, signing_secret)


def _existing(repository: KeyRepository, client_id: str, key_id: str) -> KeyInfo:
    found = repository.find(client_id, key_id)
    if found is None:
        raise KeyNotFoundError
    return found
