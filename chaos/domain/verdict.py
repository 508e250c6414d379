"""How a drill ended. FAIL and ERROR are never merged."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Verdict(enum.StrEnum):
    """PASS: detection as promised. FAIL: detection was wrong. ERROR: the lab could not judge."""

    PASS = "PASS"  # noqa: S105 a verdict, no password
    FAIL = "FAIL"
    ERROR = "ERROR"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return ERROR before FAIL before PASS; of nothing, ERROR, since nothing was judged."""
    seen = set(verdicts)
    if not seen or Verdict.ERROR in seen:
        return Verdict.ERROR
    return Verdict.FAIL if Verdict.FAIL in seen else Verdict.PASS
