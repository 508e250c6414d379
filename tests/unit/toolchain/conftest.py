from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain import resolver
from chaos.stacks.embedded.toolchain.catalogue import BUNDLE_OF, Bundle
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings
from chaos.stacks.embedded.toolchain.sources.base import Job


@pytest.fixture
def config(tmp_path: Path) -> LabConfig:
    return LabConfig(id="toolchain-test", cache_dir=tmp_path / "cache", state_root=tmp_path / "state")


@pytest.fixture
def bundle() -> Bundle:
    return Bundle(name="daemon", version="3.4.5", programs=("fakedaemon", "fakectl"), minimum=(3, 2))


@pytest.fixture
def optional(bundle: Bundle) -> Bundle:
    return dataclasses.replace(bundle, cost="nobody would hear the bell")


@pytest.fixture
def job(config: LabConfig) -> Job:
    return resolver.new_job(config, ToolchainSettings(probe_timeout_seconds=5))


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, first on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[Bundle], None]:
    """Makes the resolver know a bundle of the test's own."""

    def register(bundle: Bundle) -> None:
        for program in bundle.programs:
            monkeypatch.setitem(cast("dict[str, Bundle]", BUNDLE_OF), program, bundle)

    return register
