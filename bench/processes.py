"""Processes of a measurement: started, watched for what they cost, and always ended."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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

    def stop(self) -> None:
        """End it and all below it."""
        family: Sequence[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            family = family_of(self.process.pid)()
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


Group = Callable[[], Sequence[psutil.Process]]
"""The processes that belong together now: PostgreSQL, for one, starts a new one for each connection."""


def family_of(pid: int) -> Group:
    """Return the group of a process and all below it."""
    process = psutil.Process(pid)

    def family() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [process, *process.children(recursive=True)]
        return []

    return family


class Usage:
    """CPU time and memory of groups of processes while a body runs, sampled."""

    INTERVAL_SECONDS = 0.5

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._before: dict[str, dict[int, float]] = {}
        self._latest: dict[str, dict[int, float]] = {name: {} for name in groups}
        self._started = 0.0
        self.seconds = 0.0
        self.cpu_seconds: dict[str, float] = {}
        self.rss_bytes_max: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._look()
        self._before = {name: dict(pids) for name, pids in self._latest.items()}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()
        self.seconds = time.monotonic() - self._started
        for name, pids in self._latest.items():
            before = self._before[name]
            self.cpu_seconds[name] = sum(seconds - before.get(pid, 0.0) for pid, seconds in pids.items())

    def _sample(self) -> None:
        while not self._ended.wait(self.INTERVAL_SECONDS):
            self._look()

    def _look(self) -> None:
        for name, group in self._groups.items():
            processes = group()
            self.rss_bytes_max[name] = max(self.rss_bytes_max.get(name, 0), rss_bytes(processes))
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    self._latest[name][process.pid] = times.user + times.system


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
