from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.config import ROOT
from scripts import setup


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set-up works on a checkout of the test's own, in a folder with a space in its name."""
    root = tmp_path / "fire drill"
    shutil.copytree(ROOT / "requirements", root / "requirements")
    monkeypatch.setattr(setup, "ROOT", root)
    monkeypatch.setattr(setup, "VENV", root / ".venv")
    monkeypatch.setattr(setup, "PYTHON", root / ".venv" / "bin" / "python")
    monkeypatch.setattr(setup, "REQUIREMENTS", root / "requirements")
    return root


def pretend_installed(kind: str) -> None:
    setup.PYTHON.parent.mkdir(parents=True, exist_ok=True)
    setup.PYTHON.touch()
    setup.stamp(kind).touch()


def test_nothing_is_done_when_all_is_there(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend_installed("runtime")
    assert setup.main(["runtime"]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_environment_whose_python_is_gone_is_made_again(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed("runtime")
    setup.PYTHON.unlink()
    setup.PYTHON.symlink_to("/nonexistent/python3")
    made: list[str] = []
    monkeypatch.setattr(setup, "install", made.append)
    assert setup.main(["runtime"]) == 0
    assert made == ["runtime"]


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("bench.txt", {"bench"}),
        ("uv.txt", {"runtime", "development"}),
        ("runtime.txt", {"runtime", "development"}),
        ("development.txt", {"development"}),
    ],
)
def test_a_changed_requirement_file_asks_for_set_up_again(
    checkout: Path, changed: str, stale: set[str]
) -> None:
    before = {kind: setup.stamp(kind) for kind in setup.FILES}
    with (checkout / "requirements" / changed).open("a") as stream:
        stream.write("# changed\n")
    assert {kind for kind in setup.FILES if setup.stamp(kind) != before[kind]} == stale


def test_a_moved_checkout_asks_for_set_up_again(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = setup.stamp("runtime").name
    monkeypatch.setattr(setup, "ROOT", checkout / "elsewhere")
    assert setup.stamp("runtime").name != before


def test_a_python_without_ensurepip_says_what_to_install(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    assert setup.main(["runtime"]) == 3
    told = capsys.readouterr().err
    assert "has no ensurepip" in told
    assert "apt-get install python3." in told
    assert not setup.stamp("runtime").exists()


def test_a_step_that_fails_says_what_to_try_and_leaves_no_stamp(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_kind: str) -> None:
        setup.run(["sh", "-c", "exit 7"], timeout_seconds=10)

    monkeypatch.setattr(setup, "install", fails)
    assert setup.main(["runtime"]) == 3
    assert "failed (7)" in capsys.readouterr().err
    assert not setup.stamp("runtime").exists()


def test_a_step_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SIGN_OF_LIFE_SECONDS", 0.05)
    with pytest.raises(setup.SetupError, match=r"did not end within 0\.2 s"):
        setup.run(["sleep", "60"], timeout_seconds=0.2)


def test_the_console_command_works_where_there_is_a_space(checkout: Path) -> None:
    setup.PYTHON.parent.mkdir(parents=True)
    setup.PYTHON.write_text('#!/bin/sh\necho "started with $@"\n')
    setup.PYTHON.chmod(0o755)
    (checkout / ".venv" / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    setup.write_console_command()
    told = subprocess.run(
        [str(checkout / ".venv" / "bin" / "lab"), "drill", "a b"],
        check=True, capture_output=True, text=True, timeout=10, cwd="/",
    ).stdout  # fmt: skip
    assert told == "started with -m chaos.cli drill a b\n"
    pth = checkout / ".venv" / "lib" / "python3.11" / "site-packages" / "firedrill.pth"
    assert pth.read_text() == f"{checkout}\n"


def test_pip_s_index_and_certificate_reach_uv(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_CERT", "/etc/own.pem")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/chosen.pem")
    monkeypatch.setenv("UV_SYSTEM_CERTS", "false")
    assert setup.uv_settings() == {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}


def test_the_comparators_are_kept_apart_and_need_the_environment_of_the_service(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup.stamp("bench").parent == checkout / ".venv-bench"
    assert setup.main(["bench"]) == 3
    assert "make setup" in capsys.readouterr().err
