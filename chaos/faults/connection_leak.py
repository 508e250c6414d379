"""Another client keeps every connection the database server has to give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import ConnectionLeak
from chaos.errors import StackError
from chaos.ports import Operators

_ROUNDS_MAX = 100
_ROUND_SECONDS = 0.1
_QUIET_ROUNDS = 5  # this many rounds in a row without a connection of the role


@dataclass(frozen=True)
class ConnectionLeakInjector:
    """Starts the leaking client, then ends the service's warm connections until it gets none back.

    A full server does not trouble a service whose pool is full: without the second step the
    fault would stay hidden until the pool's connections age out.
    """

    spec: ConnectionLeak
    hangs: ClassVar[bool] = False

    def describe(self) -> str:
        """Return what will be done."""
        return f"start {self.spec.program}, end the connections of {self.spec.role}"

    def inject(self, operators: Operators) -> None:
        """Start the leak and let it take the service's slots.

        Raises:
            StackError: the service kept a connection in spite of it.
        """
        operators.stack.start(self.spec.program)
        quiet = 0
        for _ in range(_ROUNDS_MAX):
            ended = operators.database.end_connections(self.spec.role)
            quiet = 0 if ended else quiet + 1
            if quiet >= _QUIET_ROUNDS:
                return
            operators.clock.sleep(_ROUND_SECONDS)
        raise StackError(
            f"{self.spec.role} kept getting connections for {_ROUNDS_MAX * _ROUND_SECONDS:g} s although "
            f"{self.spec.program} takes all it can: see `lab logs {self.spec.program}`"
        )
