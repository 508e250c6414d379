"""One file per daemon. Each has ``daemons(context)``; a new file here is a new daemon."""

from __future__ import annotations

import importlib
import pkgutil

from chaos.stacks.embedded.daemon import Context, Daemon


def all_daemons(context: Context) -> tuple[Daemon, ...]:
    """Return every daemon that can run here, without those whose program could not be had."""
    found: list[Daemon] = []
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found += importlib.import_module(f"{__name__}.{module.name}").daemons(context)
    return tuple(daemon for daemon in found if daemon.name not in context.missing)
