"""What a drill found, as plain values. Reports are drawn from these and from nothing else.

All times are unix seconds, all lengths are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chaos.domain.verdict import Verdict, worst


@dataclass(frozen=True)
class Event:
    """One line of the timeline."""

    at_unix: float
    kind: str  # steady, fault, signal, alert, notification, evidence, remedy, resolved, baseline, verdict
    text: str


@dataclass(frozen=True)
class Check:
    """One thing that was judged. ``group`` is steady, expect, evidence, forbid, recover or baseline."""

    group: str
    name: str
    verdict: Verdict
    detail: str
    seconds: float | None = None
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class LegTime:
    """One leg of a detection: measured, and what the deployed configuration allows."""

    name: str
    measured_seconds: float
    floor_seconds: float
    ceiling_seconds: float


@dataclass(frozen=True)
class Detection:
    """From the moment the fault was live to the notification at the receiver."""

    alert: str
    receiver: str
    total_seconds: float
    floor_seconds: float
    ceiling_seconds: float
    legs: tuple[LegTime, ...]


@dataclass(frozen=True)
class Recovered:
    """From the end of the remedy to the resolved notification."""

    alert: str
    total_seconds: float
    ceiling_seconds: float


@dataclass(frozen=True)
class VariantResult:
    """One variant, broken, judged and healed."""

    variant: str
    title: str
    cause: str
    run_id: str
    started_unix: float
    fault_unix: float | None
    remedy_unix: float | None
    ended_unix: float
    timeline: tuple[Event, ...]
    checks: tuple[Check, ...]
    detections: tuple[Detection, ...]
    recoveries: tuple[Recovered, ...]
    # variant id -> whether its evidence was true, all taken in one moment; empty if never reached
    evidence_row: Mapping[str, bool]
    baseline_row: Mapping[str, bool]
    notifications: tuple[Mapping[str, Any], ...]
    error: str | None = None

    @property
    def verdict(self) -> Verdict:
        """ERROR if the lab could not judge, else the worst of the checks."""
        if self.error is not None:
            return Verdict.ERROR
        return worst(check.verdict for check in self.checks)


@dataclass(frozen=True)
class DrillResult:
    """Everything one ``lab drill`` found."""

    scenario: str
    title: str
    symptom: str
    seed: int
    lab_id: str
    started_unix: float
    ended_unix: float
    versions: Mapping[str, str]
    clock: Mapping[str, float]  # k, scrape_seconds, evaluation_seconds
    variants: tuple[VariantResult, ...]
    all_variants: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the variants."""
        return worst(variant.verdict for variant in self.variants)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values, verdicts included."""
        plain = asdict(self)
        plain["verdict"] = str(self.verdict)
        for data, variant in zip(plain["variants"], self.variants, strict=True):
            data["verdict"] = str(variant.verdict)
        return plain
