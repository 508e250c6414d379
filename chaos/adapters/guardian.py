"""Start the guardian and talk to it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import psutil

from chaos.config import CLOCK_SLACK_SECONDS, ROOT, path_environment
from chaos.domain.journal import ProcessRef
from chaos.errors import LabError

START_SECONDS_MAX = 20.0
END_SECONDS_MAX = 10.0
GUARDIAN_ROLE = {"FIREDRILL_ROLE": "guardian"}


class GuardianGoneError(LabError):
    """The guardian has ended, so nothing may be broken any more. See logs/guardian.log of this lab."""


def process_ref(pid: int) -> ProcessRef:
    """Return a reference to a living process that a later one with its pid does not match."""
    return ProcessRef(pid, psutil.Process(pid).create_time())


def find_process(ref: ProcessRef | None) -> psutil.Process | None:
    """Return the process that ``ref`` means, or None when it has ended.

    No pid comes round again within the slack, and a clock that was set ends no process.
    """
    if ref is None:
        return None
    try:
        process = psutil.Process(ref.pid)
        moved_seconds = abs(process.create_time() - ref.create_time)
        alive = moved_seconds < CLOCK_SLACK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


class GuardianProcess:
    """A guardian of this run, in a session of its own so that no terminal's signal reaches it."""

    def __init__(self, run_id: str, deadline_unix: float, lock_fd: int, log: Path) -> None:
        read_fd, self._write_fd = os.pipe()
        ready_fd, child_ready_fd = os.pipe()
        command = [sys.executable, "-m", "chaos.cli", "guardian"]
        command += ["--run-id", run_id, "--deadline-unix", f"{deadline_unix:.3f}"]
        command += ["--pipe-fd", str(read_fd), "--ready-fd", str(child_ready_fd)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as out:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=(read_fd, child_ready_fd, lock_fd),  # with the lock: it outlives this process
                env=os.environ | path_environment() | GUARDIAN_ROLE,
            )
        os.close(read_fd)
        os.close(child_ready_fd)
        self._ready_fd = ready_fd
        self._log = log
        self.ref = process_ref(self._process.pid)

    def wait_ready(self) -> None:
        """Return once the guardian watches.

        Raises:
            GuardianGoneError: it did not start; nothing has been broken yet.
        """
        readable, _, _ = select.select([self._ready_fd], [], [], START_SECONDS_MAX)
        word = os.read(self._ready_fd, 16) if readable else b""
        os.close(self._ready_fd)
        if word != b"ready":
            raise GuardianGoneError(
                f"the guardian did not start within {START_SECONDS_MAX:g} s: see {self._log}"
            )

    def _say(self, text: str) -> None:
        try:
            os.write(self._write_fd, f"{text}\n".encode())
        except OSError as error:
            raise GuardianGoneError from error

    def beat(self) -> None:
        """Say that the run is alive, and learn whether the guardian is."""
        if self._process.poll() is not None:
            raise GuardianGoneError
        self._say("beat")

    def hold(self, until_unix: float) -> None:
        """Let the guardian keep the lab as it is until then, without this process."""
        self._say(f"held {until_unix:.3f}")

    def dismiss(self) -> None:
        """Say that there is nothing left to heal, and wait until it has ended."""
        try:
            self._say("dismissed")
        except GuardianGoneError:
            return
        finally:
            os.close(self._write_fd)
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS_MAX)
