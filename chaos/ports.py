"""What the engine needs of the outside, as small protocols. Adapters and stacks implement them.

Every call has a deadline of its own and raises :class:`chaos.errors.LabError` when the other side
does not hold what was asked; none returns a boolean for "it did not work".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.domain.topology import Topology


@dataclass(frozen=True)
class Sample:
    """One series of an instant query: labels, value, and the time of the value (unix seconds)."""

    labels: Mapping[str, str]
    value: float
    at_unix: float


@dataclass(frozen=True)
class ActiveAlert:
    """An alert that Prometheus holds as pending or firing."""

    name: str
    state: str
    labels: Mapping[str, str]
    active_at_unix: float


@dataclass(frozen=True)
class Notification:
    """One webhook as the receiver got it."""

    id: int
    receiver: str
    received_unix: float
    payload: Mapping[str, Any]

    @property
    def status(self) -> str:
        """``firing`` or ``resolved``, of the group."""
        return str(self.payload.get("status", ""))

    def alerts(self, name: str) -> list[Mapping[str, Any]]:
        """Return the alerts of that name in this notification."""
        return [a for a in self.payload.get("alerts", []) if a.get("labels", {}).get("alertname") == name]

    @property
    def names(self) -> tuple[str, ...]:
        """The alert names in this notification, each once, in order."""
        return tuple(dict.fromkeys(a["labels"]["alertname"] for a in self.payload.get("alerts", [])))


@dataclass(frozen=True)
class ProbeResult:
    """One attempt to use a path as the service does. ``at_unix`` is when the attempt began."""

    at_unix: float
    ok: bool
    reason: str
    took_seconds: float = 0.0


@dataclass(frozen=True)
class LogLine:
    """One line of a log: when it was written, its text, and its labels and metadata."""

    at_unix: float
    text: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class RuleTexts:
    """The configuration that is deployed, as its daemons report or load it."""

    rules: Mapping[str, str]  # file name -> YAML text
    alertmanager: str
    prometheus: str


@dataclass(frozen=True)
class ProgramView:
    """What the process manager says of one program. Times in seconds, sizes in bytes."""

    name: str
    state: str
    expected_state: str
    pid: int
    uptime_seconds: float
    detail: str = ""  # what is wrong with it in spite of its state, such as being stopped by a signal


@dataclass(frozen=True)
class Leftover:
    """Something that differs from the baseline."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


class Clock(Protocol):
    """Time. ``sleep`` exists so that polling can be tested without waiting."""

    def now(self) -> float:
        """Return unix seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Proxies(Protocol):
    """One Toxiproxy, with every write read back."""

    def disable(self, proxy: str) -> None:
        """Close the path: new connections are refused, existing ones are cut."""

    def enable(self, proxy: str) -> None:
        """Open the path."""

    def add_toxic(self, proxy: str, toxic: str, stream: str, attributes: Mapping[str, int]) -> None:
        """Impair the path, and cut existing connections so that all traffic meets the toxic."""

    def clear_toxics(self, proxy: str) -> None:
        """Remove every toxic of the path."""

    def leftovers(self) -> list[Leftover]:
        """Return what differs from the baseline: all proxies there, enabled, without toxics."""

    def heal(self) -> list[str]:
        """Set the baseline whatever it takes, restarting the proxy if it hangs. Return what was done."""

    def idle(self) -> list[str]:
        """Return the proxies that no connection goes through now or went through a moment ago."""


class Metrics(Protocol):
    """Prometheus."""

    def query(self, expr: str) -> list[Sample]:
        """Evaluate an instant query; a scalar becomes one sample without labels."""

    def raw_samples(self, selector: str, seconds: float) -> list[list[tuple[float, float]]]:
        """Return the raw (unix time, value) samples of each series of the last ``seconds``."""

    def active_alerts(self) -> list[ActiveAlert]:
        """Return pending and firing alerts."""

    def alert_names(self) -> frozenset[str]:
        """Return the alerts that the loaded rules define."""

    def alertmanagers(self) -> int:
        """Return how many Alertmanagers Prometheus is connected to."""

    def targets_down(self) -> list[str]:
        """Return the targets whose last scrape failed or has not happened."""


class Logs(Protocol):
    """Loki."""

    def truth(self, query: str, start_unix: float) -> bool:
        """Return whether a log query finds a line since then, or a metric query is true now."""

    def lines(self, query: str, start_unix: float, limit: int) -> list[LogLine]:
        """Return the newest lines since then, oldest first."""

    def first_unix(self, query: str, start_unix: float) -> float | None:
        """Return when the first line since then that a log query finds was written, if there is one."""

    def ready(self) -> None:
        """Raise unless Loki answers and has ingested a line lately."""


class Alerts(Protocol):
    """Alertmanager."""

    def firing(self) -> list[Mapping[str, str]]:
        """Return the label sets of all alerts it holds, silenced or not."""

    def silences(self) -> list[str]:
        """Return the ids of silences that are active or pending."""

    def expire_silence(self, silence: str) -> None:
        """End a silence."""


class Notifications(Protocol):
    """The pager, where every receiver's webhooks arrive."""

    def since(self, unix: float) -> list[Notification]:
        """Return the notifications that arrived after ``unix``, oldest first."""


