"""Whether content may become an avatar: the port that every way of moderating implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

CATEGORIES = ("hate", "violence", "sexual", "self_harm", "personal_data")
"""What every answer must score. An answer without one of them is no answer: it left something unlooked at."""


@dataclass(frozen=True)
class Content:
    """What is moderated: a prompt, or an image as PNG. Exactly what would be published."""

    text: str | None = None
    png: bytes | None = None


@dataclass(frozen=True)
class Scores:
    """What moderation found. ``flagged``: it would not publish this itself."""

    scores: Mapping[str, float]
    flagged: bool
    model: str
    reference: str
    """The moderation's own id of its answer."""


@dataclass(frozen=True)
class Verdict:
    """Scores, held against the thresholds. ``category`` and ``score`` say why it is not allowed."""

    found: Scores
    category: str | None
    score: float | None

    @property
    def allowed(self) -> bool:
        """Whether the content may be published."""
        return self.category is None


class ModerationError(Exception):
    """There is no answer, so nothing may be published. ``retryable``: there may be one later."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retryable: bool = True,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class Moderator(Protocol):
    """One way of moderating."""

    @property
    def name(self) -> str:
        """What scores of this moderator are known by: those of another are never reused."""

    def moderate(self, content: Content, *, key: str) -> Scores:
        """Score the content. The same ``key`` is the same question again. Raises ``ModerationError``."""


@dataclass(frozen=True)
class Policy:
    """From which score on content of each category is rejected."""

    thresholds: Mapping[str, float]
    other: float

    def judge(self, found: Scores) -> Verdict:
        """Hold the scores against the thresholds; of several excesses the worst is named."""
        excesses = {
            category: score - self._threshold(category)
            for category, score in found.scores.items()
            if score >= self._threshold(category)
        }
        if not excesses and not found.flagged:
            return Verdict(found, None, None)
        # Flagged, but below every threshold of ours: the moderation knows more than its scores say.
        candidates = excesses or {
            category: score - self._threshold(category) for category, score in found.scores.items()
        }
        category = max(sorted(candidates), key=lambda name: candidates[name])
        return Verdict(found, category, found.scores[category])

    def _threshold(self, category: str) -> float:
        return self.thresholds.get(category, self.other)
