"""What an operator does about a cause. Each verb sets the baseline of what it names.

A remedy is never the inverse of a fault's act: it says how things should be, so it is harmless
when they already are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chaos.errors import UsageError
from chaos.faults.service_environment import rounds
from chaos.ports import Operators

_SERVICE = ("api-1", "api-2", "worker-1", "worker-2")


def _restore_network_path(operators: Operators, proxy: str) -> None:
    operators.service_proxies.clear_toxics(proxy)
    operators.service_proxies.enable(proxy)


def _restore_service_settings(operators: Operators, _argument: str) -> None:
    operators.stack.clear_overrides()
    for members in rounds(_SERVICE):
        operators.stack.restart(*members)


def _listen_on_tcp(operators: Operators, program: str) -> None:
    operators.database.reset_settings()
    operators.stack.restart(program)


def _stop_restart_loop(operators: Operators, program: str) -> None:
    operators.stack.clear_overrides()
    operators.stack.restart(program)


def _end_leaking_client(operators: Operators, program: str) -> None:
    operators.stack.stop(program)
    operators.database.end_connections(program)


REMEDIES: Mapping[str, Callable[[Operators, str], None]] = {
    "restore_network_path": _restore_network_path,
    "restore_service_settings": _restore_service_settings,
    "listen_on_tcp": _listen_on_tcp,
    "stop_restart_loop": _stop_restart_loop,
    "end_leaking_client": _end_leaking_client,
}


def apply_remedy(text: str, operators: Operators) -> None:
    """Do what ``"verb argument"`` says.

    Raises:
        UsageError: there is no such verb.
    """
    verb, _, argument = text.partition(" ")
    if verb not in REMEDIES:
        raise UsageError(f"no remedy {verb!r}; there are {', '.join(REMEDIES)}")
    REMEDIES[verb](operators, argument.strip())
