"""Webhooks as a real SeaweedFS sends them."""

from __future__ import annotations

from typing import Any

MD5 = "HGUD8/rtL1/5Qd0SUxZl0A=="
ETAG = "1c6503f3faed2f5ff941dd12531665d0"


def entry(name: str, **attributes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "chunks": [{"size": 12, "e_tag": MD5, "fid": {"volume_id": 5, "file_key": 1}}],
        "attributes": {"file_size": 12, "mtime": 1795841274, "md5": MD5, **attributes},
        "extended": {"Seaweed-X-Amz-ETag": "MWM2NTAzZjNmYWVkMmY1ZmY5NDFkZDEyNTMxNjY1ZDA="},
    }


def webhook(kind: str, path: str, **entries: Any) -> dict[str, Any]:
    return {"event_type": kind, "key": path, "message": {"signatures": [-1264511008], **entries}}


def created(key: str, **changes: Any) -> dict[str, Any]:
    folder, _, name = f"/buckets/landing/{key}".rpartition("/")
    return webhook("create", f"{folder}/{name}", new_entry=entry(name) | changes, new_parent_path=folder)
