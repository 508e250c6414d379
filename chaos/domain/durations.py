"""Durations with units, as scenario files write them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_seconds(text: str) -> float:
    """Return the seconds of ``"90s"``, ``"1m30s"`` or ``"250ms"``.

    Raises:
        ValueError: there is no unit, or something that is no duration.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"{text!r} is no duration: write a number with a unit (ms, s, m, h), such as 10s or 1m30s"
        raise ValueError(msg)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _coerce(value: object) -> float:
    if isinstance(value, str):
        return parse_duration_seconds(value)
    msg = f"{value!r} has no unit: write 10s, 500ms or 2m"
    raise ValueError(msg)


Seconds = Annotated[float, BeforeValidator(_coerce, json_schema_input_type=str)]
"""A field that is written as text with a unit and read as seconds."""
