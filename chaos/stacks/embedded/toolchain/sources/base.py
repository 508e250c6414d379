"""What every source is given, and the two shapes a source has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain.cache import ToolCache
from chaos.stacks.embedded.toolchain.catalogue import Bundle
from chaos.stacks.embedded.toolchain.commands import Finished, run
from chaos.stacks.embedded.toolchain.model import NotHereError, Platform, find_version
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """The getting of one bundle: limits, the cache, and a voice."""

    config: LabConfig
    settings: ToolchainSettings
    cache: ToolCache
    platform: Platform
    cancelled: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = _silent
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Found:
    """Where each program of a bundle is."""

    version: str
    source: str
    programs: dict[str, Path]


class PlaceSource(Protocol):
    """Looks where programs may already be; takes milliseconds and changes nothing."""

    name: str

    def locate(self, bundle: Bundle, job: Job) -> Found:
        """Return where the bundle is, or raise NotHereError."""


class FetchSource(Protocol):
    """Gets programs from elsewhere; may take minutes."""

    name: str

    def fetch(self, bundle: Bundle, into: Path, job: Job) -> str:
        """Put every program of the bundle in ``into`` and return the version, or raise NotHereError."""


def probe_version(program: Path, flag: str, job: Job) -> str:
    """Run ``program`` for its version; that it runs at all shows that machine and libraries fit."""
    finished: Finished = run(
        [str(program), flag], timeout_seconds=job.settings.probe_timeout_seconds, cancelled=job.cancelled
    )
    version = find_version("\n".join(finished.tail))
    if version is None:
        raise NotHereError(
            f"{program} does not tell its version ({finished.text or f'exit {finished.code}'})"
        )
    return version
