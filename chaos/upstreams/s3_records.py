"""What a change of SeaweedFS's file system is in the words of S3's event notifications. Pure."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

BUCKETS = "/buckets/"
HIDDEN = (".uploads/", ".versions/")
"""Where its S3 gateway keeps what is no object yet, or no longer."""
KEY_CHARACTERS_MAX = 1024
_MD5_BYTES = 16

Record = dict[str, Any]
Json = Mapping[str, Any]


class GarbageError(ValueError):
    """The document is no notification of SeaweedFS."""


def records(document: object, bucket: str) -> list[Record]:
    """Return what an operator of S3 would be told: nothing for folders, uploads and other buckets.

    Raises ``GarbageError`` for anything that SeaweedFS would not send.
    """
    notice = _object(document, "the document")
    message = _object(notice.get("message"), "message")
    path = _text(notice.get("key"), "key")
    old, new = _entry(message, "old_entry"), _entry(message, "new_entry")
    if old is None and new is None:
        raise GarbageError("message has neither old_entry nor new_entry")
    found = []
    target = _renamed(message, new, path)
    if new is not None and (key := _key(target, bucket, new)) is not None:
        found.append(_record("ObjectCreated:Put", bucket, key, new))
    if old is not None and (new is None or target != path) and (key := _key(path, bucket, old)) is not None:
        found.append(_record("ObjectRemoved:Delete", bucket, key, old))
    return found


def _object(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise GarbageError(f"{name} is no object")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise GarbageError(f"{name} is no text")
    return value


def _entry(message: Json, name: str) -> Json | None:
    value = message.get(name)
    return None if value is None else _object(value, name)


def _renamed(message: Json, new: Json | None, path: str) -> str:
    """Return where the new entry is; a rename tells its old path as the key."""
    parent = message.get("new_parent_path")
    if new is None or not isinstance(parent, str):
        return path
    return f"{parent.rstrip('/')}/{_text(new.get('name'), 'name')}"


def _key(path: str, bucket: str, entry: Json) -> str | None:
    """Return the key of an object of the bucket, or None for anything else."""
    prefix = f"{BUCKETS}{bucket}/"
    key = path.removeprefix(prefix)
    if key == path or not key or entry.get("is_directory") or key.startswith(HIDDEN):
        return None
    if len(key) > KEY_CHARACTERS_MAX:
        raise GarbageError("key is longer than S3's may be")
    return key


def _record(name: str, bucket: str, key: str, entry: Json) -> Record:
    attributes = _object(entry.get("attributes", {}), "attributes")
    thing: Record = {"key": quote_plus(key, safe="/")}
    size = attributes.get("file_size", 0)
    if isinstance(size, int) and size >= 0:
        thing["size"] = size
    if tag := _tag(entry, attributes):
        thing["eTag"] = tag
    return {
        "eventVersion": "2.1",
        "eventSource": "seaweedfs:s3",
        "eventTime": _moment(attributes.get("mtime")),
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": thing,
        },
    }


def _tag(entry: Json, attributes: Json) -> str:
    """Return the ETag as S3 tells it. Left out, the service looks it up."""
    extended = entry.get("extended")
    told = _decoded(extended.get("Seaweed-X-Amz-ETag")) if isinstance(extended, dict) else b""
    if told and told.isascii():
        return told.decode().strip('"')
    digest = _decoded(attributes.get("md5"))
    return digest.hex() if len(digest) == _MD5_BYTES else ""


def _decoded(value: object) -> bytes:
    if not isinstance(value, str):
        return b""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _moment(seconds: object) -> str:
    try:
        at = dt.datetime.fromtimestamp(int(str(seconds)), dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise GarbageError("mtime is no time") from None
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
