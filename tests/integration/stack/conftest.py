"""One embedded stack for all tests here, driven through the `lab` command as a person would."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from chaos.config import LabConfig
from chaos.stacks.embedded import orphans
from chaos.stacks.embedded.stack import EmbeddedStack

ROOT = Path(__file__).resolve().parents[3]
COMMAND_DEADLINE_SECONDS = 110.0
POLL_SECONDS = 0.05

T = TypeVar("T")


def eventually(check: Callable[[], T | None], within_seconds: float, what: str) -> T:
    """Return the first truthy answer."""
    deadline = time.monotonic() + within_seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s: {what}; last answer: {answer!r}")
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Lab:
    """A lab of its own id in a state directory of its own."""

    config: LabConfig

    @property
    def stack(self) -> EmbeddedStack:
        """The same lab from inside."""
        return EmbeddedStack(self.config)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run ``lab`` with this lab's settings."""
        env = {
            **os.environ,
            "LAB_ID": self.config.id,
            "LAB_STATE_ROOT": str(self.config.state_root),
            "LAB_CACHE_DIR": str(self.config.cache_dir),
            **settings,
        }
        return subprocess.run(
            [sys.executable, "-m", "chaos.cli", *arguments], cwd=ROOT, env=env,
            capture_output=True, text=True, timeout=COMMAND_DEADLINE_SECONDS, check=False,
        )  # fmt: skip

    def up(self) -> str:
        """Bring it up, or fail with what it said."""
        done = self.run("up")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pids(self) -> dict[str, int | None]:
        """Return the pid of every program."""
        return {program.name: program.pid for program in self.stack.programs()}

    def processes(self) -> list[psutil.Process]:
        """Return every process that carries this lab's marker."""
        return orphans.marked(self.config.id, self.config.state_dir, 0.0)


@pytest.fixture(scope="session")
def state_root() -> Iterator[Path]:
    # Short, because sockets are inside; open, because PostgreSQL runs as another user than root; with a
    # space, because people have such.
    path = Path(tempfile.mkdtemp(prefix="fd ", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def new_lab(state_root: Path) -> Iterator[Callable[..., Lab]]:
    """Make labs; all of them are down at the end, whatever the tests did."""
    made: list[Lab] = []

    def make(below: str = "") -> Lab:
        lab = Lab(LabConfig(id=f"t{secrets.token_hex(4)}", state_root=state_root / below))
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.stack.down()


@pytest.fixture(scope="session")
def shared(new_lab: Callable[..., Lab]) -> Lab:
    lab = new_lab()
    lab.up()
    return lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """The shared stack, at its baseline before and after each test."""
    before = shared.stack.snapshot()
    yield shared
    if not shared.stack.is_running():
        shared.up()
    shared.stack.repair()
    assert shared.stack.snapshot() == before
