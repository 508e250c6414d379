"""A lab of fakes for the nemesis: paths that look as their toxics make them, processes that come back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from chaos.domain.journal import ProcessRef
from chaos.engine.nemesis.acts import Nemesis, Tools
from chaos.engine.nemesis.ports import Answered, Exchange
from chaos.errors import StackError
from chaos.ledger.history import Entry, History, read_history
from tests.support.fakes import FakeJournal, FakeProxies
from tests.support.world import World

HEALTHY = Exchange(
    error="",
    complete=True,
    seconds=0.004,
    first_byte_seconds=0.002,
    received_bytes=8_000,
    volume_bytes=8_000,
    close_seconds=0.001,
)
NOTHING = replace(HEALTHY, complete=False, first_byte_seconds=None, received_bytes=0)
REFUSED = replace(NOTHING, error="refused", seconds=0.0, volume_bytes=0)
CUT = replace(HEALTHY, error="closed", complete=False, received_bytes=1_460)
LIVE: Mapping[str, Exchange] = {
    "latency": replace(HEALTHY, seconds=1.5, first_byte_seconds=1.5),
    "bandwidth": replace(HEALTHY, seconds=2.0, first_byte_seconds=0.2),
    "slow_close": replace(HEALTHY, close_seconds=2.0),
    "timeout": replace(NOTHING, error="timeout", seconds=4.0),
    "reset_peer": replace(NOTHING, error="reset"),
    "slicer": replace(HEALTHY, seconds=3.0),
    "limit_data": CUT,
}


@dataclass
class FakePaths:
    """What a conversation over a path is like. ``sluggish`` paths look throttled without any fault."""

    proxies: FakeProxies
    sluggish: bool = False

    def exchange(self, path: str, *, large: str) -> Exchange:
        if path in self.proxies.closed:
            return REFUSED
        found = LIVE.get(self.proxies.toxics.get(path, ""), HEALTHY)
        return replace(found, seconds=9.0) if self.sluggish else found


@dataclass
class FakeProcesses:
    """Programs by pid. ``immortal`` ones outlive a SIGKILL, ``sleepless`` ones a SIGSTOP."""

    pids: dict[str, int] = field(default_factory=lambda: {"worker-1": 100, "api-1": 200, "redis": 300})
    stopped: set[str] = field(default_factory=set)
    immortal: bool = False
    sleepless: bool = False
    signals: list[tuple[str, int]] = field(default_factory=list)

    def process(self, name: str) -> ProcessRef:
        if name not in self.pids:
            raise StackError(f"{name} does not run")
        return ProcessRef(self.pids[name], float(self.pids[name]))

    def signal(self, name: str, signum: int) -> None:
        self.signals.append((name, signum))
        if signum == signal.SIGKILL and not self.immortal:
            self.pids[name] += 1  # the process manager starts it again
        elif signum == signal.SIGSTOP and not self.sleepless:
            self.stopped.add(name)
        elif signum == signal.SIGCONT:
            self.stopped.discard(name)

    def is_stopped(self, name: str) -> bool:
        return name in self.stopped

    def usage(self, name: str) -> Mapping[str, int]:
        return {"files": 20, "threads": 10}


@dataclass
class FakeMarkedCache:
    """Redis with this lab's marker. ``deaf`` takes FLUSHALL and keeps everything."""

    marker: str | None = "test"
    deaf: bool = False
    flushed: int = 0

    def is_lab(self, lab_id: str) -> bool:
        return self.marker == lab_id

    def mark(self, lab_id: str) -> None:
        self.marker = lab_id

    def flush(self) -> None:
        self.flushed += 1
        if not self.deaf:
            self.marker = None


@dataclass
class FakeUpstreams:
    """Third parties that behave as told. ``deaf`` ones take it and go on as before."""

    behaviour: dict[str, float] = field(default_factory=dict)
    deaf: bool = False
    spoilt: float = 0.0

    def behave(self, upstream: str, behaviour: Mapping[str, float]) -> None:
        self.behaviour = {} if self.deaf else dict(behaviour)

    def reset(self, upstream: str) -> None:
        self.behaviour = {}

    def mishaps(self, relay: str, kind: str) -> float:
        self.spoilt += sum(self.behaviour.values())
        return self.spoilt

    def ask(self, upstream: str) -> Answered:
        rates = {
            "slow_rate": Answered(0, usable=False, seconds=2.5),
            "error_rate": Answered(500, usable=False, seconds=0.1),
            "garbage_rate": Answered(200, usable=False, seconds=0.1),
            "rate_limit_rate": Answered(429, usable=False, seconds=0.1),
        }
        found = [answered for rate, answered in rates.items() if self.behaviour.get(rate)]
        return found[0] if found else Answered(200, usable=True, seconds=0.1)


class Bench:
    """A nemesis and everything it touches."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.paths = FakePaths(self.world.proxies)
        self.processes = FakeProcesses()
        self.cache = FakeMarkedCache()
        self.upstreams = FakeUpstreams()
        self.journal = FakeJournal()
        self.stopping = threading.Event()
        self.path = folder / "history.jsonl"
        self.history = History(self.path)
        self.nemesis = Nemesis(
            Tools(
                self.world.operators,
                self.paths,
                self.processes,
                self.cache,
                self.upstreams,
                self.history,
                self.journal,
                self.stopping,
                threading.Lock(),
            )
        )

    def told(self) -> list[Entry]:
        """Return the history so far."""
        return list(read_history(self.path))
