"""What clients send and get."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.jobs.schemas import JobFailure
from app.models import FileState
from app.wire import WHOLE, AnyMoment, Boolean, Day, Text, exactly_one

PAGE_LIMIT_DEFAULT = 100
PAGE_LIMIT_MAX = 1000
RECORDS_MAX = 100
OBJECT_BYTES_MAX = 2**53  # exact in every JSON
Key = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# What the validators below demand, said in the document.
_ONE_OF_THREE: JsonDict = {
    **exactly_one(("day",), ("prefix",), ("object",)),
    "examples": [{"day": "2026-11-21"}],
}
_RECORDS_OR_TEST: JsonDict = {
    "anyOf": [
        {"required": ["Records"], "properties": {"Records": {"type": "array"}}},
        {"required": ["Event"], "properties": {"Event": {"const": "s3:TestEvent"}}},
    ]
}


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ObjectRef(_Request):
    """One file in the bucket."""

    key: Key = Field(
        description="The whole key, your prefix included.", examples=["acme/2026-11-21/findings.csv"]
    )
    version: Text | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Its ETag. Left out: whatever is there now.",
        examples=["5d02e4d2354eae28589766cca211477d"],
    )


class PopulateRequest(_Request):
    """What to look for in the bucket: exactly one of a day, a prefix or an object."""

    model_config = ConfigDict(json_schema_extra=_ONE_OF_THREE)

    day: Day | None = Field(
        default=None, description="All files of this day (backfill).", examples=["2026-11-21"]
    )
    prefix: Key | None = Field(
        default=None,
        description="All files below this prefix, which begins with your own.",
        examples=["acme/2026-11"],
    )
    object: ObjectRef | None = Field(default=None, description="This file.")
    force: Boolean = Field(default=False, description="Load again what is loaded or quarantined.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.day, self.prefix, self.object)) != 1:
            msg = "give exactly one of day, prefix and object"
            raise ValueError(msg)
        return self


class RunAccepted(_Answer):
    """The listing is stored and will run. Ask for it by its id to learn what it found."""

    run_id: UUID = Field(description="Identifies the listing.")
    job_id: UUID = Field(description="The job that lists; the same as `run_id`.")


class Run(_Answer):
    """What a listing found."""

    run_id: UUID = Field(description="Identifies the listing.")
    status: str = Field(
        description="State of its job; `unknown` when that is no longer kept.", examples=["succeeded"]
    )
    cause: str = Field(description="`hand`, `event` or `schedule`.", examples=["hand"])
    files_new: int | None = Field(description="Files for which a job was made; null until it has run.")
    files_known: int | None = Field(description="Files that the ledger had already.")
    keys_ignored: int | None = Field(description="Keys that are not named as files of a day.")
    created_at: dt.datetime = Field(description="When it was asked for.")
    finished_at: dt.datetime | None = Field(description="When it ended; null before.")


class IngestFile(_Answer):
    """One version of one file, as the ledger has it."""

    file_id: int = Field(description="Identifies the version of the file.", examples=[17])
    key: str = Field(description="Its key in the bucket.", examples=["acme/2026-11-21/findings.csv"])
    version: str = Field(description="Its ETag.")
    day: dt.date = Field(description="The day, as in its keys.", examples=["2026-11-21"])
    dataset: str = Field(description="Its name up to the first dot.", examples=["findings"])
    size: int = Field(description="Bytes in the bucket.", examples=[48213])
    status: FileState = Field(description="What became of it.")
    rows: int = Field(description="Valid rows that it holds; 0 until it is loaded.")
    rejected: int = Field(description="Rows that are not valid.")
    error: JobFailure | None = Field(description="Why it is not loaded; null if it is.")
    job_id: UUID = Field(description="The job that loads it, or did so last.")
    attempts: int = Field(description="Attempts that its last job took.")
    quarantine_key: str | None = Field(description="Where its copy is, if it is quarantined.")
    modified_at: dt.datetime = Field(description="When it was put into the bucket.")
    created_at: dt.datetime = Field(description="When the ledger learned of it.")
    updated_at: dt.datetime = Field(description="When that last changed.")
    loaded_at: dt.datetime | None = Field(description="When it was last loaded; null if never.")


class Reject(_Answer):
    """A row that is not valid."""

    row_number: int = Field(description="Counted from 1, the header left out.")
    reason: str = Field(description="Why, as a constant.", examples=["key_missing"])
    sample: str = Field(description="The beginning of the row.")


class IngestFileDetail(IngestFile):
    """The same, and why rows were rejected."""

    rejects: list[Reject] = Field(description="The first of them.")


class FilePage(_Answer):
    """A page of the ledger, newest first."""

    files: list[IngestFile] = Field(description="The files of this page.")
    next_before: int | None = Field(
        description="Pass as `before` to get the next page; null on the last page."
    )


class IngestDay(_Answer):
    """One day of files."""

    day: dt.date = Field(description="The day, as in its keys.", examples=["2026-11-21"])
    complete: bool = Field(description="The marker was seen, and every file of the day is loaded.")
    marked_at: dt.datetime | None = Field(description="When the marker `_SUCCESS` was put into the bucket.")
    files: int = Field(description="Files of the day, replaced and deleted ones left out.")
    loaded: int = Field(description="Those that are loaded.")
    pending: int = Field(description="Those that wait to be loaded.")
    failed: int = Field(description="Dead or quarantined.")
    rows: int = Field(description="Rows of its loaded files.")


class DayPage(_Answer):
    """Days, newest first."""

    days: list[IngestDay] = Field(description="The days of this page.")
    next_before: dt.date | None = Field(
        description="Pass as `before` to get the next page; null on the last page."
    )


class Replayed(_Answer):
    """The file will be loaded again, or is about to be."""

    file_id: int = Field(description="Identifies the version of the file.", examples=[17])
    job_id: UUID
    already_pending: bool = Field(description="Whether it was about to be loaded anyhow.")


class _Lenient(BaseModel):
    """Part of what others send: what is not known is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class EventBucket(_Lenient):
    """The bucket of an event."""

    name: str = Field(max_length=255, description="Its name.", examples=["landing"])


