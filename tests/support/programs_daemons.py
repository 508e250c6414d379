"""Small real daemons for the tests of the lab's own programs: Loki, Alertmanager, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jinja2
import psycopg2

from chaos.config import ROOT, LabConfig
from chaos.domain.topology import Address
from chaos.stacks.embedded.toolchain import postgres_runtime, postgres_user, resolve
from tests.support.programs import HTTP, eventually

READY_DEADLINE_SECONDS = 20.0
STOP_DEADLINE_SECONDS = 10.0


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]


def tool(name: str) -> Path:
    """Return a daemon's program, from where the lab itself gets it."""
    return resolve(name, LabConfig()).path


def answers(url: str) -> bool:
    try:
        return HTTP.get(url, timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(STOP_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_DEADLINE_SECONDS)


@dataclass(frozen=True)
class _Addresses:
    ports: Mapping[str, int]

    def address(self, name: str) -> Address:
        return Address("127.0.0.1", self.ports[name])


class Loki:
    """A Loki with the repository's own configuration, which can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        ports = free_ports(2)
        addresses = _Addresses({"loki": ports[0], "loki-grpc": ports[1]})
        template = (ROOT / "observability" / "loki" / "loki.yml.j2").read_text()
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML
        text = environment.from_string(template).render(
            topology=addresses, state_dir=str(directory), lab_id="test", rules_dir="", clock=None
        )
        self._config = directory / "loki.yml"
        self._config.write_text(text)
        self.origin = f"http://127.0.0.1:{ports[0]}"
        self.otlp = f"{self.origin}/otlp/v1/logs"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self._directory / "loki.out").open("ab")
        with log:
            self._process = subprocess.Popen(
                [tool("loki"), f"-config.file={self._config}"], stdout=log, stderr=subprocess.STDOUT
            )
        eventually(lambda: answers(f"{self.origin}/ready"), READY_DEADLINE_SECONDS, "Loki is ready")
        # Loki says it is ready some seconds before its querier has found its front end.
        eventually(self._has_queried, READY_DEADLINE_SECONDS, "Loki answers a query")

    def _has_queried(self) -> bool:
        return answers(f"{self.origin}/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def streams(self, query: str) -> list[dict[str, Any]]:
        """Return the streams of a LogQL query over the last hour."""
        window = {"start": str(time.time_ns() - 3_600_000_000_000), "limit": "5000", "direction": "forward"}
        answer = HTTP.get(f"{self.origin}/loki/api/v1/query_range", params={"query": query, **window})
        assert answer.status_code == 200, answer.text
        streams: list[dict[str, Any]] = answer.json()["data"]["result"]
        return streams

    def lines(self, query: str) -> list[str]:
        """Return the lines of a LogQL query, in order of time."""
        values = [value for stream in self.streams(query) for value in stream["values"]]
        return [line for _, line in sorted((int(value[0]), value[1]) for value in values)]


@contextmanager
def alertmanager(directory: Path, pager_url: str) -> Iterator[str]:
    """Run an Alertmanager that sends everything to a pager at once; yields its origin."""
    (port,) = free_ports(1)
    config = directory / "alertmanager.yml"
    config.write_text(
        f"""
route: {{receiver: pager, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: pager
    webhook_configs: [{{url: "{pager_url}/v1/notify/pager"}}]
"""
    )
    command = [
        str(tool("alertmanager")),
        f"--config.file={config}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (directory / "alertmanager.out").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        origin = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{origin}/-/ready"), READY_DEADLINE_SECONDS, "Alertmanager is ready")
        yield origin
    finally:
        end(process)


class Postgres:
    """A throw-away PostgreSQL on TCP with scram passwords, few connections and no fsync."""

    CONNECTIONS_MAX = 20
    RESERVED = 3
    FREE = CONNECTIONS_MAX - RESERVED - 1  # one is this class's own
    PASSWORD = "test only"

    def __init__(self) -> None:
        # pytest's own folders are closed to other users, and PostgreSQL will not run as root.
        self.directory = Path(tempfile.mkdtemp(prefix="firedrill-pg-"))
        self.directory.chmod(0o755)
        self._user = postgres_user()
        self._bin = postgres_runtime(resolve("postgres", LabConfig()), self.directory / "runtime")
        (self.port,) = free_ports(1)
        self.password_file = self.directory / "password"
        self.password_file.write_text(f"{self.PASSWORD}\n")
        self._home = self.directory / "home"
        self._home.mkdir()
        if self._user is not None:
            shutil.chown(self._home, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self._administrator: Any = None
        self._command(
            "initdb", "-D", f"{self._home}/data", "-U", "postgres", "--no-sync", "--auth=scram-sha-256",
            f"--pwfile={self.password_file}", "--locale=C",
        )  # fmt: skip

    def _as_user(self) -> dict[str, Any]:
        return {} if self._user is None else {"user": self._user, "group": self._user, "extra_groups": []}

    def _command(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True, timeout=60, check=False, cwd="/", **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()

    def start(self) -> None:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": self.CONNECTIONS_MAX,
            "superuser_reserved_connections": self.RESERVED,
            "fsync": "off",
            "shared_buffers": "8MB",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "postgres.out").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", f"{self._home}/data", *settings],
                stdout=log, stderr=subprocess.STDOUT, cwd="/", **self._as_user(),
            )  # fmt: skip
        # Opened before anything can fill the server; it takes one of the slots.
        self._administrator = eventually(self._first, READY_DEADLINE_SECONDS, "PostgreSQL answers")

    def _first(self) -> Any:
        try:
            return self.connect()
        except psycopg2.OperationalError:
            return None

    def connect(self, user: str = "postgres") -> Any:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=user, password=self.PASSWORD, dbname="postgres",
            connect_timeout=5,
        )  # fmt: skip
        connection.autocommit = True
        return connection

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self._administrator.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def stop(self) -> None:
        """Stop at once, as a restart in the lab does."""
        if self._administrator is not None:
            self._administrator.close()
        if self._process is not None:
            end(self._process, signal.SIGINT)  # "fast": sessions are ended

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def cpu_seconds(pid: int) -> float:
    """Return the CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2
