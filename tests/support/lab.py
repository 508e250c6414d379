"""A lab of its own id and state, driven through the ``lab`` command as a person would."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil

from chaos.adapters.runstore import RunStore, read_journal
from chaos.config import ROOT, LabConfig
from chaos.domain.journal import Phase
from chaos.engine import baseline
from chaos.stacks.embedded import orphans
from chaos.stacks.embedded.stack import EmbeddedStack
from chaos.wiring import Lab as Wired
from chaos.wiring import open_lab

COMMAND_SECONDS_MAX = 400.0
POLL_SECONDS = 0.02

T = TypeVar("T")


def eventually(check: Callable[[], T | None], within_seconds: float, what: str) -> T:
    """Return the first truthy answer, or fail saying what did not come."""
    deadline = time.monotonic() + within_seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() <= deadline, f"not within {within_seconds} s: {what}; last answer: {answer!r}"
        time.sleep(POLL_SECONDS)


@dataclass
class Lab:
    """One lab. ``settings`` are further ``LAB_*`` variables of every command."""

    config: LabConfig
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "LAB_ID": self.config.id,
            "LAB_STATE_ROOT": str(self.config.state_root),
            "LAB_CACHE_DIR": str(self.config.cache_dir),
        }
        return {**os.environ, **own, **self.settings}

    @cached_property
    def wired(self) -> Wired:
        """The same lab from inside. It keeps connections: see :meth:`close`."""
        changed = {key.removeprefix("LAB_").lower(): value for key, value in self.settings.items()}
        return open_lab(LabConfig(**{**self.config.model_dump(), **changed}))

    @property
    def stack(self) -> EmbeddedStack:
        return self.wired.stack

    def close(self) -> None:
        """Stop everything and drop the connections."""
        self.stack.down()
        self.wired.close()

    @property
    def runs(self) -> RunStore:
        return RunStore(self.config.state_dir)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``lab`` in a session of its own, as a shell starts a job."""
        return subprocess.Popen(
            [sys.executable, "-m", "chaos.cli", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run ``lab`` to its end, with further settings for this one command."""
        return subprocess.run(
            [sys.executable, "-m", "chaos.cli", *arguments],
            cwd=ROOT,
            env=self.environment | settings,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """Run ``lab``, or fail with what it said."""
        done = self.run(*arguments)
        assert done.returncode == 0, (
            f"lab {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def pids(self) -> dict[str, int | None]:
        """Return the pid of every program."""
        return {program.name: program.pid for program in self.stack.programs()}

    def processes(self) -> list[psutil.Process]:
        """Return every process that carries this lab's marker."""
        return orphans.marked(self.config.id, self.config.state_dir, 0.0)

    def drill_json(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Drill scenario 3 and return exit code, report and what was said beside it."""
        done = self.run("drill", "3", "--json", *arguments)
        report: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        return done.returncode, report, done.stdout + done.stderr

    def baseline(self) -> dict[str, Any]:
        """Return everything a fault could leave behind."""
        return baseline.take(self.wired.operators)

    def left_over(self, before: dict[str, Any], wait_seconds_max: float = 15.0) -> list[str]:
        """Return what differs from an earlier baseline, once short connections have come and gone."""
        return [str(left) for left in baseline.wait_equal(before, self.wired.operators, wait_seconds_max)]

    def phases(self) -> list[Phase]:
        """Return the phases that the newest run has been through, in order."""
        runs = sorted((self.config.state_dir / "runs").glob("*/journal.jsonl"))
        return [entry.phase for entry in read_journal(runs[-1])] if runs else []


@contextmanager
def labs() -> Iterator[Callable[..., Lab]]:
    """Yield what makes labs; all of them are down at the end, whatever the tests did."""
    # Short, because sockets are inside; open, because PostgreSQL runs as another user than root; with
    # a space, because people have such.
    root = Path(tempfile.mkdtemp(prefix="fd ", dir="/tmp"))
    root.chmod(0o755)
    made: list[Lab] = []

    def make(below: str = "", **settings: str) -> Lab:
        lab = Lab(LabConfig(id=f"t{secrets.token_hex(4)}", state_root=root / below), settings)
        made.append(lab)
        return lab

    try:
        yield make
    finally:
        for lab in made:
            lab.close()
        shutil.rmtree(root, ignore_errors=True)
