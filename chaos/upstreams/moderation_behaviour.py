"""How badly the simulated moderation API serves: how slowly, and how often it goes wrong in which way."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

GARBAGE_KINDS = ("html", "truncated", "schema")
SECONDS_MAX = 120.0


class Mishap(enum.Enum):
    """What may go wrong with one request. Values are the fields with their rates."""

    HANG = "hang_rate"
    SLOW = "slow_rate"
    ERROR = "error_rate"
    RATE_LIMIT = "rate_limit_rate"
    GARBAGE = "garbage_rate"


@dataclass(frozen=True)
class Behaviour:
    """Delays are log-normal. Rates are shares of all requests; together they are at most 1."""

    latency_median_ms: float = 40.0
    latency_sigma: float = 0.5
    hang_rate: float = 0.0
    slow_rate: float = 0.0
    slow_seconds: float = 10.0
    error_rate: float = 0.0
    rate_limit_rate: float = 0.0
    retry_after_seconds: int = 5
    garbage_rate: float = 0.0
    garbage: str = "html"

    def dump(self) -> dict[str, float | int | str]:
        """Return it as JSON has it."""
        return asdict(self)

    def mishap(self, rng: random.Random) -> Mishap | None:
        """Throw the dice for one request."""
        left = rng.random()
        for mishap in Mishap:
            left -= getattr(self, mishap.value)
            if left < 0:
                return mishap
        return None


def seconds_of(behaviour: Behaviour, mishap: Mishap | None, rng: random.Random) -> float:
    """Return how long a request takes before it is answered."""
    if mishap is Mishap.SLOW:
        return behaviour.slow_seconds
    if behaviour.latency_median_ms <= 0:
        return 0.0
    median_seconds = behaviour.latency_median_ms / 1000
    return min(rng.lognormvariate(math.log(median_seconds), behaviour.latency_sigma), SECONDS_MAX)


_BOUNDS: Mapping[str, float] = {
    "latency_median_ms": SECONDS_MAX * 1000,
    "latency_sigma": 3.0,
    "slow_seconds": SECONDS_MAX,
    "retry_after_seconds": 3600,
    **{mishap.value: 1.0 for mishap in Mishap},
}


def parse_behaviour(start: Behaviour, document: object) -> tuple[Behaviour, list[dict[str, str]]]:
    """Return ``start`` with the fields of a document, and all that is wrong with them."""
    if not isinstance(document, dict):
        return start, [{"field": "body", "message": "must be an object"}]
    known = {field.name for field in fields(Behaviour)}
    errors = [
        {"field": str(name), "message": f"unknown; use {', '.join(sorted(known))}"}
        for name in sorted(set(document) - known)
    ]
    for name, upper in _BOUNDS.items():
        value = document.get(name, 0)
        whole = name == "retry_after_seconds"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            errors.append(
                {"field": name, "message": "must be a whole number" if whole else "must be a number"}
            )
        elif not 0 <= value <= upper:
            errors.append({"field": name, "message": f"must be from 0 to {upper:g}"})
    if document.get("garbage", "html") not in GARBAGE_KINDS:
        errors.append({"field": "garbage", "message": f"must be one of {', '.join(GARBAGE_KINDS)}"})
    if errors:
        return start, errors
    behaviour = replace(start, **document)
    if sum(getattr(behaviour, mishap.value) for mishap in Mishap) > 1:
        return start, [{"field": "body", "message": "the rates together must not be more than 1"}]
    return behaviour, []
