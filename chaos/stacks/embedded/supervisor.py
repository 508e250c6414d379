"""supervisord: its configuration, its start, and a client on its unix socket that never waits for ever."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from chaos.errors import StackError
from chaos.stacks.embedded import processes
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.layout import Layout, tail, write_durably
from chaos.stacks.embedded.orphans import carries_marker

GROUP = "lab"
CALL_TIMEOUT_SECONDS = 5.0
START_TIMEOUT_SECONDS = 20.0
LOG_BYTES_MAX = 8 * 1024 * 1024
LOG_BACKUPS = 2
START_RETRIES_MAX = 5
POLL_SECONDS = 0.03

# Faults of supervisor's XML-RPC interface.
NOT_RUNNING = 70
ALREADY_STARTED = 60
ABNORMAL_TERMINATION = 40
SPAWN_ERROR = 50

STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL = (
    "STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL",
)  # fmt: skip


@dataclass(frozen=True)
class ProcessInfo:
    """What supervisord says of one program."""

    name: str
    state: str
    pid: int | None
    start_unix: int
    now_unix: int
    exit_status: int
    spawn_error: str


def render(layout: Layout, daemons: Iterable[Daemon], environment: Mapping[str, str]) -> None:
    """Write supervisord's configuration. Paths are relative to it, so no path needs its quoting."""
    members = sorted(daemons, key=lambda daemon: daemon.name)
    marker = ",".join(f'{key}="%(ENV_{key})s"' for key in sorted(environment))
    root = f"user={_own_name()}\n" if os.geteuid() == 0 else ""
    parts = [
        # supervisord takes the marker from its own environment, so that it carries it as well.
        f"""[unix_http_server]
file={_literal(layout.supervisor_socket)}
chmod=0700

[supervisord]
identifier=firedrill
directory={_HERE}/..
logfile={_HERE}/../logs/supervisord.log
logfile_maxbytes={LOG_BYTES_MAX}
logfile_backups={LOG_BACKUPS}
loglevel=info
pidfile={_literal(layout.run)}/supervisord.pid
childlogdir={_HERE}/../logs
nocleanup=true
umask=022
{root}environment={marker}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[group:{GROUP}]
programs={",".join(member.name for member in members)}
"""
    ]
    parts += [_program(daemon) for daemon in members]
    write_durably(layout.conf / "supervisord.conf", "\n".join(parts))


_HERE = "%(here)s"


def _literal(path: Path) -> str:
    if " ;" in str(path):
        raise StackError(f"{path}: supervisor takes ' ;' for a comment. Choose another LAB_STATE_ROOT.")
    return str(path).replace("%", "%%")


def _own_name() -> str:
    return psutil.Process().username()


def _program(daemon: Daemon) -> str:
    user = f"user={daemon.user}\n" if daemon.user else ""
    # autostart is off for all: `up` starts them in order, as soon as what each one needs is there.
    return f"""[program:{daemon.name}]
command=/bin/sh "{_HERE}/launch.sh" {daemon.name}
directory={_HERE}/../data/{daemon.name}
{user}autostart=false
autorestart={"true" if daemon.autostart else "false"}
startsecs=1
startretries={START_RETRIES_MAX}
stopsignal={daemon.stop_signal}
stopwaitsecs={daemon.stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_HERE}/../logs/{daemon.name}.log
stdout_logfile_maxbytes={LOG_BYTES_MAX}
stdout_logfile_backups={LOG_BACKUPS}
"""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_seconds = timeout_seconds

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> http.client.HTTPConnection:
        # Kept where the base class keeps its own, so that it closes it.
        connection = _Connection(self._path, self._timeout_seconds)
        self._connection = host, connection
        return connection


