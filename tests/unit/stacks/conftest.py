"""A state directory and daemons that need no program to be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.domain.topology import embedded_topology
from chaos.stacks.embedded import layout as layout_module
from chaos.stacks.embedded.assembly import COMPANIONS, TOOL_OF_DAEMON
from chaos.stacks.embedded.daemon import Context
from chaos.stacks.embedded.layout import Layout


@pytest.fixture(autouse=True)
def _no_directories_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pytest's paths are long, so sockets would get a directory outside; no socket is made here."""
    monkeypatch.setattr(layout_module, "SHORT_BASE", tmp_path_factory.mktemp("short"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "a lab's state")
    layout.create()
    return layout


@pytest.fixture
def config(tmp_path: Path) -> LabConfig:
    return LabConfig(id="unit", state_root=tmp_path / "labs", cache_dir=tmp_path / "cache")


@pytest.fixture
def context(config: LabConfig) -> Context:
    layout = Layout(config.state_dir)
    layout.create()
    tools = {name: Path("/opt/some place/bin") / name for name in (*TOOL_OF_DAEMON.values(), *COMPANIONS)}
    return Context(config, embedded_topology(config.id, 18000), layout, tools)
