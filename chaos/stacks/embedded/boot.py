"""Starts what can start, as soon as it can: daemons and steps in the order of what each one needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from chaos.errors import StackError
from chaos.stacks.embedded.daemon import Daemon, Probe
from chaos.stacks.embedded.layout import Layout, tail
from chaos.stacks.embedded.supervisor import (
    BACKOFF,
    EXITED,
    FATAL,
    RUNNING,
    STARTING,
    ProcessInfo,
    Supervisor,
)

POLL_SECONDS = 0.05
PROBES_AT_ONCE = 6
LOG_LINES = 15
QUICK_DEATHS_MAX = 2
"""One early death may be a port that was still held; two in a row are a program that does not start."""


@dataclass(frozen=True)
class Step:
    """Work of a start that is no daemon."""

    name: str
    after: tuple[str, ...]
    act: Callable[[], None]


class _Pool:
    """A few daemon threads. Executors join theirs at exit, so one stuck probe would keep the process."""

    def __init__(self, threads: int) -> None:
        self._work: SimpleQueue[tuple[Future[str | None], Probe] | None] = SimpleQueue()
        self._threads = threads
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"probe-{number}", daemon=True).start()

    def submit(self, act: Probe) -> Future[str | None]:
        """Run ``act`` as soon as a thread is free."""
        future: Future[str | None] = Future()
        self._work.put((future, act))
        return future

    def close(self) -> None:
        """Begin nothing any more. What is at work is not waited for."""
        self._closed = True
        for _ in range(self._threads):
            self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, act = item
            if self._closed or not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(act())
            except BaseException as error:  # noqa: BLE001 - told to who asks for the result
                future.set_exception(error)


@dataclass
class _Boot:
    daemons: Mapping[str, Daemon]
    steps: Mapping[str, Step]
    supervisor: Supervisor
    layout: Layout
    began: float
    progress: Callable[[str], None]
    started: set[str] = field(default_factory=set)
    ready: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    deaths: dict[str, set[int]] = field(default_factory=dict)
    probes: dict[str, Future[str | None]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    told: int = 0


def start_order(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return names in waves: each name is one wave after the last of what it needs.

    Raises StackError on a circle or on a need that is nowhere.
    """
    unknown = sorted({need for wanted in needs.values() for need in wanted} - set(needs))
    if unknown:
        raise StackError(f"a daemon waits for {', '.join(unknown)}, which this stack does not have.")
    waves: list[list[str]] = []
    done: set[str] = set()
    while len(done) < len(needs):
        wave = sorted(name for name in needs if name not in done and done.issuperset(needs[name]))
        if not wave:
            raise StackError(f"these wait for each other: {', '.join(sorted(set(needs) - done))}.")
        waves.append(wave)
        done.update(wave)
    return waves


