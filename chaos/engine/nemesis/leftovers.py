"""What the run has left behind in a stack that works again: compared with the same stack before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chaos.domain.waiting import POLL_SECONDS
from chaos.engine.nemesis.ports import Processes
from chaos.engine.nemesis.table import SERVICE
from chaos.errors import LabError
from chaos.ports import Clock, Operators

SLACK: Mapping[str, int] = {"files": 24, "threads": 16, "connections": 16}
"""What pools may have grown by: they fill as they are used, and never shrink."""
SETTLE_SECONDS_MAX = 30.0

Usage = Mapping[str, Mapping[str, int]]


def usage(operators: Operators, processes: Processes) -> Usage:
    """Return open files and threads of each program of the service, and its database connections together."""
    found = {name: processes.usage(name) for name in SERVICE}
    connections = {role: count for role, count in operators.database.connections().items() if role == "dcs"}
    return found | {"the service": {"connections": sum(connections.values())}}


def grown(before: Usage, now: Usage) -> list[str]:
    """Return what is more than it was, beyond the slack."""
    return [
        f"{name} has {count} {what}, {before[name][what]} before"
        for name, counts in now.items()
        for what, count in counts.items()
        if count > before[name][what] + SLACK[what]
    ]


def left_over(
    operators: Operators, processes: Processes, before: Usage, locks: Callable[[], Sequence[str]]
) -> list[str]:
    """Return what is left over once everything had ``SETTLE_SECONDS_MAX`` to go away by itself."""
    clock: Clock = operators.clock
    deadline = clock.now() + SETTLE_SECONDS_MAX
    while True:
        found = _found(operators, processes, before, locks)
        if not found or clock.now() > deadline:
            return found
        clock.sleep(POLL_SECONDS * 5)


def _found(
    operators: Operators, processes: Processes, before: Usage, locks: Callable[[], Sequence[str]]
) -> list[str]:
    try:
        found = [str(left) for left in operators.service_proxies.leftovers()]
        found += [str(left) for left in operators.monitoring_proxies.leftovers()]
        found += [
            f"{view.name} is {view.state} {view.detail}".strip()
            for view in operators.stack.views()
            if view.name in SERVICE and (view.state != view.expected_state or view.detail)
        ]
        found += locks()
        return found + grown(before, usage(operators, processes))
    except LabError as error:
        return [str(error)]
