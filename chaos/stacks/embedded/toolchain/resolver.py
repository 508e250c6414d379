"""Finds every program, asking the sources in their order; the slow ones side by side."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from chaos.config import LabConfig
from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain.cache import ToolCache
from chaos.stacks.embedded.toolchain.catalogue import ALL_TOOLS, BUNDLE_OF, Bundle
from chaos.stacks.embedded.toolchain.model import (
    Attempt,
    Missing,
    NotHereError,
    Progress,
    Report,
    Resolution,
    State,
    Tool,
    ignore_progress,
    this_platform,
)
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings
from chaos.stacks.embedded.toolchain.sources.apt import AptSource
from chaos.stacks.embedded.toolchain.sources.base import FetchSource, Found, Job, PlaceSource, probe_version
from chaos.stacks.embedded.toolchain.sources.cached import CacheSource
from chaos.stacks.embedded.toolchain.sources.gobuild import GoSource
from chaos.stacks.embedded.toolchain.sources.path import PathSource
from chaos.stacks.embedded.toolchain.sources.release import ReleaseSource
from chaos.stacks.embedded.toolchain.sources.wheel import WheelSource

PLACES: tuple[PlaceSource, ...] = (PathSource(), CacheSource(), WheelSource())
FETCHERS: tuple[FetchSource, ...] = (AptSource(), ReleaseSource(), GoSource())
_FETCHES_AT_ONCE = 6


def new_job(config: LabConfig, settings: ToolchainSettings | None = None) -> Job:
    """Return what the sources need, from the lab's settings."""
    platform = this_platform()
    return Job(config, settings or ToolchainSettings.load(), ToolCache(config.cache_dir, platform), platform)


def locate(bundle: Bundle, job: Job, attempts: list[Attempt]) -> Found | None:
    """Look where the bundle may already be; why not goes to ``attempts``."""
    for source in PLACES:
        if not job.settings.allows(source.name):
            attempts.append(Attempt(source.name, "left out by LAB_TOOL_SOURCES"))
            continue
        try:
            return source.locate(bundle, job)
        except NotHereError as error:
            attempts.append(Attempt(source.name, str(error)))
    return None


def fetch(bundle: Bundle, job: Job, attempts: list[Attempt]) -> Found | None:
    """Get the bundle into the cache; why not goes to ``attempts``."""
    settings = job.settings

    def waiting() -> None:
        job.say("waiting for another process that is getting it")

    with job.cache.lock(bundle.name, settings.lock_timeout_seconds, waiting):
        if settings.allows("cache"):
            try:  # another process may have been quicker
                return CacheSource().locate(bundle, job)
            except NotHereError:
                pass
        for source in FETCHERS:
            if not settings.allows(source.name):
                attempts.append(Attempt(source.name, "left out by LAB_TOOL_SOURCES"))
                continue
            try:
                return _fetch_from(source, bundle, job)
            except (NotHereError, OSError) as error:
                attempts.append(Attempt(source.name, str(error)))
    return None


def _fetch_from(source: FetchSource, bundle: Bundle, job: Job) -> Found:
    if job.cancelled.is_set():
        raise NotHereError("interrupted")
    with job.cache.staging(bundle.name) as folder:
        version = source.fetch(bundle, folder, job)
        unfit = bundle.why_unfit(tuple(int(part) for part in version.split(".")))
        if unfit:
            raise NotHereError(f"it has {version}, {unfit}")
        for program in bundle.programs:
            (folder / program).chmod(0o755)
        probe_version(folder / bundle.programs[0], bundle.version_flag, job)
        entry = job.cache.commit(bundle.name, version, source.name, folder)
    programs = {program: entry.directory / program for program in bundle.programs}
    return Found(version, f"{source.name}, now cached", programs)


