"""Looks at the machine and says what of the lab can run here, what not, and what to do. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from chaos.config import LabConfig
from chaos.domain.topology import PORTS_PER_BLOCK, embedded_topology
from chaos.errors import LabError
from chaos.stacks.embedded import identity
from chaos.stacks.embedded.layout import Layout
from chaos.stacks.embedded.toolchain import first_closed_directory, postgres_user
from chaos.stacks.embedded.toolchain.inspection import Status, inspect_all
from chaos.stacks.embedded.toolchain.model import this_platform

PYTHON_MINIMUM = (3, 11)
PYTHON_TESTED = (3, 14)
GLIBC_MINIMUM = (2, 28)
MACHINES = ("x86_64", "aarch64")
MEMORY_WANTED_BYTES = int(1.25 * 1024**3)
CACHE_WANTED_BYTES = 4 * 1024**3
OPEN_FILES_WANTED = 1024
_GIB = 1024**3


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``remedy`` is empty when there is nothing to do."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All checks, in the order in which they matter."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of all."""
        found = {check.status for check in self.checks}
        return "fail" if "fail" in found else "warn" if "warn" in found else "ok"

    def as_json(self) -> dict[str, object]:
        """Return the report for ``--json``."""
        return {"status": self.status, "checks": [asdict(check) for check in self.checks]}


def examine(config: LabConfig) -> DoctorReport:
    """Run every check. One that breaks is a failed check, never a broken report."""
    steps: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("python", _python),
        ("platform", _platform),
        ("memory", _memory),
        ("open files", _open_files),
        ("disk", lambda: _disk(config)),
        ("state directory", lambda: _state_directory(config)),
        ("postgres user", lambda: _postgres_user(config)),
        ("ports", lambda: _ports(config)),
        ("tools", lambda: _tools(config)),
    )
    checks: list[Check] = []
    for name, step in steps:
        try:
            checks += step()
        except (OSError, psutil.Error, LabError) as error:
            checks.append(Check(name, "fail", f"{error}", "Solve this first; the lab cannot look further."))
    return DoctorReport(tuple(checks))


def _python() -> Iterator[Check]:
    have = sys.version_info[:2]
    detail = f"{platform.python_version()} ({sys.executable})"
    if have < PYTHON_MINIMUM:
        yield Check("python", "fail", detail, "Install Python 3.11 to 3.14, remove .venv, run `make setup`.")
    elif have > PYTHON_TESTED:
        yield Check("python", "warn", f"{detail}: newer than what is tested", "Use 3.11 to 3.14.")
    else:
        yield Check("python", "ok", detail)


def _platform() -> Iterator[Check]:
    here = this_platform()
    if here.os == "darwin":
        yield Check(
            "platform", "warn", f"macOS {platform.mac_ver()[0]} {here.machine}: best effort. Not there: "
            "Debian packages of the exporters, memory by PSS, pidfd-safe signals",
            "What `tools` below cannot find, install with Homebrew; or use a Linux machine.",
        )  # fmt: skip
        return
    status: Status = "ok" if here.machine in MACHINES else "fail"
    remedy = "" if status == "ok" else "The wheels and archives exist for x86-64 and aarch64 only."
    yield Check("platform", status, f"Linux {platform.release()} {here.machine}", remedy)
    library, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if library != "glibc":
        yield Check("libc", "fail", library or "no glibc", "Use a distribution with glibc 2.28 or later.")
    elif numbers < GLIBC_MINIMUM:
        yield Check("libc", "fail", f"glibc {version}", "Use a distribution with glibc 2.28 or later.")
    else:
        yield Check("libc", "ok", f"glibc {version}")


def _memory() -> Iterator[Check]:
    available = psutil.virtual_memory().available
    detail = f"{available / _GIB:.1f} GiB available, a stack takes up to {MEMORY_WANTED_BYTES / _GIB:.2f}"
    if available < MEMORY_WANTED_BYTES:
        yield Check("memory", "warn", detail, "End other programs; the kernel may kill daemons of the lab.")
    else:
        yield Check("memory", "ok", detail)


