"""What checks return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.domain.verdict import Verdict

SHOWN_MAX = 8


@dataclass(frozen=True)
class Violation:
    """One broken promise: of which job, and how. ``loss`` is lost, duplicated or leaked if it is one."""

    job: str
    text: str
    loss: str = ""

    def __str__(self) -> str:
        return f"{self.job}: {self.text}"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. Nothing examined proves nothing, which is no PASS."""

    check: str
    promise: str
    examined: int
    violations: Sequence[Violation]
    unread: str = ""
    """Why it could not be checked; empty if it was."""

    @property
    def verdict(self) -> Verdict:
        """FAIL if broken, ERROR if it could not be judged."""
        if self.violations:
            return Verdict.FAIL
        return Verdict.ERROR if self.unread or not self.examined else Verdict.PASS

    def counted(self, loss: str) -> int:
        """Return how many jobs were lost, duplicated or leaked."""
        return len({violation.job for violation in self.violations if violation.loss == loss})
