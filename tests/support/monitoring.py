"""What the tests of rules and routes share: rendered configuration and programs that check it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from chaos.config import ROOT, LabConfig
from chaos.domain.clock import LabClock
from chaos.domain.topology import embedded_topology
from chaos.domain.watching import Rule, RuleFile, parse_rules
from chaos.stacks.embedded.toolchain import resolve
from chaos.stacks.rendering import lab_clock, read_rules, render_observability

COMMAND_SECONDS_MAX = 60
RULES = ROOT / "observability" / "prometheus" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"


def program(name: str) -> str:
    """Return the path of a program as the lab itself would find it."""
    return str(resolve(name, LabConfig()).path)


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a checking program and return what it said; the caller judges."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_SECONDS_MAX,
    )


def render(directory: Path, clock: LabClock | None, port_base: int = 28_000) -> Path:
    """Write a whole rendered configuration and return its directory."""
    files = render_observability(
        embedded_topology("test", port_base), lab_id="test", state_dir=directory, clock=clock
    )
    for folder in ("run", "data/nginx"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = directory / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory / "conf"


def render_both(directory: Path) -> Mapping[str, Path]:
    """Render for production and for a lab; the folder has a space in its name, as checkouts may."""
    base = directory / "a state"
    return {"production": render(base / "production", None), "lab": render(base / "lab", lab_clock())}


def shipped_rules() -> list[RuleFile]:
    """Return the production rule files, parsed."""
    return [parse_rules(name, text) for name, text in read_rules().items()]


def alerts(files: Iterable[RuleFile]) -> list[Rule]:
    """Return every alerting rule."""
    return [rule for file in files for rule in file.rules if rule.alerting]
