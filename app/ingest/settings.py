"""Settings of the ``ingest`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import BaseSettings

FieldType = Literal["text", "integer", "number", "boolean", "date"]
FieldName = Annotated[str, Field(min_length=1, max_length=200)]


class DatasetSchema(BaseModel):
    """What a row of a dataset must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: FieldName = "id"
    required: tuple[FieldName, ...] = ()
    types: dict[FieldName, FieldType] = {}


def parse_time(text: str) -> dt.time:
    """Return a time of day from ``HH:MM``. Raises ``ValueError``."""
    return dt.datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007  a time of day has no zone; it is UTC


class IngestSettings(BaseSettings):
    """Declared here, read there."""

    s3_endpoint: HttpUrl | None = None
    """Base URL of the S3-compatible store. Left out: AWS, in the region."""
    s3_region: str = "us-east-1"
    """Its region; most stores beside AWS do not care."""
    s3_access_key_file: Path | None = None
    """File with the access key, read when a worker starts."""
    s3_secret_key_file: Path | None = None
    """File with its secret."""
    s3_connect_timeout_seconds: PositiveFloat = 2.0
    """How long connecting to the store may take."""
    s3_read_timeout_seconds: PositiveFloat = 10.0
    """How long the store may be silent in the middle of an answer."""

    ingest_bucket: Annotated[str, Field(min_length=3, max_length=63)] | None = None
    """Where files land, as ``client/YYYY-MM-DD/name``. Left out: nothing is ingested."""
    ingest_times_utc: tuple[str, ...] = ("01:00", "05:00")
    """JSON list of times of day (``HH:MM``) at which the bucket is listed for what no event told."""
    ingest_days_back: Annotated[int, Field(ge=0, le=366)] = 7
    """How many days before today such a listing covers."""
    ingest_due_hour_utc: Annotated[int, Field(ge=0, le=23)] = 6
    """By this hour yesterday must be complete."""
    ingest_watch_interval_seconds: PositiveFloat = 5.0
    """How often a worker looks whether a listing is due, and brings ledger and figures up to date."""
    ingest_deadline_seconds: PositiveFloat = 300.0
    """How long one statement of a load may take, instead of the query deadline."""
    ingest_concurrency_max: PositiveInt = 1
    """Files a worker process loads at once. Of several threads one stays free of ingestion and avatars."""
    ingest_max_attempts: PositiveInt = 12
    """After this many failed attempts a file is dead: a store that is away for 6 minutes costs none."""
    ingest_file_bytes_max: PositiveInt = 4 * 1024**3
    """A file larger than this, also after gunzip, is quarantined."""
    ingest_rejected_fraction_max: Annotated[float, Field(ge=0, le=1)] = 0.01
    """A file with a larger share of bad rows is quarantined whole."""
    ingest_datasets: dict[str, DatasetSchema] = {}
    """JSON object: dataset to ``{key, required, types}``. Others have the key ``id`` and no more rules."""
    ingest_temp_dir: Path = Path(tempfile.gettempdir())
    """Where a file lies while it is loaded; it has no name there and is gone with the process."""

    @field_validator("ingest_times_utc")
    @classmethod
    def _times(cls, times: tuple[str, ...]) -> tuple[str, ...]:
        for one in times:
            parse_time(one)
        return times
