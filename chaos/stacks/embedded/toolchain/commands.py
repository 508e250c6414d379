"""Running a program with a limit, and ending all of it when the limit or the person says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.stacks.embedded.toolchain.model import NotHereError

_TAIL_LINES = 8
_POLL_SECONDS = 0.2
_TICK_SECONDS = 1.0
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Finished:
    """How a program ended, and the end of what it said on either stream."""

    code: int
    tail: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last lines, as one line for an error message."""
        return " / ".join(self.tail)


def _collect(process: subprocess.Popen[str], tail: deque[str]) -> None:
    assert process.stdout is not None  # noqa: S101 -- opened with PIPE below
    with process.stdout as lines:
        for line in lines:
            if line.strip():
                tail.append(line.strip())


def _end_group(process: subprocess.Popen[str]) -> None:
    # A compiler starts children of its own: the whole group goes.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
            return


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    cancelled: threading.Event | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_tick: Callable[[str], None] | None = None,
) -> Finished:
    """Run ``argv`` to its end; ``env`` is added to the environment.

    Raises NotHereError when it cannot be started, when it passes ``timeout_seconds`` or is cancelled.
    ``on_tick`` is called about once a second with the last line it printed.
    """
    settings = ["env", *(f"{key}={value}" for key, value in env.items())] if env else []
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        process = subprocess.Popen(
            [*settings, *argv],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise NotHereError(f"{argv[0]} cannot be started: {error.strerror}") from error
    reader = threading.Thread(target=_collect, args=(process, tail), daemon=True)
    reader.start()
    deadline = time.monotonic() + timeout_seconds
    next_tick = time.monotonic() + _TICK_SECONDS
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
            if cancelled is not None and cancelled.is_set():
                raise NotHereError("interrupted")
            if time.monotonic() > deadline:
                raise NotHereError(f"{Path(argv[0]).name} did not end within {timeout_seconds:g} s")
            if on_tick is not None and time.monotonic() >= next_tick:
                next_tick += _TICK_SECONDS
                on_tick(tail[-1] if tail else "")
    finally:
        if process.poll() is None:
            _end_group(process)
        reader.join(_END_SECONDS)
    return Finished(process.returncode, tuple(tail))
