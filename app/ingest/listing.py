"""What a listing looks at, and what it finds there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.ingest.layout import LayoutError, Place, client_prefix, day_prefix, is_client, place
from app.ingest.registrar import Again, Found, Registrar
from app.ingest.repository import Sighting
from app.objectstore import ObjectGoneError, StoredObject
from app.objectstore.client import ObjectStore
from app.progress import Progress
from app.telemetry.metrics import ingest as metrics


@dataclass(frozen=True)
class Spec:
    """Exactly one of ``days`` (of a client, or of all), ``prefix`` and ``key``."""

    client_id: str | None
    days: tuple[dt.date, ...] = ()
    prefix: str | None = None
    key: str | None = None
    version: str | None = None
    again: Again = Again.NO

    def as_config(self) -> dict[str, Any]:
        """Return it as the configuration of a job."""
        return {
            "client_id": self.client_id,
            "days": [day.isoformat() for day in self.days],
            "prefix": self.prefix,
            "key": self.key,
            "version": self.version,
            "again": self.again.name,
        }

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Spec:
        """Return what ``as_config`` gave."""
        return cls(
            client_id=config["client_id"],
            days=tuple(dt.date.fromisoformat(day) for day in config["days"]),
            prefix=config["prefix"],
            key=config["key"],
            version=config["version"],
            again=Again[config["again"]],
        )


@dataclass
class Listed:
    """What was found."""

    found: Found = field(default_factory=Found)
    ignored: int = 0
    markers: dict[tuple[str, dt.date], dt.datetime | None] = field(default_factory=dict)
    """Every day that was listed as a whole or has a marker, and when that was put."""


class Lister:
    """Looks and registers."""

    def __init__(self, store: ObjectStore, registrar: Registrar) -> None:
        self._store = store
        self._registrar = registrar

    def run(self, spec: Spec, *, cause: str, request_id: str, progress: Progress) -> Listed:
        """List. Raises ``ObjectStoreError`` and ``DatabaseUnavailableError``; what was registered stays."""
        listed = Listed()
        sightings = self._sightings(spec, listed, progress)
        listed.found = self._registrar.register(
            sightings, cause=cause, request_id=request_id, again=spec.again
        )
        return listed

    def _sightings(self, spec: Spec, listed: Listed, progress: Progress) -> Iterator[Sighting]:
        seen = 0
        for stored in self._objects(spec, listed):
            seen += 1
            progress.check()
            progress.report(seen)
            try:
                where = place(stored.key)
            except LayoutError:
                listed.ignored += 1
                metrics.INGEST_IGNORED.labels("layout").inc()
                continue
            if spec.client_id is not None and where.client_id != spec.client_id:
                listed.ignored += 1  # a prefix such as "acme" would also be that of "acme-2"
                metrics.INGEST_IGNORED.labels("client").inc()
            elif where.dataset is None:
                listed.markers[where.client_id, where.day] = stored.modified_at
            else:
                yield Sighting(where, stored.version, stored.size, stored.modified_at)

    def _objects(self, spec: Spec, listed: Listed) -> Iterator[StoredObject]:
        if spec.key is not None:
            try:
                stored = self._store.head(spec.key)
            except ObjectGoneError:
                return
            if spec.version in (None, stored.version):
                yield stored
        elif spec.prefix is not None:
            yield from self._store.list(spec.prefix)
        else:
            clients = [spec.client_id] if spec.client_id is not None else self._clients()
            for client_id in clients:
                for day in spec.days:
                    listed.markers.setdefault((client_id, day), None)
                    yield from self._store.list(day_prefix(client_id, day))

    def _clients(self) -> list[str]:
        return [name for name in self._store.prefixes() if is_client(name)]


def own_prefix(client_id: str, where: Place | str) -> bool:
    """Say whether a place, or a prefix, is a client's."""
    text = where.key if isinstance(where, Place) else where
    return text.startswith(client_prefix(client_id))
