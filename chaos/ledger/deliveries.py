"""Files that clients of the nemesis deliver, each until the store has it, and what must come of them."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chaos.errors import LabError
from chaos.ledger.background import Background
from chaos.ledger.history import Entry, History, Type

DELIVER = "deliver"
EVERY_SECONDS = 0.5
PAUSE_SECONDS = 0.5
ROWS = 10
SHIFT = 5
"""A second version has so many rows less at the beginning and so many more at the end."""
REPLACED_PERCENT = 30


class Puts(Protocol):
    """The bucket, as far as deliveries need it."""

    def put(self, key: str, body: bytes) -> str:
        """Store an object and return its ETag, or raise ``LabError``."""

    def delete(self, key: str) -> None:
        """Remove an object, or raise ``LabError``."""


@dataclass(frozen=True)
class Version:
    """One version of a file. Every row says which one it is of."""

    client: str
    key: str
    number: int
    name: str

    @property
    def row_keys(self) -> list[str]:
        """The keys of its rows, in their order."""
        first = SHIFT * (self.number - 1)
        return [f"{self.name}-{row:03d}" for row in range(first, first + ROWS)]

    @property
    def body(self) -> bytes:
        """What is delivered."""
        rows = [f"{key},{self.number}" for key in self.row_keys]
        return ("\n".join(["id,version", *rows]) + "\n").encode()

    @property
    def digest(self) -> str:
        """What the final read computes of its rows: md5 of the lines ``key=version``."""
        lines = [f"{key}={self.number}" for key in self.row_keys]
        return hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


@dataclass
class Delivered:
    """One file as the history has it. ``etags`` of its versions, None where nobody knows."""

    client: str
    key: str
    digests: list[str] = field(default_factory=list)
    etags: list[str | None] = field(default_factory=list)

    @property
    def certain(self) -> bool:
        """Whether its last version is the one that is there."""
        return self.etags[-1] is not None


def delivered(entries: Iterable[Entry]) -> list[Delivered]:
    """Fold a history into its files, in the order of their first version."""
    files: dict[str, Delivered] = {}
    for entry in entries:
        if entry.act != DELIVER:
            continue
        key, number = entry.detail["key"], entry.detail["version"]
        file = files.setdefault(key, Delivered(entry.process, key))
        if entry.type is Type.INVOKE and number > len(file.etags):
            file.etags.append(None)
            file.digests.append(entry.detail["digest"])
        elif entry.type is Type.OK:
            file.etags[number - 1] = entry.detail["etag"]
    return list(files.values())


class Deliveries(Background):
    """One delivery after the other, in a thread of its own, until ``stop``."""

    def __init__(
        self, bucket: Puts, history: History, *, clients: Sequence[str], day: str, dataset: str, seed: int
    ) -> None:
        super().__init__("ledger-deliveries")
        self.day, self.dataset = day, dataset
        self._bucket = bucket
        self._history = history
        self._clients = clients
        self._rng = random.Random(f"{seed}:deliveries")  # noqa: S311  load, not secrets
        self._keys: list[str] = []

    def stop(self, seconds_max: float) -> None:
        """Begin no other file, and keep at the last one for ``seconds_max``."""
        self._end(seconds_max, join_seconds_max=seconds_max * 2)

    def tidy(self) -> int:
        """Delete what was delivered, once it has been judged. Return how many could not be."""
        left = 0
        for key in self._keys:
            try:
                self._bucket.delete(key)
            except LabError:
                left += 1
        return left

    def _work(self) -> None:
        for version in self._versions():
            self._deliver(version)
            if self._stop.wait(EVERY_SECONDS):
                return

    def _versions(self) -> Iterator[Version]:
        number = 0
        while True:
            number += 1
            client = self._rng.choice(self._clients)
            name = f"{number:05d}"
            key = f"{client}/{self.day}/{self.dataset}.{name}.csv"
            self._keys.append(key)
            yield Version(client, key, 1, name)
            if self._rng.randrange(100) < REPLACED_PERCENT:
                yield Version(client, key, 2, name)

    def _deliver(self, version: Version) -> None:
        """Put it until it is acknowledged: the same bytes any number of times are one version."""
        about: dict[str, Any] = {"key": version.key, "version": version.number}
        while True:
            self._history.record(Type.INVOKE, version.client, DELIVER, **about, digest=version.digest)
            try:
                etag = self._bucket.put(version.key, version.body)
            except LabError as error:
                self._history.record(Type.INFO, version.client, DELIVER, **about, why=str(error)[:300])
            else:
                self._history.record(Type.OK, version.client, DELIVER, **about, etag=etag)
                return
            if time.monotonic() > self._give_up_at:
                return
            time.sleep(PAUSE_SECONDS)