class _Run:
    """One call of resolve_all: who is reported to, and what came of each bundle."""

    def __init__(self, bundles: Sequence[Bundle], job: Job, report: Report) -> None:
        self._bundles = bundles
        self._job = job
        self._report = report
        self._one_voice = threading.Lock()
        self.found: dict[str, Found] = {}
        self.failed: dict[str, list[Attempt]] = {}

    def _say(self, bundle: Bundle, message: str, started: float, state: State = "working") -> None:
        number = self._bundles.index(bundle) + 1
        elapsed = time.monotonic() - started
        with self._one_voice:
            progress = Progress(number, len(self._bundles), bundle.name, message, elapsed)
            self._report(dataclasses.replace(progress, state=state))

    def _one(self, bundle: Bundle, attempts: list[Attempt]) -> None:
        started = time.monotonic()
        job = dataclasses.replace(self._job, say=lambda message: self._say(bundle, message, started))
        found = fetch(bundle, job, attempts)
        if found is None:
            self.failed[bundle.name] = attempts
            if not job.cancelled.is_set():
                job.cache.remember_missing(bundle.name, "; ".join(map(str, attempts)))
            state: State = "missing" if bundle.optional else "failed"
            self._say(bundle, "; ".join(map(str, attempts)), started, state)
        else:
            self.found[bundle.name] = found
            job.cache.forget_missing(bundle.name)
            self._say(bundle, f"{found.version} from {found.source}", started, "done")

    def _given_up(self, bundle: Bundle, attempts: list[Attempt]) -> bool:
        """Tell whether an optional bundle was tried in vain a moment ago: a warm start does not wait."""
        limit = self._job.settings.missing_retry_seconds
        reason = self._job.cache.recently_missing(bundle.name, limit) if bundle.optional else None
        if reason is None:
            return False
        attempts.append(Attempt("tried less than", f"{limit:g} s ago: {reason}"))
        self.failed[bundle.name] = attempts[-1:]
        return True

    def all(self) -> None:
        """Look everywhere first, which is quick, then get what is not here side by side."""
        absent: list[tuple[Bundle, list[Attempt]]] = []
        for bundle in self._bundles:
            started, attempts = time.monotonic(), list[Attempt]()
            found = locate(bundle, self._job, attempts)
            if found is None and self._given_up(bundle, attempts):
                continue
            if found is None:
                absent.append((bundle, attempts))
                continue
            self.found[bundle.name] = found
            self._say(bundle, f"{found.version} from {found.source}", started, "done")
        if not absent:
            return
        with ThreadPoolExecutor(_FETCHES_AT_ONCE, thread_name_prefix="tool") as pool:
            futures: list[Future[None]] = [pool.submit(self._one, *item) for item in absent]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # Ctrl-C included: what runs is told to end, so that the pool can close.
                self._job.cancelled.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def resolve_all(
    names: Iterable[str],
    config: LabConfig,
    report: Report = ignore_progress,
    settings: ToolchainSettings | None = None,
) -> Resolution:
    """Return where every program in ``names`` is, getting those that are not on the machine.

    Optional ones that cannot be had are in ``missing``. Raises ToolchainError, naming every daemon, what
    was tried and what to do, when one that the stack needs cannot be had.
    """
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in BUNDLE_OF]
    if unknown:
        msg = f"No such tool: {', '.join(unknown)}. The tools are {', '.join(ALL_TOOLS)}."
        raise ToolchainError(msg)
    bundles = list(dict.fromkeys(BUNDLE_OF[name] for name in wanted))
    run = _Run(bundles, new_job(config, settings), report)
    run.all()
    fatal = {b.name: run.failed[b.name] for b in bundles if b.name in run.failed and not b.optional}
    if fatal:
        raise ToolchainError(_explain(fatal))
    tools: dict[str, Tool] = {}
    missing: dict[str, Missing] = {}
    for name in wanted:
        bundle = BUNDLE_OF[name]
        found = run.found.get(bundle.name)
        if found is not None:
            tools[name] = Tool(name, found.version, found.programs[name], found.source)
        else:
            reason = "; ".join(map(str, run.failed[bundle.name]))
            missing[name] = Missing(reason, bundle.cost or "")
    return Resolution(tools, missing)


def resolve(
    name: str, config: LabConfig, report: Report = ignore_progress, settings: ToolchainSettings | None = None
) -> Tool:
    """Return one program; an optional one that cannot be had raises too."""
    resolution = resolve_all([name], config, report, settings)
    if name in resolution.missing:
        absent = resolution.missing[name]
        raise ToolchainError(f"{name} could not be had ({absent.reason}). Without it: {absent.cost}.")
    return resolution[name]


def _explain(failed: dict[str, list[Attempt]]) -> str:
    lines = []
    for name, attempts in failed.items():
        lines.append(f"{name} could not be had. Tried:")
        lines += [f"  - {attempt}" for attempt in attempts]
    lines.append(
        "What to do: allow this machine to reach PyPI and a Go module proxy (or GitHub), or set "
        "LAB_RELEASE_BASE_URL to a mirror, or put a fitting version on PATH. `lab doctor` shows each."
    )
    return "\n".join(lines)
