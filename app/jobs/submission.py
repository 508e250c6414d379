"""What is handed in to be run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


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

    def fingerprint(self) -> str:
        """Return what tells another request under the same key from the same request."""
        said = (self.kind, self.config, self.priority, self.request_digest)
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
