"""A daemon is ended again and again shortly after it became ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import RestartLoop
from chaos.ports import Operators


@dataclass(frozen=True)
class RestartLoopInjector:
    """Starts the program under a time limit; the process manager restarts it each time it ends.

    Nothing of the lab has to stay alive for the loop to go on, and nothing but a start without
    the override ends it.
    """

    spec: RestartLoop
    hangs: ClassVar[bool] = False

    def describe(self) -> str:
        """Return what will be done."""
        return f"restart {self.spec.program} every {self.spec.up:g} s, {self.spec.down:g} s apart"

    def inject(self, operators: Operators) -> None:
        """Start the loop."""
        stack = operators.stack
        stack.set_override(
            self.spec.program,
            {
                "LAUNCH_DELAY_SECONDS": f"{self.spec.down:g}",
                "LAUNCH_END_AFTER_SECONDS": f"{self.spec.up:g}",
            },
        )
        stack.bounce(self.spec.program)
