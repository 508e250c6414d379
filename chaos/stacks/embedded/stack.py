"""The embedded stack: real daemons as processes of this machine, under one supervisor."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from chaos.config import LabConfig
from chaos.domain.topology import Address, Topology
from chaos.domain.watching import parse_prometheus
from chaos.errors import StackError
from chaos.ports import ProgramView, RuleTexts
from chaos.stacks.embedded import assembly, databases, identity, inspection, launcher, mending, processes
from chaos.stacks.embedded.boot import bring_up
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.daemons._service import settings
from chaos.stacks.embedded.inspection import ProgramState
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.lifecycle import Lifecycle, Say, quiet
from chaos.stacks.embedded.supervisor import RUNNING, Supervisor
from chaos.stacks.embedded.toolchain import Report

READY_TIMEOUT_SECONDS = 30.0
START_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.05
STOP_SLACK_SECONDS = 10.0


class EmbeddedStack:
    """One lab's daemons, their monitoring configured from the lab's ``observability_dir``."""

    def __init__(self, config: LabConfig) -> None:
        self.config = config
        self.layout = Layout(config.state_dir)
        self.supervisor = Supervisor(self.layout)
        self._life = Lifecycle(config, self.layout, self.supervisor, config.observability_dir)

    @property
    def identity(self) -> identity.Identity:
        """Who this lab is; on first use it claims its port block."""
        return identity.establish(self.config)

    @property
    def topology(self) -> Topology:
        """Every address by logical name."""
        return self._life.topology

    @property
    def state_dir(self) -> Path:
        """The directory that belongs to this lab."""
        return self.layout.root

    # -- life ---------------------------------------------------------------------------------

    def is_running(self) -> bool:
        """Say whether this lab's supervisord answers."""
        return self._life.is_running()

    def is_current(self) -> bool:
        """Say whether the running stack was started from this code and configuration."""
        return self._life.is_current()

    def up(self, progress: Say = quiet, report: Report | None = None) -> None:
        """Start everything and wait until all of it serves. Harmless when it does already.

        ``report`` shows how programs are fetched; without it ``progress`` does.
        """
        self._life.up(progress, report)

    def down(self, progress: Say = quiet) -> None:
        """Stop everything; no process of this lab is left. Harmless when nothing runs."""
        self._life.down(progress)

    def versions(self) -> Mapping[str, str]:
        """Return the version of each program the stack was started with, by what it is called."""
        started = assembly.read_started(self.layout)
        return dict(sorted(started.versions.items())) if started else {}

    def repair(self, progress: Say = quiet) -> list[str]:
        """Set the baseline of processes and overrides, needing no record. Return what was mended."""
        if identity.load(self.layout) is None:
            return []
        return mending.repair(self, progress)

    def end_strays(self) -> list[str]:
        """End this lab's processes that no supervisor looks after."""
        return self._life.end_strays(quiet, self.supervisor.pid())

    def wait_all_ready(self, timeout_seconds: float) -> None:
        """Start what should run and wait until all of it serves."""
        self._life.bring_all_up(quiet, timeout_seconds)

    # -- programs -----------------------------------------------------------------------------

    def daemons(self) -> tuple[Daemon, ...]:
        """Return the daemons of the last start; none when there was none."""
        return self._life.daemons()

    def programs(self) -> list[ProgramState]:
        """Return every program of the last start, by name."""
        infos = self.supervisor.infos() if self.is_running() else {}
        return inspection.program_states(self.daemons(), infos, assembly.read_started(self.layout))

    def views(self) -> Sequence[ProgramView]:
        """Return the same as the engine wants it."""
        return [
            ProgramView(p.name, p.state, p.expected_state, p.pid or 0, p.uptime_seconds, p.detail)
            for p in self.programs()
        ]

    def start(self, name: str) -> None:
        """Start a program and wait until it is ready."""
        self._wait_ready([name])

    def stop(self, *names: str) -> None:
        """Stop programs side by side and wait until they are gone."""
        daemons = self.daemons()
        members = [assembly.by_name(daemons, name) for name in names]
        self._wake(names)
        with ThreadPoolExecutor(max_workers=max(1, len(members))) as pool:
            list(
                pool.map(lambda d: self.supervisor.stop(d.name, d.stop_seconds + STOP_SLACK_SECONDS), members)
            )

    def _wake(self, names: Sequence[str]) -> None:
        # A process that somebody stopped does not hear that it is to end.
        infos = self.supervisor.infos()
        for pid in [infos[name].pid for name in names if name in infos]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if pid is not None and processes.is_stopped(process := psutil.Process(pid)):
                    processes.send(process, signal.SIGCONT)

    def restart(self, *names: str) -> None:
        """Restart programs side by side and wait until they are ready."""
        self.stop(*names)
        self._wait_ready(names)

    def bounce(self, *names: str) -> None:
        """Restart programs without waiting for readiness: a fault may keep them from it."""
        self.stop(*names)
        for name in names:
            self.supervisor.start(name)

    def _wait_ready(self, names: Sequence[str]) -> None:
        daemons = self.daemons()
        members = [replace(assembly.by_name(daemons, name), after=()) for name in names]
        bring_up(
            members, [], self.supervisor, self.layout,
            timeout_seconds=READY_TIMEOUT_SECONDS, progress=quiet,
        )  # fmt: skip

    def wait_started(self, name: str) -> None:
        """Return once a program has been up for a while, ready or not."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (state := self.supervisor.info(name).state) != RUNNING:
            if time.monotonic() > deadline:
                raise StackError(
                    f"{name} is {state} {START_TIMEOUT_SECONDS:g} s after its start: see `lab logs {name}`"
                )
            time.sleep(POLL_SECONDS)

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a program, proven to be this lab's."""
        process = self.supervisor.process(name, self.config.id, self.layout.root)
        if not processes.send(process, signum):
            raise StackError(f"{name} has just ended. Try again.")

    def listens(self, name: str) -> bool:
        """Say whether a program's port is held by its own process, proven to be this lab's."""
        port = assembly.by_name(self.daemons(), name).port
        info = self.supervisor.infos().get(name)
        if info is None or info.pid is None:
            return False
        try:
            head = self.supervisor.process(name, self.config.id, self.layout.root)
        except StackError:  # it has just ended, or carries no marker
            return False
        return any(port in processes.listening_ports(pid) for pid in processes.tree(head.pid))

    def snapshot(self) -> dict[str, Any]:
        """Return program states, overrides, stray processes and state files, for comparison."""
        return inspection.snapshot(self.layout, self.identity, self.programs(), self.supervisor.pid())

    # -- overrides ----------------------------------------------------------------------------

    def set_override(self, program: str, env: Mapping[str, str]) -> None:
        """Let the next start of a program see other environment variables."""
        launcher.set_override(self.layout, program, env)

    def overrides(self) -> dict[str, dict[str, str]]:
        """Return what lies over which program now."""
        return launcher.overrides(self.layout)

    def clear_overrides(self) -> tuple[str, ...]:
        """Drop all overrides and return the programs that had one. Nothing is restarted."""
        return launcher.clear_overrides(self.layout)

    def overridden(self) -> tuple[str, ...]:
        """Return the programs that have an override, written or launched with."""
        launched = [d.name for d in self.daemons() if launcher.launched(self.layout, d.name)[1]]
        return tuple(dict.fromkeys([*self.overrides(), *launched]))

    def launched_overrides(self, program: str) -> Mapping[str, str]:
        """Return the overrides that the running process was started with."""
        pid, overlaid = launcher.launched(self.layout, program)
        return overlaid if pid is not None and pid == self.supervisor.info(program).pid else {}

    # -- what others need to know -------------------------------------------------------------

    def service_settings(self) -> Mapping[str, str]:
        """Return the service's settings (``DCS_*`` of api-1) at the baseline."""
        return settings(self._life.context, "api-1")

    def admin_dsn(self) -> Mapping[str, Any]:
        """Return libpq keywords of PostgreSQL's superuser over the unix socket."""
        return databases.admin_dsn(self.layout, self.topology.address("postgres").port)

    def redis_address(self) -> Address:
        """Return where Redis itself listens."""
        return self.topology.address("redis")

    def tool(self, name: str) -> Path:
        """Return a program's place on this machine."""
        return self._life.context.tool(name)

    def missing(self) -> Mapping[str, str]:
        """Return the optional daemons that could not be had, with what that costs."""
        return self._life.context.missing

    def deployed(self) -> RuleTexts:
        """Return the configuration its daemons load."""
        conf = self.layout.conf
        rules = sorted((conf / "prometheus" / "rules").glob("*.yml"))
        return RuleTexts(
            rules={path.name: path.read_text("utf-8") for path in rules},
            alertmanager=(conf / "alertmanager" / "alertmanager.yml").read_text("utf-8"),
            prometheus=(conf / "prometheus" / "prometheus.yml").read_text("utf-8"),
        )

    def deployed_timing(self) -> tuple[float, float]:
        """Return the scrape and the evaluation interval that are deployed, in seconds."""
        timing = parse_prometheus(self.deployed().prometheus)
        return timing.scrape_seconds, timing.evaluation_seconds
