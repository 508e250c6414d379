"""Brings a stack up and takes it down, one command at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.config import LabConfig
from chaos.domain.topology import REDIS_MARKER, Topology, embedded_topology
from chaos.errors import LabBusyError, LabError, StackError
from chaos.stacks.embedded import assembly, databases, identity, launcher, objectstore, orphans
from chaos.stacks.embedded.boot import Step, bring_up
from chaos.stacks.embedded.daemon import DATABASES, LANDING, REDIS_IDENTITY, Context, Daemon
from chaos.stacks.embedded.daemons import all_daemons
from chaos.stacks.embedded.layout import Layout, require_disk
from chaos.stacks.embedded.readiness import redis_command
from chaos.stacks.embedded.supervisor import Supervisor
from chaos.stacks.embedded.toolchain import Report

SHUT_DOWN_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.1

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Lifecycle:
    """The life of one lab's stack. ``source`` is the ``observability`` folder it is configured from."""

    config: LabConfig
    layout: Layout
    supervisor: Supervisor
    source: Path

    @property
    def topology(self) -> Topology:
        """Every address; the first use claims the lab's port block."""
        return embedded_topology(self.config.id, identity.establish(self.config).port_base)

    @property
    def context(self) -> Context:
        """What the running stack is rendered from; before the first start it knows no program's place."""
        started = assembly.read_started(self.layout) or assembly.Started("", {}, {})
        return assembly.make_context(self.config, self.layout, self.topology, started)

    def daemons(self) -> tuple[Daemon, ...]:
        """Return the daemons of the last start; none when there was none."""
        if assembly.read_started(self.layout) is None:
            return ()
        # The checkout may have gained a daemon since, which the running supervisord does not know.
        rendered = {path.stem for path in self.layout.programs.glob("*.sh")}
        return tuple(daemon for daemon in all_daemons(self.context) if daemon.name in rendered)

    def is_running(self) -> bool:
        """Say whether this lab's supervisord answers."""
        return self.layout.supervisor_socket.exists() and self.supervisor.alive()

    def is_current(self) -> bool:
        """Say whether the running stack was started from this code and configuration.

        A working tree that cannot be read is another one: `up` then says what is wrong with it.
        """
        started = assembly.read_started(self.layout)
        try:
            return started is not None and started.digest == assembly.digest(self.context, self.source)
        except (LabError, OSError):
            return False

    def up(self, progress: Say, report: Report | None) -> None:
        """Start everything and wait until all of it serves."""
        require_disk(self.config.state_dir, self.config.disk_free_min_bytes)
        identity.establish(self.config)
        with self._alone():
            running = self.is_running()
            identity.take_over(self.config, running=running)
            if running:
                if self.is_current():
                    self.end_strays(progress, self.supervisor.pid())
                    self.bring_all_up(progress, self.config.up_timeout_seconds)
                    return
                # Before anything is stopped: a stack that runs is not given up for a tree that cannot.
                assembly.configuration(self.context, self.source)
                progress("code or configuration changed since the start: starting afresh")
            self._take_down(progress)
            self._launch(progress, report)
            self.bring_all_up(progress, self.config.up_timeout_seconds)

    def _launch(self, progress: Say, report: Report | None) -> None:
        self.layout.create()
        identity.require_free(self.topology)
        started = assembly.resolve_tools(self.config, self.layout, progress, report)
        started = replace(
            started, resend_delay=assembly.resend_delay(self.source), databases=databases.digest()
        )
        context = assembly.make_context(self.config, self.layout, self.topology, started)
        replace(started, digest=assembly.digest(context, self.source)).save(self.layout)
        launcher.clear_overrides(self.layout)
        # Its notification log would tell a new Alertmanager that Watchdog was delivered a moment ago.
        shutil.rmtree(self.layout.data / "alertmanager", ignore_errors=True)
        databases.make_secrets(self.layout)
        objectstore.make_secrets(self.layout)
        assembly.write_configuration(context, all_daemons(context), self.source)
        databases.seed_files(self.layout)
        databases.prepare_cluster(context)
        databases.drop_written_settings(self.layout)
        # A start must not depend on whose shell it came from: only what programs need is passed on.
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        marker = identity.marker_environment(self.config.id, self.layout.root)
        self.supervisor.launch(inherited | {"LANG": "C.UTF-8"} | marker)

    def bring_all_up(self, progress: Say, timeout_seconds: float) -> None:
        """Start what should run and wait until all of it serves."""
        started = assembly.read_started(self.layout)
        if started is None:
            raise StackError(f"{self.layout.started_json} is missing or of another version. Run `lab up`.")
        context = self.context
        address, store = context.topology.address("redis"), context.topology.address("seaweedfs")
        wanted = started.databases or databases.digest()

        def mark_redis() -> None:
            try:
                answer = redis_command(address, "SET", REDIS_MARKER, self.config.id)
            except OSError as error:
                raise StackError(f"redis does not answer: {error!r}. Run `lab logs redis`.") from error
            if answer != "+OK":
                raise StackError(f"redis does not take the lab's marker: {answer}. Run `lab logs redis`.")

        steps = [
            Step(DATABASES, ("postgres",), lambda: databases.prepare_databases(context, wanted)),
            Step(REDIS_IDENTITY, ("redis",), mark_redis),
            Step(LANDING, ("seaweedfs",), objectstore.landing(self.layout, store).create),
        ]
        members = [daemon for daemon in self.daemons() if daemon.autostart]
        bring_up(
            members, steps, self.supervisor, self.layout, timeout_seconds=timeout_seconds, progress=progress
        )
        self._note_first_starts()

    def _note_first_starts(self) -> None:
        started = assembly.read_started(self.layout)
        if started is None:
            return
        now = {name: info.start_unix for name, info in self.supervisor.infos().items() if info.pid}
        if now.keys() - started.first_start_unix.keys():
            replace(started, first_start_unix=now | dict(started.first_start_unix)).save(self.layout)

    def down(self, progress: Say) -> None:
        """Stop everything; no process of this lab is left."""
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
        self.end_strays(progress, None)
        self.layout.started_json.unlink(missing_ok=True)
        if not self.layout.run.is_relative_to(self.layout.root):
            shutil.rmtree(self.layout.run, ignore_errors=True)

    def end_strays(self, progress: Say, supervisor_pid: int | None) -> list[str]:
        """End this lab's processes outside the supervisor's tree, all of them when there is none."""
        who = identity.load(self.layout)  # whatever base is wanted now: it is about what ran
        if who is None:
            return []
        found = orphans.unsupervised(who.lab_id, self.layout.root, who.created_unix, supervisor_pid)
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
