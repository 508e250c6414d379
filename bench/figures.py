"""Figures: percentiles, medians with their spread, and ratios that are judged."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Rounds = Mapping[str, Sequence[float]]
"""Measure -> one value per round."""

_SMALL, _DIGITS_OF_SMALL = 0.1, 4
"""Two digits would say nothing of a ratio that should be next to nothing."""
_DIGITS_MAX = 6


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True)
class Spread:
    """What several rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the median and the extremes."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Return ``median (low-high)``."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Floor:
    """A promise: ``ours`` is at least ``ratio_min`` of the best of ``references``."""

    title: str
    ours: str
    references: tuple[str, ...]
    ratio_min: float

    def judge(self, rounds: Rounds) -> Judgement:
        """Compare round by round: what else the machine did weighs on both sides of a round alike."""
        best = max(self.references, key=lambda name: statistics.median(rounds[name]))
        ratios = _ratios(rounds, self.ours, best)
        return Judgement(self.title, self.ours, best, ratios, ratio_min=self.ratio_min)


@dataclass(frozen=True)
class Ceiling:
    """A promise: ``ours`` is at most ``ratio_max`` of ``reference``."""

    title: str
    ours: str
    reference: str
    ratio_max: float

    def judge(self, rounds: Rounds) -> Judgement:
        """Compare as ``Floor`` does."""
        ratios = _ratios(rounds, self.ours, self.reference)
        return Judgement(self.title, self.ours, self.reference, ratios, ratio_max=self.ratio_max)


def _ratios(rounds: Rounds, ours: str, other: str) -> Spread:
    return Spread.of([one / another for one, another in zip(rounds[ours], rounds[other], strict=True)])


@dataclass(frozen=True)
class Judgement:
    """What came of a promise. One of its two limits is set."""

    title: str
    ours: str
    reference: str
    ratio: Spread
    ratio_min: float | None = None
    ratio_max: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the median of the rounds' ratios is within what is promised."""
        return self._kept_by(self.ratio.median)

    def _kept_by(self, ratio: float) -> bool:
        enough = self.ratio_min is None or ratio >= self.ratio_min
        return enough and (self.ratio_max is None or ratio <= self.ratio_max)

    @property
    def wanted(self) -> str:
        """What is promised, in words."""
        if self.ratio_min is not None:
            return f"at least {self.ratio_min:g}"
        return f"at most {self.ratio_max:g}"

    @property
    def told(self) -> str:
        """The ratio, with digits enough: rounded it must not look kept when it is not, or the other way."""
        digits = _DIGITS_OF_SMALL if self.ratio.high < _SMALL else 2
        while digits < _DIGITS_MAX and self._kept_by(round(self.ratio.median, digits)) != self.kept:
            digits += 1
        return self.ratio.text(digits)

    def text(self) -> str:
        """Return one line for a terminal."""
        verdict = "ok   " if self.kept else "SHORT"
        return f"{verdict} {self.title}: {self.told} of {self.reference}, wanted {self.wanted}"


@dataclass
class Outcome:
    """What one section measured. ``facts`` do not vary from round to round, or are told once."""

    section: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def add(self, measures: Mapping[str, float]) -> None:
        """Note what one round gave."""
        for name, value in measures.items():
            self.rounds.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread:
        """Return what the rounds gave for one measure."""
        return Spread.of(self.rounds[name])
