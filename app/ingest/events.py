"""What S3's event notifications mean."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from app.ingest.layout import LayoutError, Place, place
from app.ingest.repository import Sighting
from app.ingest.schemas import EventRecord
from app.telemetry.metrics import ingest as metrics

_CREATED = ("ObjectCreated:", "s3:ObjectCreated:")


@dataclass
class Heard:
    """Records sorted by what they ask for. Their order and number do not matter: the ledger decides."""

    sightings: list[Sighting] = field(default_factory=list)
    incomplete: list[Place] = field(default_factory=list)
    """Files whose version was not told."""
    markers: list[Place] = field(default_factory=list)
    ignored: int = 0

    def ignore(self, reason: str) -> None:
        """Count a record that is not ours."""
        self.ignored += 1
        metrics.INGEST_IGNORED.labels(reason).inc()


def heard(records: Sequence[EventRecord], *, bucket: str, client_id: str | None, now: dt.datetime) -> Heard:
    """Sort records. With ``client_id`` those of other clients are ignored."""
    found = Heard()
    for record in records:
        if not record.event_name.startswith(_CREATED):
            found.ignore("deleted" if "ObjectRemoved" in record.event_name else "invalid")
            continue
        if record.s3.bucket.name != bucket:
            found.ignore("bucket")
            continue
        try:
            where = place(unquote_plus(record.s3.object.key))
        except LayoutError:
            found.ignore("layout")
            continue
        if client_id is not None and where.client_id != client_id:
            found.ignore("client")
            continue
        _sort(found, record, where, now)
    return found


def _sort(found: Heard, record: EventRecord, where: Place, now: dt.datetime) -> None:
    thing = record.s3.object
    version = (thing.e_tag or "").strip('"')
    if where.dataset is None:
        found.markers.append(where)
    elif not version:
        found.incomplete.append(where)
    else:
        at = record.event_time or now
        at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
        # A clock that runs ahead must not make this version look newer than those to come.
        found.sightings.append(Sighting(where, version, thing.size or 0, min(at, now)))
