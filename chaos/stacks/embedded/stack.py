"""The embedded stack: real daemons as processes of this machine, under one supervisor."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.config import LabConfig
from chaos.domain.topology import Address, Topology, embedded_topology
from chaos.errors import LabBusyError, StackError
from chaos.ports import ProgramView, RuleTexts
from chaos.stacks.embedded import (
    assembly,
    databases,
    identity,
    inspection,
    launcher,
    mending,
    orphans,
    processes,
)
from chaos.stacks.embedded.boot import Step, bring_up
from chaos.stacks.embedded.daemon import DATABASES, REDIS_IDENTITY, Context, Daemon
from chaos.stacks.embedded.daemons import all_daemons
from chaos.stacks.embedded.daemons._service import settings
from chaos.stacks.embedded.inspection import ProgramState
from chaos.stacks.embedded.layout import Layout, require_disk
from chaos.stacks.embedded.readiness import redis_command
from chaos.stacks.embedded.supervisor import Supervisor
from chaos.stacks.rendering import OBSERVABILITY

REDIS_MARKER = "lab:identity"
SHUT_DOWN_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 30.0
READY_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.1

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Report nothing."""


class EmbeddedStack:
    """One lab's daemons. ``source`` is the ``observability`` folder to configure the monitoring from."""

    def __init__(self, config: LabConfig, source: Path = OBSERVABILITY) -> None:
        self.config = config
        self.layout = Layout(config.state_dir)
        self.supervisor = Supervisor(self.layout)
        self._source = source

    @property
    def identity(self) -> identity.Identity:
        """Who this lab is; on first use it claims its port block."""
        return identity.establish(self.config)

    @property
    def topology(self) -> Topology:
        """Every address by logical name."""
        return embedded_topology(self.config.id, self.identity.port_base)

    @property
    def state_dir(self) -> Path:
        """The directory that belongs to this lab."""
        return self.layout.root

    @property
    def context(self) -> Context:
        """What the running stack is rendered from; before the first start it knows no program's place."""
        started = assembly.read_started(self.layout) or assembly.Started("", {}, {})
        return assembly.make_context(self.config, self.layout, self.topology, started, self._source)

    def daemons(self) -> tuple[Daemon, ...]:
        """Return the daemons of the last start; none when there was none."""
        return all_daemons(self.context) if assembly.read_started(self.layout) else ()

    # -- life -------------------------------------------------------------------------------------

    def is_running(self) -> bool:
        """Say whether this lab's supervisord answers."""
        return self.layout.supervisor_socket.exists() and self.supervisor.alive()

    def is_current(self) -> bool:
        """Say whether the running stack was started from this code and configuration."""
        started = assembly.read_started(self.layout)
        return started is not None and started.digest == assembly.digest(self.context, self._source)

    def up(self, progress: Say = quiet) -> None:
        """Start everything and wait until all of it serves. Harmless when it does already."""
        require_disk(self.config.state_dir, self.config.disk_free_min_bytes)
        _ = self.identity
        with self._alone():
            if self.is_running():
                if self.is_current():
                    self._end_strays(progress)
                    self._bring_up(progress)
                    return
                progress("code or configuration changed since the start: starting afresh")
            self._take_down(progress)
            self._launch(progress)
            self._bring_up(progress)

    def _launch(self, progress: Say) -> None:
        self.layout.create()
        (self.layout.root / "run").mkdir(exist_ok=True)
        identity.require_free(self.topology)
        started = assembly.resolve_tools(self.config, self.layout, progress)
        context = assembly.make_context(self.config, self.layout, self.topology, started, self._source)
        replace(started, digest=assembly.digest(context, self._source)).save(self.layout)
        launcher.clear_overrides(self.layout)
        # Its notification log would tell a new Alertmanager that Watchdog was delivered a moment ago.
        shutil.rmtree(self.layout.data / "alertmanager", ignore_errors=True)
        databases.make_secrets(self.layout)
        daemons = all_daemons(context)
        assembly.write_configuration(context, daemons, self._source)
        databases.seed_files(self.layout)
        databases.prepare_cluster(context)
        marker = identity.marker_environment(self.config.id, self.layout.root)
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        self.supervisor.launch(inherited | {"LANG": "C.UTF-8"} | marker)

    def _bring_up(self, progress: Say, timeout_seconds: float | None = None) -> None:
        context = self.context
        address = self.redis_address()

        def mark_redis() -> None:
            answer = redis_command(address, "SET", REDIS_MARKER, self.config.id)
            if answer != "+OK":
                raise StackError(f"redis does not take the lab's marker: {answer}. Run `lab logs redis`.")

        steps = [
            Step(DATABASES, ("postgres",), lambda: databases.prepare_databases(context)),
            Step(REDIS_IDENTITY, ("redis",), mark_redis),
        ]
        bring_up(
            [daemon for daemon in all_daemons(context) if daemon.autostart],
            steps, self.supervisor, self.layout, progress=progress,
            timeout_seconds=timeout_seconds or self.config.up_timeout_seconds,
        )  # fmt: skip
        self._note_first_starts()

    def _note_first_starts(self) -> None:
        started = assembly.read_started(self.layout)
        if started is None:
            return
        now = {name: info.start_unix for name, info in self.supervisor.infos().items() if info.pid}
        if now.keys() - started.first_start_unix.keys():
            replace(started, first_start_unix=now | dict(started.first_start_unix)).save(self.layout)

    def down(self, progress: Say = quiet) -> None:
        """Stop everything; no process of this lab is left. Harmless when nothing runs."""
        if identity.load(self.layout) is None:
            progress("this lab was never started")
            return
        with self._alone():
            self._take_down(progress)

    def _take_down(self, progress: Say) -> None:
        if self.is_running():
            progress("stopping")
            if not self.supervisor.shut_down(SHUT_DOWN_SECONDS):
                progress(f"supervisord did not stop everything within {SHUT_DOWN_SECONDS:g} s; ending it")
        self._end_strays(progress, supervisor_pid=None)
        self.layout.started_json.unlink(missing_ok=True)

    def _end_strays(self, progress: Say, supervisor_pid: int | None = -1) -> list[str]:
        pid = self.supervisor.pid() if supervisor_pid == -1 else supervisor_pid
        who = self.identity
        found = orphans.unsupervised(who.lab_id, self.layout.root, who.created_unix, pid)
        names = orphans.end(found)
        if names:
            progress(f"ended what nobody looked after: {', '.join(names)}")
        return names

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Two `up` at once would each find the other's daemons half started.
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        descriptor = os.open(self.layout.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LabBusyError(
                            "another `lab up` or `lab down` of this lab is at work. Wait for it."
                        ) from None
                    time.sleep(POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    # -- programs ---------------------------------------------------------------------------------

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
        with ThreadPoolExecutor(max_workers=max(1, len(members))) as pool:
            list(pool.map(lambda d: self.supervisor.stop(d.name, d.stop_seconds + 10.0), members))

    def restart(self, *names: str) -> None:
        """Restart programs side by side and wait until they are ready."""
        self.stop(*names)
        self._wait_ready(names)

    def bounce(self, *names: str) -> None:
        """Restart programs without waiting for readiness: a fault may keep them from it."""
        self.stop(*names)
        for name in names:
            self.supervisor.start(name)

    def _wait_ready(self, names: Sequence[str], timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        daemons = self.daemons()
        members = [replace(assembly.by_name(daemons, name), after=()) for name in names]
        bring_up(members, [], self.supervisor, self.layout, timeout_seconds=timeout_seconds, progress=quiet)

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a program, proven to be this lab's."""
        process = self.supervisor.process(name, self.config.id, self.layout.root)
        if not processes.send(process, signum):
            raise StackError(f"{name} has just ended. Try again.")

    # -- overrides and addresses ------------------------------------------------------------------

    def set_override(self, program: str, env: Mapping[str, str]) -> None:
        """Let the next start of a program see other environment variables."""
        launcher.set_override(self.layout, program, env)

    def overrides(self) -> dict[str, dict[str, str]]:
        """Return what lies over which program now."""
        return launcher.overrides(self.layout)

    def clear_overrides(self) -> tuple[str, ...]:
        """Drop all overrides and return the programs that had one. Nothing is restarted."""
        return launcher.clear_overrides(self.layout)

    def launched_overrides(self, program: str) -> Mapping[str, str]:
        """Return the overrides that the running process was started with."""
        pid, overlaid = launcher.launched(self.layout, program)
        return overlaid if pid is not None and pid == self.supervisor.info(program).pid else {}

    def service_settings(self) -> Mapping[str, str]:
        """Return the service's settings (``DCS_*`` of api-1) at the baseline."""
        return settings(self.context, "api-1")

    def admin_dsn(self) -> Mapping[str, Any]:
        """Return libpq keywords of PostgreSQL's superuser over the unix socket."""
        return databases.admin_dsn(self.layout, self.topology.address("postgres").port)

    def redis_address(self) -> Address:
        """Return where Redis itself listens."""
        return self.topology.address("redis")

    def tool(self, name: str) -> Path:
        """Return a program's place on this machine."""
        return self.context.tool(name)

    def missing(self) -> Mapping[str, str]:
        """Return the optional daemons that could not be had, with what that costs."""
        return self.context.missing

    def deployed(self) -> RuleTexts:
        """Return the configuration its daemons load."""
        conf = self.layout.conf
        rules = sorted((conf / "prometheus" / "rules").glob("*.yml"))
        return RuleTexts(
            rules={path.name: path.read_text("utf-8") for path in rules},
            alertmanager=(conf / "alertmanager" / "alertmanager.yml").read_text("utf-8"),
            prometheus=(conf / "prometheus" / "prometheus.yml").read_text("utf-8"),
        )

    def repair(self, progress: Say = quiet) -> list[str]:
        """Set the baseline of processes and overrides, needing no record. Return what was mended."""
        if identity.load(self.layout) is None:
            return []
        return mending.repair(self, progress)

    def end_strays(self) -> list[str]:
        """End this lab's processes that no supervisor looks after."""
        return self._end_strays(quiet)

    def wait_all_ready(self, timeout_seconds: float) -> None:
        """Start what should run and wait until all of it serves."""
        self._bring_up(quiet, timeout_seconds)

    def snapshot(self) -> dict[str, Any]:
        """Return program states, overrides, stray processes and state files, for comparison."""
        return inspection.snapshot(self.layout, self.identity, self.programs(), self.supervisor.pid())
