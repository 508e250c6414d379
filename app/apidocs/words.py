"""What fields and parameters are that mean the same wherever they occur, unless they say more themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

JOB_ID: Final = "0192f0c1-7a51-7cc3-8a1e-4d6f0a1b2c3d"
TIME: Final = "2026-11-22T10:58:12.345678Z"

# Name: what it is, and an example where the type does not say it all.
WORDS: Final[Mapping[str, tuple[str, Any]]] = {
    "job_id": ("Identifies the job.", JOB_ID),
    "status": ("Where it is.", None),
    "client_id": ("The client it belongs to.", "acme-corp"),
    "source_type": ("The kind of the source.", None),
    "config": ("What to collect, as that kind of source needs it.", None),
    "page_size": ("How many items to ask for at once.", 50),
    "attempt": ("Attempts so far, the running one included.", 1),
    "max_attempts": ("After how many failed attempts it is given up.", 5),
    "record_count": ("How many records it has.", 25),
    "records": ("The records of this page.", None),
    "error": ("Why the last attempt failed; null unless it did.", None),
    "reason": ("Why, as a constant that programs may compare.", "http_503"),
    "message": ("What went wrong, for people.", "the source answered 503"),
    "at": ("When.", TIME),
    "created_at": ("When it was stored.", TIME),
    "updated_at": ("When it last changed.", TIME),
    "started_at": ("When its first attempt began; null before.", TIME),
    "finished_at": ("When it ended; null before.", TIME),
    "expires_at": ("When it stops being valid; null: never.", TIME),
    "revoked_at": ("When it was revoked; null unless it was.", TIME),
    "scopes": ("What it may be used for.", ["jobs:read", "jobs:write"]),
    "keys": ("The keys.", None),
    "key": ("The key, without its secret.", None),
    "key_id": ("Identifies the key; it is no secret.", "mzxw6ytboi4dsnbq"),
    "signing_required": ("Whether requests with it must be signed.", False),
    "active": ("Whether it is neither revoked nor expired.", True),
    "avatars": ("The avatars of this page.", None),
    "input": ("What it is made of.", None),
    "instance": ("Which process answered.", "api-1"),
    "version": ("The version of the service.", "0.1.0"),
    "dependencies": ("What this process needs, by name.", None),
    "status_url": ("Where to ask how it gets on.", None),
    "score": ("How sure it is, from 0 to 1.", 0.91),
    "params": ("Parameters of the query, by name.", None),
    "resource": ("What to read there.", "controls"),
    "limit": ("How many to return at most.", 100),
    "format": ("How the image is encoded.", "png"),
    "target": ("Where it is.", "127.0.0.1:5432"),
    "checked_seconds_ago": ("How old this finding is, in seconds.", 0.4),
}


def describe_fields(document: dict[str, Any]) -> None:
    """Describe the fields of every schema that has no words of its own for them."""
    for schema in document["components"].get("schemas", {}).values():
        for name, field in schema.get("properties", {}).items():
            text, example = WORDS.get(name, (None, None))
            if text is not None and "description" not in field:
                field["description"] = text
            if example is not None and not {"example", "examples", "enum", "const"} & field.keys():
                field["examples"] = [example]


def describe_parameters(operation: dict[str, Any]) -> None:
    """Describe the parameters of an operation likewise."""
    for parameter in operation.get("parameters", ()):
        text, example = WORDS.get(parameter["name"], (None, None))
        if text is not None:
            parameter.setdefault("description", text)
        if example is not None and not {"examples", "example"} & parameter["schema"].keys():
            parameter.setdefault("example", example)