def _open_files() -> Iterator[Check]:
    limit = os.sysconf("SC_OPEN_MAX")
    if 0 < limit < OPEN_FILES_WANTED:
        yield Check("open files", "warn", f"at most {limit} per process", "Run `ulimit -n 4096` first.")
    else:
        yield Check("open files", "ok", f"at most {limit} per process")


def _existing(path: Path) -> Path:
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _disk(config: LabConfig) -> Iterator[Check]:
    wanted = (
        ("disk for state", config.state_dir, config.disk_free_min_bytes, "fail", "LAB_STATE_ROOT"),
        ("disk for programs", config.cache_dir, CACHE_WANTED_BYTES, "warn", "LAB_CACHE_DIR"),
    )
    for name, path, bytes_min, verdict, setting in wanted:
        free = shutil.disk_usage(_existing(path)).free
        detail = f"{free / _GIB:.1f} GiB free for {path}, wanted {bytes_min / _GIB:.0f}"
        if free < bytes_min:
            status: Status = "fail" if verdict == "fail" else "warn"
            yield Check(name, status, detail, f"Free some, or set {setting} to a folder elsewhere.")
        else:
            yield Check(name, "ok", detail)


def _state_directory(config: LabConfig) -> Iterator[Check]:
    state = config.state_dir
    parent = _existing(state)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        yield Check("state directory", "fail", f"{parent} cannot be written", "Set LAB_STATE_ROOT.")
        return
    layout = Layout(state)
    if layout.run.parent == layout.root:
        yield Check("state directory", "ok", str(state))
    else:
        # The layout has its answer ready, so a long path is worth a word but no worry.
        yield Check("state directory", "ok", f"{state}; its path is long, so sockets are in {layout.run}")


def _postgres_user(config: LabConfig) -> Iterator[Check]:
    user = postgres_user()
    if user is None:
        yield Check("postgres user", "ok", "not root: PostgreSQL runs as you")
        return
    closed = first_closed_directory(_existing(config.state_dir))
    if closed is not None:
        yield Check(
            "postgres user", "fail", f"running as root, PostgreSQL runs as {user}, who cannot pass {closed}",
            "Set LAB_STATE_ROOT to a folder that every user can reach.",
        )  # fmt: skip
    else:
        yield Check("postgres user", "ok", f"running as root, PostgreSQL runs as {user}")


def _ports(config: LabConfig) -> Iterator[Check]:
    known = identity.load(Layout(config.state_dir))
    base = config.port_base or (known.port_base if known else identity.preferred_block(config.id))
    ports = identity.ports_of(embedded_topology(config.id, base))
    block = f"{base} to {base + PORTS_PER_BLOCK - 1}"
    names = {port: name for name, port in ports.items()}
    taken = identity.taken(names)
    listeners = _listeners() if taken else {}
    others = [port for port in taken if not _carries_our_marker(listeners.get(port), config)]
    if not others:
        yield Check("ports", "ok", f"block {block}, nobody else is on it")
        return
    first = others[0]
    detail = f"block {block}: {len(others)} taken; {first} ({names[first]}) by {identity.owner_of(first)}"
    if known is None and config.port_base is None:
        yield Check("ports", "ok", f"{detail}; the first start takes another block")
    else:
        yield Check("ports", "fail", detail, "End its owner, or set LAB_PORT_BASE to another block.")


def _listeners() -> dict[int, int]:
    """Return pid by port, as far as this user may see it. One look at every process is slow enough."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return {}
    # psutil gives an empty tuple where there is no address.
    return {
        getattr(connection.laddr, "port", 0): connection.pid
        for connection in found
        if connection.pid and connection.status == psutil.CONN_LISTEN
    }


def _carries_our_marker(pid: int | None, config: LabConfig) -> bool:
    try:
        return pid is not None and psutil.Process(pid).environ().get(identity.MARKER) == config.id
    except psutil.Error:
        return False


def _tools(config: LabConfig) -> Iterator[Check]:
    for state in inspect_all(config):
        yield Check(f"tool {state.name}", state.status, state.detail, state.remedy)
