"""What the nemesis needs beside the ports of a drill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chaos.domain.journal import ProcessRef


@dataclass(frozen=True)
class Exchange:
    """One conversation over a path. ``error`` is empty, refused, reset, closed or timeout."""

    error: str
    complete: bool
    """Whether the whole answer came."""
    seconds: float
    """From the connection to the end of the answer, or to giving up."""
    first_byte_seconds: float | None
    received_bytes: int
    volume_bytes: int
    """How many bytes went in the direction in which much was to be sent."""
    close_seconds: float = 0.0
    """From the end of the answer to the end of the connection."""


class Paths(Protocol):
    """The service's network paths, tried from outside: the same listeners, other connections."""

    def exchange(self, path: str, *, large: str) -> Exchange:
        """Have one conversation over the path. ``large``: upstream or downstream, which way much is sent."""


class Processes(Protocol):
    """The stack's programs as processes of this machine."""

    def process(self, name: str) -> ProcessRef:
        """Return a program's process; raise when it does not run."""

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a program, proven to be this lab's."""

    def is_stopped(self, name: str) -> bool:
        """Return whether the kernel says that somebody stopped the program."""

    def usage(self, name: str) -> Mapping[str, int]:
        """Return open files and threads of a program."""


class MarkedCache(Protocol):
    """Redis, where everything may be deleted once it is proven to be this lab's."""

    def is_lab(self, lab_id: str) -> bool:
        """Return whether it carries the marker of this lab."""

    def mark(self, lab_id: str) -> None:
        """Write the marker. The caller has proven whose server it is."""

    def flush(self) -> None:
        """Delete everything."""


@dataclass(frozen=True)
class Answered:
    """What an upstream said. ``status`` 0: nothing within the client's patience."""

    status: int
    usable: bool
    """Whether it is what the upstream promises."""
    seconds: float


class Misbehaving(Protocol):
    """The lab's third parties and its relay of S3 events, which can be told to misbehave."""

    def behave(self, upstream: str, behaviour: Mapping[str, float]) -> None:
        """Let it behave so; what is left out is as at its start."""

    def reset(self, upstream: str) -> None:
        """Let it behave as at its start."""

    def ask(self, upstream: str) -> Answered:
        """Ask as the service does, over the same path."""

    def mishaps(self, relay: str, kind: str) -> float:
        """Return how many events have gone wrong in a way so far; raise when it does not tell."""


class Populates(Protocol):
    """The service, asked by hand to look for files."""

    def populate(self, client: str, day: str) -> None:
        """Have a client's day listed, or raise ``LabError``."""