class Database(Protocol):
    """The database server, as its administrator sees it over its local socket."""

    def set_setting(self, name: str, value: str) -> None:
        """Write a setting that the next start of the server takes up."""

    def has_settings(self) -> bool:
        """Return whether any setting was written so."""

    def reset_settings(self) -> None:
        """Drop every setting that was written so."""

    def end_connections(self, role: str) -> int:
        """End the connections of a role and return how many there were."""

    def connections(self) -> Mapping[str, int]:
        """Return open client connections per role."""

    def is_lab(self, lab_id: str) -> bool:
        """Return whether the server carries the marker of this lab."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return settings, roles and waiting locks, for comparison."""


class Cache(Protocol):
    """Redis, as its administrator sees it."""

    def snapshot(self) -> Mapping[str, str]:
        """Return its configuration, for comparison."""


class DataPath(Protocol):
    """The service's own way to its database, tried from outside."""

    def probe(self) -> ProbeResult:
        """Connect as the service would now and say what happened."""

    def answering(self, programs: Sequence[str]) -> frozenset[str]:
        """Return those of the service's programs that answer ``/health/live``."""

    def service_reasons(self) -> Mapping[str, str | None]:
        """Return, per API, why its database is down as ``/health`` tells, or None where it is up."""


class Journal(Protocol):
    """The write-ahead record of one run."""

    def write(self, phase: Phase, act: str, **detail: Any) -> None:
        """Record what is about to be done; on disk when this returns."""

    def close(self) -> None:
        """Release the file."""


class Guardian(Protocol):
    """The process that heals when the run dies."""

    def beat(self) -> None:
        """Say that the run is alive.

        Raises:
            LabError: the guardian is gone, so nothing may be broken any more.
        """

    def dismiss(self) -> None:
        """Say that there is nothing left to heal, and wait until it has ended."""


class HoldingGuardian(Guardian, Protocol):
    """A guardian as the session sees it."""

    @property
    def ref(self) -> ProcessRef:
        """The guardian's process."""

    def wait_ready(self) -> None:
        """Return once the guardian watches; raise when it did not start."""

    def hold(self, until_unix: float) -> None:
        """Let the guardian keep the lab as it is until then, without this process."""


class RunBook(Protocol):
    """Where a lab keeps its runs."""

    def active(self) -> ActiveRun | None:
        """Return the run that was begun and not closed, if any."""

    def set_active(self, run: ActiveRun) -> None:
        """Record the run that holds the lab, before it does anything."""

    def clear_active(self) -> None:
        """Record that nothing holds the lab."""

    def journal(self, run_id: str) -> Journal:
        """Open the journal of a run, new or not."""

    def prune(self) -> None:
        """Drop the oldest runs beyond a limit."""


class Stack(Protocol):
    """A running set of daemons."""

    @property
    def topology(self) -> Topology:
        """Every address by logical name."""

    @property
    def state_dir(self) -> Path:
        """The directory that belongs to this stack's lab."""

    def is_running(self) -> bool:
        """Return whether the process manager of this stack answers."""

    def views(self) -> Sequence[ProgramView]:
        """Return what runs and what should."""

    def start(self, name: str) -> None:
        """Start a program and wait until it is ready."""

    def stop(self, name: str) -> None:
        """Stop a program and wait until it has ended."""

    def restart(self, *names: str) -> None:
        """Restart programs together and wait until they are ready."""

    def bounce(self, *names: str) -> None:
        """Restart programs together without waiting for readiness: a fault may keep them from it."""

    def wait_started(self, name: str) -> None:
        """Return once a program has been up for a while, ready or not."""

    def set_override(self, program: str, env: Mapping[str, str]) -> None:
        """Let the next start of a program see other environment variables."""

    def clear_overrides(self) -> tuple[str, ...]:
        """Drop all overrides and return the programs that had one."""

    def overridden(self) -> tuple[str, ...]:
        """Return the programs that have an override, written or launched with."""

    def launched_overrides(self, program: str) -> Mapping[str, str]:
        """Return the overrides the running process was started with."""

    def service_settings(self) -> Mapping[str, str]:
        """Return the service's environment at the baseline."""

    def deployed(self) -> RuleTexts:
        """Return the configuration its daemons run with."""

    def deployed_timing(self) -> tuple[float, float]:
        """Return the scrape and the evaluation interval that are deployed, in seconds."""

    def repair(self) -> list[str]:
        """Set the baseline of processes and overrides, needing no record. Return what was mended."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return program states, overrides, stray processes and state files, for comparison."""


@dataclass(frozen=True)
class Operators:
    """Everything a fault, a signal or a drill may touch."""

    stack: Stack
    service_proxies: Proxies
    monitoring_proxies: Proxies
    metrics: Metrics
    logs: Logs
    alerts: Alerts
    notifications: Notifications
    database: Database
    cache: Cache
    data_path: DataPath
    clock: Clock
