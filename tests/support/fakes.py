"""Fakes of the lab's ports: small worlds that behave, not mocks that record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.domain.topology import Topology, embedded_topology
from chaos.errors import AdapterError, DiskFullError, StackError
from chaos.ports import (
    ActiveAlert,
    Leftover,
    LogLine,
    Notification,
    ProbeResult,
    ProgramView,
    RuleTexts,
    Sample,
)

START_UNIX = 1_800_000_000.0


class FakeClock:
    """Time passes only when somebody sleeps; what is due then happens."""

    def __init__(self) -> None:
        self.unix = START_UNIX
        self.due: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.unix

    def sleep(self, seconds: float) -> None:
        self.unix += seconds
        for at, happen in [item for item in self.due if item[0] <= self.unix]:
            self.due.remove((at, happen))
            happen()

    def at(self, seconds_from_start: float, happen: Callable[[], None]) -> None:
        self.due.append((START_UNIX + seconds_from_start, happen))


@dataclass
class FakeProxies:
    """Paths that are open or closed. ``deaf`` takes writes and does nothing: a no-op fault."""

    closed: set[str] = field(default_factory=set)
    toxics: dict[str, str] = field(default_factory=dict)
    deaf: bool = False
    hangs: bool = False
    heals_refused: int = 0
    bypassed: bool = False

    def _answer(self) -> None:
        if self.hangs:
            raise AdapterError("toxiproxy does not answer")

    def disable(self, proxy: str) -> None:
        self._answer()
        if not self.deaf:
            self.closed.add(proxy)

    def enable(self, proxy: str) -> None:
        self._answer()
        self.closed.discard(proxy)

    def add_toxic(self, proxy: str, toxic: str, stream: str, attributes: Mapping[str, int]) -> None:
        self._answer()
        if not self.deaf:
            self.toxics[proxy] = toxic

    def clear_toxics(self, proxy: str) -> None:
        self._answer()
        self.toxics.pop(proxy, None)

    def leftovers(self) -> list[Leftover]:
        self._answer()
        return [Leftover(f"proxy {name}", "enabled", "disabled") for name in sorted(self.closed)] + [
            Leftover(f"proxy {name}", "no toxic", toxic) for name, toxic in sorted(self.toxics.items())
        ]

    def heal(self) -> list[str]:
        if self.heals_refused:
            self.heals_refused -= 1
            raise AdapterError("not yet")
        done = [str(left) for left in self.leftovers()] if not self.hangs else ["restarted"]
        self.hangs = False
        self.closed.clear()
        self.toxics.clear()
        return done

    def idle(self) -> list[str]:
        return ["postgres"] if self.bypassed else []


@dataclass
class FakeMetrics:
    """Answers by expression; what it does not know has no series."""

    answers: dict[str, list[Sample]] = field(default_factory=dict)
    alerts: list[ActiveAlert] = field(default_factory=list)
    names: frozenset[str] = frozenset({"PostgresUnreachable", "Watchdog"})
    down: list[str] = field(default_factory=list)
    connected: int = 1
    series: list[list[tuple[float, float]]] = field(default_factory=list)

    def query(self, expr: str) -> list[Sample]:
        for key, samples in self.answers.items():
            if key in expr:
                return samples
        return []

    def raw_samples(self, selector: str, seconds: float) -> list[list[tuple[float, float]]]:
        return self.series

    def active_alerts(self) -> list[ActiveAlert]:
        return self.alerts

    def alert_names(self) -> frozenset[str]:
        return self.names

    def alertmanagers(self) -> int:
        return self.connected

    def targets_down(self) -> list[str]:
        return self.down


@dataclass
class FakeLogs:
    """True for the queries listed. ``gone`` is a Loki that is stopped."""

    true: set[str] = field(default_factory=set)
    gone: bool = False
    written: dict[str, float] = field(default_factory=dict)  # query part -> seconds from the clock's start

    def truth(self, query: str, start_unix: float) -> bool:
        if self.gone:
            raise AdapterError("loki does not answer")
        return any(key in query for key in self.true)

    def first_unix(self, query: str, start_unix: float) -> float | None:
        if self.gone:
            raise AdapterError("loki does not answer")
        found = [START_UNIX + at for key, at in self.written.items() if key in query]
        return min((at for at in found if at >= start_unix), default=None)

    def lines(self, query: str, start_unix: float, limit: int) -> list[LogLine]:
        return []

    def ready(self) -> None:
        if self.gone:
            raise AdapterError("loki does not answer")


@dataclass
class FakeAlertmanager:
    labels: list[Mapping[str, str]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def firing(self) -> list[Mapping[str, str]]:
        return self.labels

    def silences(self) -> list[str]:
        return list(self.held)

    def expire_silence(self, silence: str) -> None:
        self.held.remove(silence)


@dataclass
class FakePager:
    kept: list[Notification] = field(default_factory=list)

    def since(self, unix: float) -> list[Notification]:
        return [item for item in self.kept if item.received_unix > unix]


@dataclass
class FakeDatabase:
    settings: dict[str, str] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=lambda: {"dcs": 10})
    marker: str = "test"

    def set_setting(self, name: str, value: str) -> None:
        self.settings[name] = value

    def has_settings(self) -> bool:
        return bool(self.settings)

    def reset_settings(self) -> None:
        self.settings.clear()

    def end_connections(self, role: str) -> int:
        return self.roles.pop(role, 0)

    def connections(self) -> Mapping[str, int]:
        return dict(self.roles)

    def is_lab(self, lab_id: str) -> bool:
        return self.marker == lab_id

    def snapshot(self) -> Mapping[str, Any]:
        return {"settings": dict(self.settings), "roles_connected": sorted(self.roles)}


class FakeCache:
    def snapshot(self) -> Mapping[str, str]:
        return {"maxmemory": "64mb"}


@dataclass
class FakeDataPath:
    """The database is reached unless a proxy it goes through is closed or impaired."""

    proxies: FakeProxies
    clock: FakeClock

    def probe(self) -> ProbeResult:
        if "postgres" in self.proxies.closed:
            return ProbeResult(self.clock.now(), ok=False, reason="refused")
        if "postgres" in self.proxies.toxics:
            return ProbeResult(self.clock.now(), ok=False, reason="timeout")
        return ProbeResult(self.clock.now(), ok=True, reason="ok")

    def answering(self, programs: Sequence[str]) -> frozenset[str]:
        return frozenset(programs)

    def service_reasons(self) -> Mapping[str, str | None]:
        found = self.probe()
        return {"api-1": None if found.ok else found.reason}


@dataclass
class FakeStack:
    folder: Path = Path("/nonexistent")
    states: dict[str, str] = field(default_factory=lambda: {"api-1": "RUNNING", "reporting": "STOPPED"})
    written: dict[str, dict[str, str]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    texts: RuleTexts = field(default_factory=lambda: RuleTexts({}, "", ""))
    will_not_repair: bool = False

    @property
    def topology(self) -> Topology:
        return embedded_topology("test", 18000)

    @property
    def state_dir(self) -> Path:
        return self.folder

    def is_running(self) -> bool:
        return True

    def views(self) -> Sequence[ProgramView]:
        return [
            ProgramView(
                name,
                state,
                "STOPPED" if name == "reporting" else "RUNNING",
                1,
                1.0,
                self.details.get(name, ""),
            )
            for name, state in self.states.items()
        ]

    def start(self, name: str) -> None:
        self.states[name] = "RUNNING"

    def stop(self, name: str) -> None:
        self.states[name] = "STOPPED"

    def restart(self, *names: str) -> None:
        self.restarted += names

    def bounce(self, *names: str) -> None:
        self.restarted += names

    def wait_started(self, name: str) -> None:
        self.states[name] = "RUNNING"

    def set_override(self, program: str, env: Mapping[str, str]) -> None:
        self.written[program] = dict(env)

    def clear_overrides(self) -> tuple[str, ...]:
        names = tuple(self.written)
        self.written.clear()
        return names

    def overridden(self) -> tuple[str, ...]:
        return tuple(self.written)

    def launched_overrides(self, program: str) -> Mapping[str, str]:
        return self.written.get(program, {})

    def service_settings(self) -> Mapping[str, str]:
        return {
            "DCS_DATABASE_HOST": "127.0.0.1",
            "DCS_DATABASE_PORT": "18050",
            "DCS_PROBE_INTERVAL_SECONDS": "1",
            "DCS_DATABASE_CONNECT_TIMEOUT_SECONDS": "2",
            "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3",
        }

    def deployed(self) -> RuleTexts:
        return self.texts

    def deployed_timing(self) -> tuple[float, float]:
        return 1.0, 1.0

    def repair(self) -> list[str]:
        if self.will_not_repair:
            raise StackError("postgres does not start")
        self.clear_overrides()
        mended = []
        for name, state in self.states.items():
            wanted = "STOPPED" if name == "reporting" else "RUNNING"
            if state != wanted:
                self.states[name] = wanted
                mended.append(name)
        return mended

    def snapshot(self) -> Mapping[str, Any]:
        return {"programs": dict(self.states), "overrides": dict(self.written)}


@dataclass
class FakeJournal:
    entries: list[tuple[Phase, str]] = field(default_factory=list)
    full: bool = False

    def write(self, phase: Phase, act: str, **detail: Any) -> None:
        if self.full:
            raise DiskFullError
        self.entries.append((phase, act))

    def close(self) -> None:
        return None


@dataclass
class FakeGuardian:
    ref: ProcessRef = field(default_factory=lambda: ProcessRef(1, 1.0))
    dismissed: bool = False
    held_until: float | None = None

    def wait_ready(self) -> None:
        return None

    def beat(self) -> None:
        return None

    def hold(self, until_unix: float) -> None:
        self.held_until = until_unix

    def dismiss(self) -> None:
        self.dismissed = True


@dataclass
class FakeRunBook:
    now: ActiveRun | None = None
    journals: dict[str, FakeJournal] = field(default_factory=dict)

    def active(self) -> ActiveRun | None:
        return self.now

    def set_active(self, run: ActiveRun) -> None:
        self.now = run

    def clear_active(self) -> None:
        self.now = None

    def prune(self) -> None:
        return None

    def journal(self, run_id: str) -> FakeJournal:
        return self.journals.setdefault(run_id, FakeJournal())
