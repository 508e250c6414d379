"""What is handed in to be run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.sources.catalogue import SourceSpec


@dataclass(frozen=True)
class Submission:
    """A job to be stored. ``config`` is what its handler gets, already validated."""

    kind: str
    config: Mapping[str, Any]
    client_id: str
    request_id: str
    max_attempts: int | None = None
    """Left out: as for every other kind."""
    priority: int = 0
    """0 to 9; the highest runs first."""
    idempotency_key: str | None = None
    """With a key of its client's that was used before, nothing is stored: it stands for that job."""
    trace_context: str | None = None
    """The W3C ``traceparent`` that the worker's spans belong to. Left out: that of the open span."""
    request_digest: str | None = None
    """What the request said, where ``config`` does not tell (an uploaded file): part of the fingerprint."""

    @property
    def key(self) -> tuple[str, str] | None:
        """What it shares with every other that stands for the same job."""
        return None if self.idempotency_key is None else (self.client_id, self.idempotency_key)

    def fingerprint(self) -> str:
        """Return what tells another request under the same key from the same request."""
        said = (self.kind, self.config, self.priority, self.request_digest)
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def collection(
    spec: SourceSpec, *, client_id: str, request_id: str, idempotency_key: str | None
) -> Submission:
    """Return the submission of a collection that was asked for and checked."""
    return Submission(
        spec.source_type.value,
        # Only what was said: what a release adds by itself makes no other request of it, and is nothing
        # that a worker of the release before must know.
        spec.config.model_dump(mode="json", exclude_unset=True),
        client_id,
        request_id,
        priority=spec.priority,
        idempotency_key=idempotency_key,
    )
