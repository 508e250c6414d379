"""Where one embedded lab keeps what: the names inside its state directory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chaos.errors import DiskFullError, StackError

SOCKET_PATH_BYTES_MAX = 100
"""sockaddr_un holds 108 bytes; PostgreSQL adds a lock file beside its socket."""

SHORT_BASE = Path("/tmp")  # noqa: S108 - a directory in it is checked for its owner before use

_LONGEST_SOCKET_NAME = "postgres/.s.PGSQL.65535.lock"


@dataclass(frozen=True)
class Layout:
    """Paths of one state directory. Nothing is created by reading them."""

    root: Path

    @property
    def lab_json(self) -> Path:
        """Identity of the lab."""
        return self.root / "lab.json"

    @property
    def conf(self) -> Path:
        """Rendered configuration."""
        return self.root / "conf"

    @property
    def programs(self) -> Path:
        """One script per program: its environment and its command."""
        return self.conf / "programs"

    @property
    def secrets(self) -> Path:
        """Passwords of this lab, readable by its owner only."""
        return self.conf / "secrets"

    @property
    def keys(self) -> Path:
        """API keys of this lab's clients, readable by their owner only."""
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        """Output of every program."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """One directory per program, also its working directory."""
        return self.root / "data"

    @property
    def overrides(self) -> Path:
        """Environment that a fault lays over a program. Empty at the baseline."""
        return self.root / "overrides"

    @property
    def launched(self) -> Path:
        """What every program was really launched with."""
        return self.root / "launched"

    @property
    def files(self) -> Path:
        """Root of the service's `file` source."""
        return self.root / "files"

    @property
    def started_json(self) -> Path:
        """Digest of what the running stack was started from, and when."""
        return self.root / "started.json"

    @property
    def active_json(self) -> Path:
        """The run that holds this lab, if any."""
        return self.root / "active.json"

    @property
    def run_lock(self) -> Path:
        """Locked for as long as a run holds this lab."""
        return self.root / "run.lock"

    @cached_property
    def run(self) -> Path:
        """Sockets and pid files; a short directory elsewhere when the state directory's path is long."""
        usual = self.root / "run"
        if len(os.fsencode(usual / _LONGEST_SOCKET_NAME)) < SOCKET_PATH_BYTES_MAX:
            return usual
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return SHORT_BASE / f"firedrill-{os.geteuid()}-{name}"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord answers."""
        return self.run / "supervisor.sock"

    @property
    def postgres_sockets(self) -> Path:
        """PostgreSQL's socket directory: its account's own, because the superuser is trusted there."""
        return self.run / "postgres"

    def create(self) -> None:
        """Create every directory. Others may pass through: PostgreSQL runs as another user than root."""
        open_dirs = (
            self.root, self.conf, self.programs, self.logs, self.data,
            self.overrides, self.launched, self.files, self.run, self.root / "run",
        )  # fmt: skip
        for path in open_dirs:
            path.mkdir(parents=True, exist_ok=True)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise StackError(f"{path} is not a directory of this user. Remove it, then try again.")
            path.chmod(0o755)
        for private in (self.secrets, self.keys):
            private.mkdir(exist_ok=True)
            private.chmod(0o700)


def require_disk(path: Path, bytes_min: int) -> None:
    """Raise unless the filesystem of ``path`` has ``bytes_min`` free for this user."""
    probe = next(p for p in (path, *path.parents) if p.exists())
    figures = os.statvfs(probe)
    free_bytes = figures.f_bavail * figures.f_frsize
    if free_bytes < bytes_min:
        raise DiskFullError(
            f"{probe} has {free_bytes / 2**20:.0f} MiB free and the lab wants {bytes_min / 2**20:.0f} MiB. "
            "Free some, move the state with LAB_STATE_ROOT, or lower LAB_DISK_FREE_MIN_BYTES."
        )


def write_durably(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace ``path`` by ``text`` so that a reader, or a power cut, finds the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail(path: Path, lines_max: int, bytes_max: int = 64 * 1024) -> list[str]:
    """Return the last lines of a log, or none when there is no log."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - bytes_max))
            text = stream.read(bytes_max).decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines_max:]


def env_lines(env: Mapping[str, str]) -> str:
    """Return ``KEY=VALUE`` lines. A value with a control character cannot be written this way."""
    for key, value in env.items():
        if not key.isidentifier() or any(ord(c) < 32 or ord(c) == 127 for c in value):  # noqa: PLR2004 - ASCII
            raise StackError(f"{key!r} cannot be overridden with {value!r}. Use a name and one line of text.")
    return "".join(f"{key}={value}\n" for key, value in sorted(env.items()))


def parse_env_lines(text: str) -> dict[str, str]:
    """Return the mapping that :func:`env_lines` wrote."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
