"""Where a lab keeps its runs: one lock, one active run, one journal per run.

Every write is on disk before the act it announces: the file is flushed with ``fsync`` and, when
new, so is its directory.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.domain.journal import ActiveRun, Entry, Phase, ProcessRef
from chaos.errors import DiskFullError, LabBusyError, StackError

_LOCK = "run.lock"
_ACTIVE = "active.json"
RUNS_KEPT_MAX = 50
# What stands for a record that is damaged or of another version: a run of nobody, to be healed and closed.
_UNREADABLE = ActiveRun(
    run_id="unreadable",
    mode="run",
    scenario="unknown",
    variant="unknown",
    seed=0,
    started_unix=0.0,
    deadline_unix=0.0,
    held=False,
    runner=ProcessRef(0, 0.0),
    guardian=None,
)


def _fsync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_whole(fd: int, line: bytes) -> None:
    """Write all of it or nothing: a disk that fills up takes a part."""
    written = os.write(fd, line)
    if written < len(line):
        os.ftruncate(fd, os.fstat(fd).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FileJournal:
    """One run's journal: appended, flushed, never rewritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            _fsync_directory(path.parent)
            self._seq = path.read_bytes().count(b"\n")
        except OSError as error:
            raise DiskFullError(f"the journal {path} cannot be opened: {error}. Nothing was done") from error

    def write(self, phase: Phase, act: str, **detail: Any) -> None:
        """Record what is about to be done.

        Raises:
            DiskFullError: it could not be recorded, so it must not be done.
        """
        entry = Entry(self._seq, time.time(), phase, act, detail)
        try:
            _write_whole(self._fd, (json.dumps(entry.as_dict()) + "\n").encode())
            os.fsync(self._fd)
        except OSError as error:
            raise DiskFullError(
                f"the journal {self.path} cannot be written: {error}. Nothing was done"
            ) from error
        self._seq += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_journal(path: Path) -> list[Entry]:
    """Return the entries of a journal; a last line cut short by a crash is left out."""
    entries: list[Entry] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            break
        entries.append(
            Entry(data["seq"], data["at_unix"], Phase(data["phase"]), data["act"], dict(data["detail"]))
        )
    return entries


class RunStore:
    """The runs of the lab whose state is in ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._lock_fd: int | None = None

    # ---- the lock --------------------------------------------------------------------------

    def acquire(self, wait_seconds_max: float = 0.0) -> int:
        """Take the lab's one lock and return its descriptor, which a child may inherit.

        The lock lives as long as any process holds the descriptor, and dies with the last.

        Raises:
            LabBusyError: another run holds it; the message names that run.
        """
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.state_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StackError(
                f"{self.state_dir} cannot be used: {error}. Free space or mend its owner, "
                "or choose another place with LAB_STATE_ROOT"
            ) from error
        deadline = time.monotonic() + wait_seconds_max
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    raise LabBusyError(self._busy_text()) from None
                time.sleep(0.05)
            else:
                self._lock_fd = fd
                return fd

    def release(self) -> None:
        """Let go of the lock, as far as this process is concerned."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def is_locked(self) -> bool:
        """Return whether some process holds the lock."""
        try:
            probe = RunStore(self.state_dir)
            probe.acquire()
        except LabBusyError:
            return True
        probe.release()
        return False

    def _busy_text(self) -> str:
        active = self.active()
        if active is None:
            return "another lab command holds this lab: wait for it, or see `lab status`"
        what = f"{active.mode} {active.scenario} (run {active.run_id}, pid {active.runner.pid})"
        if active.held:
            left = max(0, active.deadline_unix - time.time())
            return (
                f"{what} is held for {left:.0f} s more: end it with `make fix-{_number(active.scenario)}` "
                "or `make heal`"
            )
        return f"{what} is running: wait for it, or end it with Ctrl-C or `kill -INT {active.runner.pid}`"

    # ---- the active run --------------------------------------------------------------------

    def active(self) -> ActiveRun | None:
        """Return the run that was begun and not closed, if any."""
        try:
            data = json.loads((self.state_dir / _ACTIVE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return _UNREADABLE
        try:
            guardian = data.pop("guardian")
            runner = ProcessRef(**data.pop("runner"))
            return ActiveRun(**data, runner=runner, guardian=ProcessRef(**guardian) if guardian else None)
        except (AttributeError, KeyError, TypeError):
            return _UNREADABLE

    def set_active(self, run: ActiveRun) -> None:
        """Record the run that holds the lab, before it does anything."""
        write_durably(self.state_dir / _ACTIVE, json.dumps(dataclasses.asdict(run)))

    def clear_active(self) -> None:
        """Record that nothing holds the lab."""
        (self.state_dir / _ACTIVE).unlink(missing_ok=True)
        _fsync_directory(self.state_dir)

    # ---- journals --------------------------------------------------------------------------

    def journal(self, run_id: str) -> FileJournal:
        """Open the journal of a run, new or not."""
        return FileJournal(self.run_dir(run_id) / "journal.jsonl")

    def run_dir(self, run_id: str) -> Path:
        """Return the directory of a run."""
        return self.state_dir / "runs" / run_id

    def prune(self) -> None:
        """Drop the oldest runs beyond ``RUNS_KEPT_MAX``."""
        runs = sorted((self.state_dir / "runs").glob("*"), key=lambda path: path.name)
        for old in runs[:-RUNS_KEPT_MAX]:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


def write_durably(path: Path, text: str) -> None:
    """Replace a file in one step, on disk when this returns.

    Raises:
        DiskFullError: it could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DiskFullError(f"{path} cannot be written: {error}. Free some space and try again") from error


def _number(scenario: str) -> str:
    return str(int(scenario[:2])) if scenario[:2].isdecimal() else "N"


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values only, to compare and to store."""
    decoded: dict[str, Any] = json.loads(json.dumps(value, default=str, sort_keys=True))
    return decoded
