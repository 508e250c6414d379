"""Whether an expression is true now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chaos.domain.scenario import LogSignal, MetricSignal
from chaos.ports import Operators

RANGE_MS_MIN = 3000  # a range must hold a few scrapes, or nothing can be seen to increase


@dataclass(frozen=True)
class Ranges:
    """Where the ranges of an expression begin, in unix seconds.

    ``fault`` is when the fault was proven live; ``act`` is just before the first act of it.
    """

    fault_unix: float
    act_unix: float


def expand(text: str, ranges: Ranges, now_unix: float, settings: Mapping[str, str]) -> str:
    """Replace the ``$`` names of an expression by durations up to now and the right address."""

    def duration(since_unix: float) -> str:
        return f"{max(RANGE_MS_MIN, math.floor((now_unix - since_unix) * 1000))}ms"

    return (
        text.replace("$since_fault", duration(ranges.fault_unix))
        .replace("$since_act", duration(ranges.act_unix))
        .replace("$database_host", settings["DCS_DATABASE_HOST"])
        .replace("$database_port", settings["DCS_DATABASE_PORT"])
    )


def metric_is_true(expr: str, operators: Operators) -> bool:
    """Return whether a PromQL expression holds: a non-empty vector, or a scalar that is not 0."""
    samples = operators.metrics.query(expr)
    if len(samples) == 1 and not samples[0].labels and expr.lstrip().startswith("scalar("):
        return samples[0].value != 0
    return bool(samples)


def is_true(signal: MetricSignal | LogSignal, ranges: Ranges, operators: Operators) -> bool:
    """Return whether a metric or log signal holds now.

    Raises:
        AdapterError: Prometheus or Loki could not say. Silence is not "false".
    """
    now = operators.clock.now()
    settings = operators.stack.service_settings()
    if isinstance(signal, MetricSignal):
        return metric_is_true(expand(signal.expr, ranges, now, settings), operators)
    return operators.logs.truth(expand(signal.query, ranges, now, settings), ranges.fault_unix)
