"""What makes a running stack another one than this checkout's."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.stacks.embedded import assembly
from chaos.stacks.embedded.daemon import Context
from chaos.stacks.rendering import OBSERVABILITY


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout"
    for name in (
        "app/main.py",
        "app/migrations/versions/one.py",
        "chaos/pager/api.py",
        "chaos/cli/status.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("one = 1\n")
    monkeypatch.setattr(assembly, "ROOT", root)
    return root


@pytest.fixture
def digest(context: Context, checkout: Path) -> Callable[[], str]:
    return lambda: assembly.digest(context, OBSERVABILITY)


def test_the_same_again_is_the_same(digest: Callable[[], str], checkout: Path) -> None:
    before = digest()
    (checkout / "app" / "__pycache__").mkdir()
    (checkout / "app" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"x")
    assert digest() == before


@pytest.mark.parametrize("name", ["app/main.py", "app/migrations/versions/one.py", "chaos/pager/api.py"])
def test_code_that_a_daemon_runs_counts(digest: Callable[[], str], checkout: Path, name: str) -> None:
    before = digest()
    (checkout / name).write_text("one = 2\n")
    assert digest() != before


def test_code_that_only_looks_at_the_stack_does_not(digest: Callable[[], str], checkout: Path) -> None:
    before = digest()
    (checkout / "chaos" / "cli" / "status.py").write_text("one = 2\n")
    assert digest() == before


def test_a_rule_counts(context: Context, checkout: Path, tmp_path: Path) -> None:
    source = tmp_path / "observability"
    shutil.copytree(OBSERVABILITY, source)
    before = assembly.digest(context, source)
    rules = source / "prometheus" / "rules" / "meta.alerts.yml"
    rules.write_text(rules.read_text().replace("vector(1)", "vector(2)"))
    assert assembly.digest(context, source) != before


def test_a_daemon_that_cannot_be_had_counts(context: Context, checkout: Path) -> None:
    without = dataclasses.replace(context, missing={"node-exporter": "no figures of the machine"})
    assert assembly.digest(without, OBSERVABILITY) != assembly.digest(context, OBSERVABILITY)
