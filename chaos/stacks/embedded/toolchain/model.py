"""What the toolchain is asked for and what it answers."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Version = tuple[int, ...]
State = Literal["working", "done", "missing", "failed"]

_VERSION = re.compile(r"(?<![\d.])v?(\d+(?:\.\d+)+)")
_GO_ARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Tool:
    """A program that is on this machine now. ``source`` says in words where it came from."""

    name: str
    version: str
    path: Path
    source: str

    @property
    def directory(self) -> Path:
        """Where the program's companions are (``initdb`` beside ``postgres``)."""
        return self.path.parent


@dataclass(frozen=True)
class Attempt:
    """One source that was asked, and why it could not help."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class Missing:
    """An optional tool that could not be had. ``cost`` says what is then not possible."""

    reason: str
    cost: str


@dataclass(frozen=True)
class Resolution:
    """What was had, by program name, and which optional tools were not."""

    tools: Mapping[str, Tool]
    missing: Mapping[str, Missing] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tool:
        return self.tools[name]


@dataclass(frozen=True)
class Progress:
    """One thing to tell the person who waits. ``state`` is "working" until the last one of a tool."""

    index: int
    total: int
    tool: str
    message: str
    elapsed_seconds: float
    state: State = "working"


Report = Callable[[Progress], None]


class NotHereError(Exception):
    """A source has not got it; the message says why, for the list of what was tried."""


@dataclass(frozen=True)
class Platform:
    """The machine, in the words that the projects use in their archive names."""

    os: str
    machine: str

    @property
    def go_arch(self) -> str:
        """The machine as Go calls it."""
        return _GO_ARCH.get(self.machine, self.machine)

    @property
    def tag(self) -> str:
        """The tail of a cache entry's name."""
        return f"{self.os}-{self.machine}"


def this_platform() -> Platform:
    """Return the platform this interpreter runs on."""
    return Platform("darwin" if sys.platform == "darwin" else "linux", platform.machine().lower())


def find_version(text: str) -> str | None:
    """Return the first dotted version in ``text``, without a leading v."""
    found = _VERSION.search(text)
    return found.group(1) if found else None


def parse_version(text: str) -> Version:
    """Return ``text`` as numbers that compare; what follows the dotted numbers is dropped."""
    return tuple(int(part) for part in text.split("."))


def ignore_progress(_: Progress) -> None:
    """Report nothing: for callers that only want the answer."""
