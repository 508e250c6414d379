"""Processes of a measurement: started, watched for what they cost, and always ended."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
COMPARATORS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
STOP_SECONDS_MAX = 15.0
TAIL_CHARACTERS = 2000


class BenchError(Exception):
    """Nothing can be said about speed: something did not work. The message says what."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which only ``settings`` configure what is measured."""
    foreign = ("DCS_", "PG", "OTEL_", "CELERY_", "RQ_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | dict(
        settings
    )


class Program:
    """One process of a contestant, its output in a file."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], settings: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = psutil.Popen(
                [str(part) for part in argv],
                cwd=ROOT,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tail(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-TAIL_CHARACTERS:]

    def check(self) -> None:
        """Raise ``BenchError`` if it has ended."""
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")

    def family(self) -> list[psutil.Process]:
        """Return the process and all below it that live."""
        with suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End it and all below it."""
        family = self.family()
        with suppress(psutil.NoSuchProcess):
            self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS_MAX)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS_MAX)


class Programs:
    """Several processes that are started and ended together."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.running: list[Program] = []

    def start(self, name: str, argv: Sequence[str | Path], settings: Mapping[str, str]) -> Program:
        """Start one more."""
        program = Program(name, argv, settings, self._logs)
        self.running.append(program)
        return program

    def run(self, name: str, argv: Sequence[str | Path], settings: Mapping[str, str], seconds: float) -> None:
        """Run one to its end. Raises ``BenchError`` when it fails or lasts longer than ``seconds``."""
        program = Program(name, argv, settings, self._logs)
        try:
            code = program.process.wait(seconds)
        except psutil.TimeoutExpired as exc:
            raise BenchError(f"{name} did not end within {seconds:g} s: {program.tail()}") from exc
        finally:
            program.stop()
        if code != 0:
            raise BenchError(f"{name} ended with {code}: {program.tail()}")

    def check(self) -> None:
        """Raise ``BenchError`` if one has ended."""
        for program in self.running:
            program.check()

    def stop(self) -> None:
        """End all, the newest first."""
        while self.running:
            self.running.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Usage:
    """CPU (in cores) and memory of groups of processes while a body runs, sampled."""

    INTERVAL_SECONDS = 0.5

    def __init__(self, groups: Mapping[str, Sequence[psutil.Process]]) -> None:
        self._groups = groups
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._before: dict[str, float] = {}
        self._started = 0.0
        self.cores: dict[str, float] = {}
        self.rss_bytes_max: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._before = {name: _cpu_seconds(group) for name, group in self._groups.items()}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        passed = time.monotonic() - self._started
        for name, group in self._groups.items():
            self.cores[name] = (_cpu_seconds(group) - self._before[name]) / passed

    def _sample(self) -> None:
        while True:
            for name, group in self._groups.items():
                self.rss_bytes_max[name] = max(self.rss_bytes_max.get(name, 0), rss_bytes(group))
            if self._ended.wait(self.INTERVAL_SECONDS):
                return


def _cpu_seconds(group: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in group:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # Those that have ended since belong to who waited for them, such as PostgreSQL's backends.
            total += times.user + times.system + times.children_user + times.children_system
    return total


def rss_bytes(group: Sequence[psutil.Process]) -> int:
    """Return how much of the memory of a group is resident, shared pages counted in each."""
    total = 0
    for process in group:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def pss_bytes(group: Sequence[psutil.Process]) -> int:
    """Return the memory of a group with shared pages counted once."""
    total = 0
    for process in group:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total