def bring_up(
    daemons: Iterable[Daemon],
    steps: Iterable[Step],
    supervisor: Supervisor,
    layout: Layout,
    *,
    timeout_seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Start everything and return when all of it serves.

    Raises StackError with the last log lines of a program that does not start, or with what each
    one that is not ready said last.
    """
    members = {daemon.name: daemon for daemon in daemons}
    tasks = {step.name: step for step in steps}
    needs = {name: d.after for name, d in members.items()} | {name: s.after for name, s in tasks.items()}
    waves = start_order({name: [need for need in after if need in needs] for name, after in needs.items()})
    boot = _Boot(members, tasks, supervisor, layout, time.monotonic(), progress)
    deadline = boot.began + timeout_seconds
    pool = _Pool(PROBES_AT_ONCE)
    try:
        while not _settled(boot, needs):
            _start_what_can(boot, pool)
            _look(boot, pool)
            _tell(boot, waves)
            if time.monotonic() > deadline:
                raise StackError(_late(boot, needs, timeout_seconds))
            time.sleep(POLL_SECONDS)
    finally:
        pool.close()


def _settled(boot: _Boot, needs: Mapping[str, Sequence[str]]) -> bool:
    return len(boot.ready) == len(needs) and boot.running >= boot.daemons.keys()


def _start_what_can(boot: _Boot, pool: _Pool) -> None:
    known = boot.daemons.keys() | boot.steps.keys()
    for name, daemon in boot.daemons.items():
        if name not in boot.started and boot.ready.keys() >= (set(daemon.after) & known):
            boot.supervisor.start(name)
            boot.started.add(name)
    for name, step in boot.steps.items():
        if name not in boot.started and boot.ready.keys() >= (set(step.after) & known):
            boot.started.add(name)
            boot.probes[name] = pool.submit(partial(_act, step))


def _act(step: Step) -> None:
    step.act()


def _look(boot: _Boot, pool: _Pool) -> None:
    infos = boot.supervisor.infos()
    unknown = boot.started & boot.daemons.keys() - infos.keys()
    if unknown:
        raise StackError(f"supervisord does not know {', '.join(sorted(unknown))}. Run `lab down`, `lab up`.")
    # RUNNING means that it has lived for a second; one that serves and then dies is not up.
    boot.running = {name for name, info in infos.items() if info.state == RUNNING}
    for name in sorted(boot.started & boot.ready.keys() & infos.keys() - boot.running):
        _check_alive(boot, infos[name])
    for name in sorted(boot.started - boot.ready.keys()):
        if name in boot.daemons:
            _check_alive(boot, infos[name])
        future = boot.probes.get(name)
        if future is None or (
            future.done() and name in boot.daemons and not _passed(boot, name, future, infos)
        ):
            boot.probes[name] = pool.submit(boot.daemons[name].ready)
        elif future.done() and name in boot.steps:
            future.result()
            boot.ready[name] = time.monotonic() - boot.began


def _passed(boot: _Boot, name: str, future: Future[str | None], infos: Mapping[str, ProcessInfo]) -> bool:
    reason = future.result()
    if reason is not None:
        boot.reasons[name] = reason
        return False
    # Somebody else's program could answer on this port while ours fails to bind it.
    if infos[name].state not in (STARTING, RUNNING):
        boot.reasons[name] = f"supervisor says {infos[name].state}"
        return False
    boot.ready[name] = time.monotonic() - boot.began
    return True


def _check_alive(boot: _Boot, info: ProcessInfo) -> None:
    if info.state in (BACKOFF, EXITED):
        boot.deaths.setdefault(info.name, set()).add(info.start_unix)
    if info.state == FATAL or len(boot.deaths.get(info.name, ())) >= QUICK_DEATHS_MAX:
        raise StackError(death_notice(boot.layout, info))


def death_notice(layout: Layout, info: ProcessInfo) -> str:
    """Return what is known of a program that ended: its name, its exit and its last log lines."""
    log = layout.logs / f"{info.name}.log"
    lines = "\n".join(f"  {line}" for line in tail(log, LOG_LINES)) or "  (it wrote nothing)"
    how = info.spawn_error or f"exit status {info.exit_status}"
    return f"{info.name} does not start ({info.state}, {how}). Last lines of {log}:\n{lines}"


def _tell(boot: _Boot, waves: Sequence[Sequence[str]]) -> None:
    while boot.told < len(waves) and all(name in boot.ready for name in waves[boot.told]):
        names = waves[boot.told]
        last = max(names, key=lambda name: boot.ready[name])
        boot.told += 1
        boot.progress(f"{boot.ready[last]:5.1f} s  wave {boot.told} ready: {', '.join(names)} (last: {last})")


def _late(boot: _Boot, needs: Mapping[str, Sequence[str]], timeout_seconds: float) -> str:
    unsteady = boot.daemons.keys() & boot.ready.keys() - boot.running
    lines = [f"  {name}: answered, but does not keep running" for name in sorted(unsteady)]
    for name in sorted(needs.keys() - boot.ready.keys()):
        if name not in boot.started:
            lines.append(f"  {name}: waits for {', '.join(n for n in needs[name] if n not in boot.ready)}")
        else:
            lines.append(f"  {name}: {boot.reasons.get(name, 'has not answered yet')}")
    head = f"not ready within {timeout_seconds:g} s. See `lab logs NAME` of:"
    return "\n".join([head, *lines])
