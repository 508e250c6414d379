"""The service runs with wrong settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chaos.domain.scenario import ServiceEnvironment
from chaos.domain.topology import Topology
from chaos.domain.waiting import POLL_SECONDS
from chaos.errors import StackError, UsageError
from chaos.ports import Operators

_ANSWER_SECONDS_MAX = 30.0
_REFERENCE = re.compile(r"\$(host|port)\(([a-z0-9-]+)\)")


def expand(value: str, topology: Topology) -> str:
    """Replace ``$host(NAME)`` and ``$port(NAME)`` by the stack's own addresses.

    Raises:
        UsageError: no part of the stack has that name.
    """

    def address(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if name not in topology.direct:
            raise UsageError(
                f"{match.group(0)}: the stack has no {name!r}; it has {', '.join(topology.direct)}"
            )
        found = topology.address(name)
        return found.host if kind == "host" else str(found.port)

    return _REFERENCE.sub(address, value)


@dataclass(frozen=True)
class ServiceEnvironmentInjector:
    """Writes the overrides, then restarts one instance after the other, as a deployment does."""

    spec: ServiceEnvironment
    hangs: ClassVar[bool] = False

    def describe(self) -> str:
        """Return what will be done."""
        pairs = ", ".join(f"{name}={value}" for name, value in self.spec.variables.items())
        return f"restart {', '.join(self.spec.programs)} with {pairs}"

    def inject(self, operators: Operators) -> None:
        """Deploy the wrong settings."""
        stack = operators.stack
        env = {name: expand(value, stack.topology) for name, value in self.spec.variables.items()}
        for program in self.spec.programs:
            stack.set_override(program, env)
        for members in rounds(self.spec.programs):
            stack.bounce(*members)
            _wait_until_answering(members, operators)


def rounds(programs: Sequence[str]) -> list[tuple[str, ...]]:
    """Group programs by instance, one of each kind at a time: ``api-1 worker-1``, then ``api-2 …``."""
    instances = dict.fromkeys(name.rpartition("-")[2] for name in programs)
    return [tuple(n for n in programs if n.rpartition("-")[2] == instance) for instance in instances]


def _wait_until_answering(members: tuple[str, ...], operators: Operators) -> None:
    """Let one instance come back before the next goes, as a rolling deployment does."""
    deadline = operators.clock.now() + _ANSWER_SECONDS_MAX
    while missing := sorted(set(members) - operators.data_path.answering(members)):
        if operators.clock.now() > deadline:
            raise StackError(
                f"{', '.join(missing)} not back after {_ANSWER_SECONDS_MAX:g} s: `lab logs {missing[0]}`"
            )
        operators.clock.sleep(POLL_SECONDS)