class EventObject(_Lenient):
    """The object of an event."""

    key: str = Field(max_length=4096, description="URL-encoded, as S3 sends it.")
    size: Annotated[int, Field(strict=True, ge=0, le=OBJECT_BYTES_MAX), WHOLE] | None = Field(
        default=None, description="Bytes."
    )
    e_tag: Text | None = Field(
        default=None, alias="eTag", max_length=200, description="Its version; left out, it is looked up."
    )


class EventEntity(_Lenient):
    """What an event is about."""

    bucket: EventBucket = Field(description="The bucket.")
    object: EventObject = Field(description="The object.")


class EventRecord(_Lenient):
    """One event."""

    event_name: str = Field(
        alias="eventName",
        max_length=200,
        description="Other than ObjectCreated is ignored.",
        examples=["ObjectCreated:Put"],
    )
    event_time: AnyMoment | None = Field(default=None, alias="eventTime", description="When it happened.")
    s3: EventEntity = Field(description="What it is about.")


class EventNotification(_Lenient):
    """What S3 sends: `Records`, or `Event` = `s3:TestEvent` once when notifications are set up."""

    model_config = ConfigDict(json_schema_extra=_RECORDS_OR_TEST)

    records: list[EventRecord] | None = Field(
        default=None, alias="Records", max_length=RECORDS_MAX, description="The events."
    )
    event: str | None = Field(
        default=None, alias="Event", max_length=200, description="Only of a test.", examples=["s3:TestEvent"]
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.records is None and self.event != "s3:TestEvent":
            msg = "give Records, or Event = s3:TestEvent"
            raise ValueError(msg)
        return self


class EventsTaken(_Answer):
    """What became of the records."""

    new: int = Field(description="Versions for which a job was made.")
    known: int = Field(description="Versions that the ledger had already: sent twice, or listed before.")
    listings: int = Field(description="Listings that were made: a day's marker, or a record without ETag.")
    ignored: int = Field(
        description="Records of other buckets, clients or kinds, and keys that are no files."
    )
