"""Words and numbers as every report writes them."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata

from chaos.domain.run import Check, Detection, DrillResult
from chaos.domain.verdict import Verdict

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MINUTE_SECONDS = 60.0
LONG_SECONDS = 120.0  # from here on minutes read better
_NOTHING_SECONDS = 0.05  # shown as 0.0, which takes no sign
TOLERANCE_SECONDS = 0.0005  # legs are rounded to the millisecond

# What a reader does about a check that did not pass, by its group.
ADVICE = {
    "steady": "The lab was not steady before the fault. Run `lab status`, then `lab heal`, and drill again.",
    "expect": "Open the alert's rule and its route: what should have fired and where, within the ceiling?",
    "evidence": "The evidence does not tell this cause from the others. Make its query more specific.",
    "forbid": "An alert that blames the wrong part fired. Narrow its rule, or allow it in the scenario.",
    "recover": "The remedy did not clear the incident. Check the remedy, then the alert's resolve path.",
    "baseline": "The drill left something behind. Run `lab heal`, then find which undo is incomplete.",
}
OTHER_ADVICE = "Compare the event log with the scenario, then drill again."
ERROR_ADVICE = "The lab could not judge this. Run `lab doctor` and `lab status`, then drill again."


def clean(text: str) -> str:
    """Return ``text`` without what could steer a terminal, break XML or reorder a line."""
    return "".join(char if char in "\n\t" or _harmless(char) else REPLACEMENT for char in text)


def one_line(text: str) -> str:
    """Return ``clean(text)`` with every run of white space as one blank."""
    return " ".join(clean(text).split())


def _harmless(char: str) -> bool:
    # Cc steers terminals, Cs cannot be encoded, and of Cf the bidirectional overrides reorder a line.
    category = unicodedata.category(char)
    if category in {"Cc", "Cs"} or char in "\ufffe\uffff":
        return False
    return category != "Cf" or char in "\u200c\u200d\u00ad"


def seconds(value: float) -> str:
    """Return a length as ``4.1 s`` or ``2 min 05 s``."""
    if abs(value) >= LONG_SECONDS:
        minutes, rest = divmod(round(value), int(MINUTE_SECONDS))
        return f"{minutes} min {rest:02d} s"
    return f"{_number(value)} s"


def offset(value: float) -> str:
    """Return a moment relative to another: ``+4.1 s``, or with a real minus sign."""
    if abs(value) < _NOTHING_SECONDS:
        return seconds(0.0)
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    return f"{sign}{seconds(abs(value))}"


def span(floor_seconds: float, ceiling_seconds: float) -> str:
    """Return a range as ``3.0 to 5.1 s``."""
    return f"{_number(floor_seconds)} to {seconds(ceiling_seconds)}"


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < _NOTHING_SECONDS else value:.1f}"


def utc(unix: float) -> str:
    """Return a moment as ``2025-11-22 07:42:00 UTC``."""
    return dt.datetime.fromtimestamp(unix, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso_utc(unix: float) -> str:
    """Return a moment as ISO 8601 without a zone, which is what JUnit readers take."""
    return dt.datetime.fromtimestamp(unix, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def scenario_number(scenario: str) -> str:
    """Return ``3`` of ``03-connection-refused``; a name without a number stands for itself."""
    found = re.match(r"0*(\d+)", scenario)
    return found.group(1) if found else scenario


def advice(check: Check) -> str:
    """Return what to do about a check that did not pass."""
    if check.verdict is Verdict.ERROR:
        return ERROR_ADVICE
    return ADVICE.get(check.group, OTHER_ADVICE)


def placing(detection: Detection) -> str:
    """Say where a detection fell: ``in range``, ``late`` or ``early``."""
    if detection.total_seconds > detection.ceiling_seconds + TOLERANCE_SECONDS:
        return "late"
    if detection.total_seconds < detection.floor_seconds - TOLERANCE_SECONDS:
        return "early"
    return "in range"


def headline(result: DrillResult) -> str:
    """Return the verdict in one line."""
    number = one_line(scenario_number(result.scenario))
    return f"{result.verdict} scenario {number}: {tally(result)}"


def tally(result: DrillResult) -> str:
    """Return how many variants passed, failed and could not be judged, with the seed and the time taken."""
    total = len(result.variants)
    counts = {verdict: sum(v.verdict is verdict for v in result.variants) for verdict in Verdict}
    words = [f"{counts[Verdict.PASS]} of {total} variant{'' if total == 1 else 's'} passed"]
    if counts[Verdict.FAIL]:
        words.append(f"{counts[Verdict.FAIL]} failed")
    if counts[Verdict.ERROR]:
        words.append(f"{counts[Verdict.ERROR]} could not be judged")
    took = seconds(result.ended_unix - result.started_unix)
    return f"{', '.join(words)}; seed {result.seed}, {took}"
