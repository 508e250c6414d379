"""A stored report, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.figures import Judgement, Spread


class ReportError(Exception):
    """The report is not there, or not whole. The message says what is missing."""


@dataclass(frozen=True)
class Judged:
    """A judgement and the ratio of each round."""

    judgement: Judgement
    ratios: Sequence[float]


@dataclass(frozen=True)
class Report:
    """What ``make bench`` stored."""

    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report. Raises ``ReportError``."""
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as exc:
            raise ReportError(f"{path} cannot be read: {exc}") from exc

    def missing(self, sections: Sequence[str]) -> list[str]:
        """Return the sections that were not measured."""
        return [name for name in sections if name not in self.document["sections"]]

    @property
    def plan(self) -> Mapping[str, Any]:
        """Sizes and times of the run."""
        plan: Mapping[str, Any] = self.document["plan"]
        return plan

    def facts(self, section: str) -> Mapping[str, Any]:
        """Return what a section tells once."""
        facts: Mapping[str, Any] = self._section(section)["facts"]
        return facts

    def values(self, section: str, measure: str) -> Sequence[float]:
        """Return one value per round."""
        rounds = self._section(section)["rounds"]
        if measure not in rounds:
            raise ReportError(f"section {section} has no measure {measure}")
        values: Sequence[float] = rounds[measure]
        return values

    def names(self, section: str, prefix: str) -> list[str]:
        """Return how the measures that begin with ``prefix/`` go on, in the order of the report."""
        start = f"{prefix}/"
        return [
            name.removeprefix(start) for name in self._section(section)["rounds"] if name.startswith(start)
        ]

    def median(self, section: str, measure: str) -> float:
        """Return the median of the rounds."""
        return Spread.of(self.values(section, measure)).median

    def text(self, section: str, measure: str, digits: int = 0) -> str:
        """Return the median with the extremes."""
        return Spread.of(self.values(section, measure)).text(digits)

    def judged(self) -> list[Judged]:
        """Return every promise and what came of it."""
        found = []
        for name, section in self.document["sections"].items():
            for stored in section["judgements"]:
                judgement = Judgement(**{**stored, "ratio": Spread(**stored["ratio"])})
                found.append(Judged(judgement, self._ratios(name, judgement)))
        return found

    def _ratios(self, section: str, judgement: Judgement) -> Sequence[float]:
        ours = self.values(section, judgement.ours)
        if judgement.reference not in self._section(section)["rounds"]:
            return ours  # a share already
        others = self.values(section, judgement.reference)
        return [one / other for one, other in zip(ours, others, strict=True)]

    def _section(self, name: str) -> Mapping[str, Any]:
        if name not in self.document["sections"]:
            raise ReportError(f"section {name} was not measured")
        section: Mapping[str, Any] = self.document["sections"][name]
        return section
