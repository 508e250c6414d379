"""Where files lie in the bucket: ``client/YYYY-MM-DD/name``, and what their names mean."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal

MARKER = "_SUCCESS"
"""An empty object of this name says that all files of the day are there."""

QUARANTINE = "quarantine"
SUFFIXES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")
KEY_BYTES_MAX = 1024  # S3's own limit

_CLIENT = re.compile(r"[a-z0-9-]{1,64}")
_KEY = re.compile(r"(?P<client>[a-z0-9-]{1,64})/(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/(?P<name>[^/]+)")
_NAME = re.compile(r"(?P<dataset>[A-Za-z0-9_-]{1,100})(?:\.[A-Za-z0-9_-]{1,100})?(?:\.csv|\.jsonl)(?:\.gz)?")


class LayoutError(Exception):
    """The key is not where a file of a client would be."""


@dataclass(frozen=True)
class Place:
    """What a key says. ``dataset`` is None for the marker of a day."""

    key: str
    client_id: str
    day: dt.date
    dataset: str | None

    @property
    def format(self) -> Literal["csv", "jsonl"]:
        """How its rows are written."""
        return "csv" if self.key.removesuffix(".gz").endswith(".csv") else "jsonl"

    @property
    def gzipped(self) -> bool:
        """Whether it is compressed."""
        return self.key.endswith(".gz")


def is_client(name: str) -> bool:
    """Say whether a first component may be a client's."""
    return name != QUARANTINE and _CLIENT.fullmatch(name) is not None


def client_prefix(client_id: str) -> str:
    """Return what every key of a client begins with."""
    return f"{client_id}/"


def day_prefix(client_id: str, day: dt.date) -> str:
    """Return what every key of a client's day begins with."""
    return f"{client_id}/{day.isoformat()}/"


def quarantine_key(key: str, version: str) -> str:
    """Return where an unfit version of a file is copied to."""
    return f"{QUARANTINE}/{key}.{version}"


def place(key: str) -> Place:
    """Return what a key says. Raises ``LayoutError``."""
    match = _KEY.fullmatch(key)
    if match is None or not is_client(match["client"]) or len(key.encode()) > KEY_BYTES_MAX:
        raise LayoutError(f"{key!r} is not client/YYYY-MM-DD/name")
    try:
        day = dt.date.fromisoformat(match["day"])
    except ValueError as exc:
        raise LayoutError(f"{key!r} has no day: {exc}") from exc
    if match["name"] == MARKER:
        return Place(key, match["client"], day, None)
    name = _NAME.fullmatch(match["name"])
    if name is None:
        raise LayoutError(f"{key!r} is not named dataset[.part]{'|'.join(SUFFIXES)}")
    return Place(key, match["client"], day, name["dataset"])
