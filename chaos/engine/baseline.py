"""The baseline: what a stack is like when nothing is broken, and what differs from it now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chaos.domain.waiting import POLL_SECONDS
from chaos.ports import Leftover, Operators

_ABSENT = "nothing"


def take(operators: Operators) -> dict[str, Any]:
    """Return everything a fault could leave behind, as plain JSON values.

    Raises:
        AdapterError: a part did not answer.
    """
    taken = {
        "stack": operators.stack.snapshot(),
        "database": operators.database.snapshot(),
        "redis": operators.cache.snapshot(),
        "silences": operators.alerts.silences(),
        "service proxies": [str(left) for left in operators.service_proxies.leftovers()],
        "monitoring proxies": [str(left) for left in operators.monitoring_proxies.leftovers()],
    }
    plain: dict[str, Any] = json.loads(json.dumps(taken, default=str, sort_keys=True))
    return plain


def differences(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> list[Leftover]:
    """Return every value that differs, by its path.

    A role that is connected now and was not at the baseline is left over; one that is away is
    not, since the service's short connections come and go.
    """
    return list(_compare("", baseline, now))


def _compare(path: str, expected: Any, found: Any) -> Iterator[Leftover]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted(set(expected) | set(found)):
            below = f"{path} {key}".strip()
            yield from _compare(below, expected.get(key, _ABSENT), found.get(key, _ABSENT))
    elif path.endswith("roles_connected"):
        for role in sorted(set(found) - set(expected)):
            yield Leftover(path, f"no connection of {role}", "connected")
    elif expected != found:
        yield Leftover(path, json.dumps(expected), json.dumps(found))


def wait_equal(baseline: Mapping[str, Any], operators: Operators, seconds_max: float) -> list[Leftover]:
    """Return what still differs after at most ``seconds_max``; empty as soon as nothing does."""
    deadline = operators.clock.now() + seconds_max
    while True:
        left = differences(baseline, take(operators))
        if not left or operators.clock.now() > deadline:
            return left
        operators.clock.sleep(POLL_SECONDS)