class Supervisor:
    """The supervisord of one lab."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def call(self, method: str, *arguments: object, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Any:
        """Call one XML-RPC method. A connection per call: several threads may call at once."""
        transport = _Transport(self._layout.supervisor_socket, timeout_seconds)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
                return getattr(server, f"supervisor.{method}")(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise StackError(f"supervisord does not answer ({error!r}). Run `lab up`.") from error

    def alive(self) -> bool:
        """Say whether supervisord answers and is not on its way out."""
        try:
            return cast("str", self.call("getState")["statename"]) == "RUNNING"
        except (StackError, xmlrpc.client.Fault):
            return False

    def pid(self) -> int | None:
        """Return supervisord's pid, or None when it does not answer."""
        try:
            return int(self.call("getPID"))
        except (StackError, xmlrpc.client.Fault):
            return None

    def infos(self) -> dict[str, ProcessInfo]:
        """Return all programs by name."""
        with _faults():
            rows = cast("list[dict[str, Any]]", self.call("getAllProcessInfo"))
        return {str(row["name"]): _info(row) for row in rows}

    def info(self, name: str) -> ProcessInfo:
        """Return one program."""
        with _faults():
            row = self.call("getProcessInfo", f"{GROUP}:{name}")
        return _info(row)

    def start(self, name: str) -> None:
        """Start a program without waiting. One that is started already is left as it is."""
        with _faults(ALREADY_STARTED, SPAWN_ERROR):
            self.call("startProcess", f"{GROUP}:{name}", False)  # noqa: FBT003 - XML-RPC has no keywords

    def stop(self, name: str, timeout_seconds: float) -> None:
        """Stop a program and wait until it is gone. One that is stopped already is left as it is."""
        with _faults(NOT_RUNNING):
            self.call("stopProcess", f"{GROUP}:{name}", True, timeout_seconds=timeout_seconds)  # noqa: FBT003 - same

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start supervisord as a daemon of its own session, and wait until it answers."""
        log = self._layout.logs / "supervisord.log"
        with contextlib.suppress(FileNotFoundError):
            self._layout.supervisor_socket.unlink()  # a leftover, or the caller has found it answering
        conf = self._layout.conf / "supervisord.conf"
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)]
        try:
            done = subprocess.run(
                command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=START_TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StackError(
                f"supervisord did not start in {START_TIMEOUT_SECONDS:g} s. See {log}."
            ) from error
        if done.returncode != 0:
            raise StackError(f"supervisord did not start: {(done.stderr or done.stdout).strip()[-2000:]}")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.alive():
            if time.monotonic() > deadline:
                raise StackError("supervisord started but does not answer:\n" + "\n".join(tail(log, 15)))
            time.sleep(POLL_SECONDS)

    def shut_down(self, timeout_seconds: float) -> bool:
        """End supervisord and all its programs; True when its process is gone in time."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            process = psutil.Process(pid)
            self.call("shutdown")
        except (psutil.NoSuchProcess, StackError, xmlrpc.client.Fault):
            pass
        else:
            return not processes.wait_gone([process], timeout_seconds)
        return False

    def process(self, name: str, lab_id: str, state_dir: Path) -> psutil.Process:
        """Return a running program's process, proven to be this lab's."""
        info = self.info(name)
        if info.pid is None:
            raise StackError(f"{name} does not run ({info.state}). Run `lab status`.")
        try:
            process = psutil.Process(info.pid)
            ours = carries_marker(process, lab_id, state_dir)
        except psutil.NoSuchProcess:
            raise StackError(f"{name} has just ended. Try again.") from None
        if not ours:
            raise StackError(f"pid {info.pid} does not carry the marker of lab {lab_id}; it is left alone.")
        return process


@contextlib.contextmanager
def _faults(*expected: int) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in expected:
            raise StackError(f"supervisord refused: {fault.faultString}. Run `lab status`.") from fault


def _info(row: Mapping[str, Any]) -> ProcessInfo:
    return ProcessInfo(
        name=str(row["name"]),
        state=str(row["statename"]),
        pid=int(row["pid"]) or None,
        start_unix=int(row["start"]),
        now_unix=int(row["now"]),
        exit_status=int(row["exitstatus"]),
        spawn_error=str(row["spawnerr"]),
    )
