"""What the stack knows of one daemon, and what a daemon's file may ask of the stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.config import ROOT, LabConfig
from chaos.domain.topology import Topology
from chaos.errors import StackError
from chaos.stacks.embedded.layout import Layout

Probe = Callable[[], str | None]
"""Returns None when the daemon serves, else why not, in words."""


@dataclass(frozen=True)
class Context:
    """What daemons are rendered from."""

    config: LabConfig
    topology: Topology
    layout: Layout
    tools: Mapping[str, Path]
    missing: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    """Who runs PostgreSQL: another user when this one is root, else None."""
    resend_delay: str = "1m"
    """How soon Prometheus repeats a firing alert, on the lab clock."""

    def tool(self, name: str) -> Path:
        """Return a resolved program."""
        try:
            return self.tools[name]
        except KeyError:
            raise StackError(f"{name} was not resolved. Run `lab doctor` to see what was tried.") from None

    def port(self, name: str) -> int:
        """Return the port a program of this stack listens on."""
        return self.topology.address(name).port

    def secret(self, name: str) -> Path:
        """Return the file with the password of a role, or with another secret."""
        return self.layout.secrets / f"{name}.password"


@dataclass(frozen=True)
class Daemon:
    """One program under supervisor."""

    name: str
    command: Sequence[str]
    ready: Probe
    after: tuple[str, ...] = ()
    """Daemons and steps that must be done before this one starts; the rest starts at once."""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Configuration of its own, by file name under ``conf/``."""
    port: int | None = None
    autostart: bool = True
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10


# Steps of a start that are no daemon; daemons name them in ``after``.
DATABASES = "databases"
REDIS_IDENTITY = "redis-identity"
LANDING = "landing"


def python(*arguments: str) -> list[str]:
    """Return a command that runs a module of this checkout with this interpreter."""
    return [sys.executable, "-m", *arguments]


def python_environment() -> dict[str, str]:
    """Return what such a command needs: its working directory is not the checkout."""
    return {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
