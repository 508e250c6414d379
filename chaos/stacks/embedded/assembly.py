"""Puts a stack together: programs, configuration, and the digest that tells a running one from another."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from chaos.config import ROOT, LabConfig
from chaos.domain.clock import choose_clock
from chaos.domain.topology import Topology
from chaos.errors import LabError, StackError
from chaos.stacks.embedded import launcher, supervisor
from chaos.stacks.embedded.daemon import Context, Daemon
from chaos.stacks.embedded.identity import marker_environment
from chaos.stacks.embedded.layout import Layout, write_durably
from chaos.stacks.embedded.toolchain import Progress, Report, postgres_runtime, postgres_user, resolve_all
from chaos.stacks.rendering import lab_clock, render_observability

TOOL_OF_DAEMON: Mapping[str, str] = {
    "postgres": "postgres",
    "redis": "valkey-server",
    "nginx": "nginx",
    "seaweedfs": "weed",
    "toxiproxy-service": "toxiproxy-server",
    "toxiproxy-monitoring": "toxiproxy-server",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "loki": "loki",
    "postgres-exporter": "postgres_exporter",
    "redis-exporter": "redis_exporter",
    "blackbox-exporter": "blackbox_exporter",
    "node-exporter": "node_exporter",
}
COMPANIONS = ("initdb", "promtool", "amtool", "logcli")
_LINE_EVERY_SECONDS = 15.0
_SOURCE_SUFFIXES = frozenset({".py", ".sql", ".j2", ".mako"})
_JUDGES = frozenset(("chaos", room) for room in ("cli", "engine", "adapters", "faults", "ledger", "signals"))
"""Rooms that work on a stack from outside: no daemon runs their code, so their change restarts none."""
_RENDERED_DIRECTORIES = ("prometheus", "alertmanager", "loki", "blackbox", "nginx")


@dataclass(frozen=True)
class Started:
    """What ``started.json`` holds: what the running stack was started from."""

    digest: str
    tools: Mapping[str, str]
    missing: Mapping[str, str]
    first_start_unix: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    resend_delay: str = "1m"
    """Kept, because the rule files that it comes from may be anything while the stack runs."""
    databases: str = ""
    """Digest of what the databases were prepared with; empty when the start did not get there."""

    def save(self, layout: Layout) -> None:
        """Write it down."""
        write_durably(layout.started_json, json.dumps(asdict(self), indent=2) + "\n")


def read_started(layout: Layout) -> Started | None:
    """Return what the last start wrote down, or None."""
    try:
        return Started(**json.loads(layout.started_json.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # written by another version: such a stack is restarted


class _Lines:
    """Turns the toolchain's ticks into a line per step, and a sign of life in between."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: dict[str, tuple[str, float]] = {}

    def __call__(self, progress: Progress) -> None:
        step = progress.message.split(" … ")[0]
        last_step, last_seconds = self._last.get(progress.tool, ("", 0.0))
        if progress.state == "done" and progress.tool not in self._last:
            return  # it was here already
        if step == last_step and progress.elapsed_seconds - last_seconds < _LINE_EVERY_SECONDS:
            return
        self._last[progress.tool] = (step, progress.elapsed_seconds)
        self._say(f"{progress.tool}: {progress.message}")


def resolve_tools(
    config: LabConfig, layout: Layout, progress: Callable[[str], None], report: Report | None = None
) -> Started:
    """Get every program onto this machine; raises ToolchainError naming what the stack cannot do without."""
    names = [*dict.fromkeys(TOOL_OF_DAEMON.values()), *COMPANIONS]
    found = resolve_all(names, config, report or _Lines(progress))
    tools = {name: str(tool.path) for name, tool in found.tools.items()}
    binaries = postgres_runtime(found["postgres"], layout.root / "postgres-runtime")
    tools |= {name: str(binaries / name) for name in ("postgres", "initdb")}
    missing = {
        daemon: f"{found.missing[tool].cost} ({found.missing[tool].reason})"
        for daemon, tool in TOOL_OF_DAEMON.items()
        if tool in found.missing
    }
    versions = {name: tool.version for name, tool in found.tools.items()}
    return Started("", tools, missing, versions=versions)


def make_context(config: LabConfig, layout: Layout, topology: Topology, started: Started) -> Context:
    """Return what daemons are rendered from. Nothing of it is read from the working tree."""
    return Context(
        config=config,
        topology=topology,
        layout=layout,
        tools={name: Path(path) for name, path in started.tools.items()},
        missing=started.missing,
        account=postgres_user(),
        resend_delay=started.resend_delay,
    )


def configuration(context: Context, source: Path) -> dict[str, str]:
    """Return the monitoring's and nginx's configuration, by path under ``conf/``.

    Raises LabError with the file's name when one of the working tree's is invalid.
    """
    layout = context.layout
    with _names_invalid_file(source):
        return render_observability(
            context.topology,
            lab_id=context.config.id,
            state_dir=layout.root,
            source_dir=source,
            clock=lab_clock(source),
            missing=context.missing,
            runbook_base=str(ROOT),
            rules_dir=str(layout.conf / "prometheus" / "rules"),
        )


def resend_delay(source: Path) -> str:
    """Return Prometheus' resend delay on the clock that the rule files allow; raises LabError."""
    with _names_invalid_file(source):
        return lab_clock(source).resend_delay


_INVALID = (LabError, yaml.YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What reading somebody's half-edited YAML may end in."""


@contextmanager
def _names_invalid_file(source: Path) -> Iterator[None]:
    try:
        yield
    except _INVALID as error:
        found = next(filter(_is_invalid, sorted((source / "prometheus" / "rules").glob("*.yml"))), None)
        if found is None and isinstance(error, LabError):
            raise
        raise StackError(
            f"{found or source} is invalid, so nothing was started from it: {error}. Correct it."
        ) from error


def _is_invalid(rules: Path) -> bool:
    try:
        choose_clock([rules.read_text("utf-8")])
    except _INVALID:
        return True
    return False


def digest(context: Context, source: Path) -> str:
    """Return a digest of the code, the interpreter and the rendered configuration."""
    found = hashlib.sha256(f"{sys.executable}\0{sys.version}\0{context.topology}".encode())
    for path in _sources():
        found.update(str(path.relative_to(ROOT)).encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    for name, text in sorted(configuration(context, source).items()):
        found.update(f"{name}\0{text}\0".encode())
    return found.hexdigest()


def _sources() -> list[Path]:
    return sorted(
        path
        for package in ("app", "chaos")
        for path in (ROOT / package).rglob("*")
        if path.suffix in _SOURCE_SUFFIXES
        and path.relative_to(ROOT).parts[:2] not in _JUDGES
        and path.is_file()
    )


def write_configuration(context: Context, daemons: Iterable[Daemon], source: Path) -> None:
    """Render everything under ``conf/``. What an older version rendered is gone afterwards."""
    layout, members = context.layout, list(daemons)
    for directory in _RENDERED_DIRECTORIES:
        shutil.rmtree(layout.conf / directory, ignore_errors=True)
    files = configuration(context, source)
    for daemon in members:
        files |= daemon.files
    for name, text in files.items():
        path = layout.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    launcher.render(layout, members)
    supervisor.render(layout, members, marker_environment(context.config.id, layout.root))


def by_name(daemons: Iterable[Daemon], name: str) -> Daemon:
    """Return one daemon; raises StackError with the names there are."""
    members = {daemon.name: daemon for daemon in daemons}
    if name not in members:
        raise StackError(f"this stack has no program {name!r}. It has: {', '.join(sorted(members))}.")
    return members[name]
