"""Shows the toolchain's progress: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from chaos.stacks.embedded.toolchain.model import Progress, Report

_LINE_EVERY_SECONDS = 15.0


class _Lines:
    """One line per change of step, and a sign of life in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, tuple[str, float]] = {}

    def __call__(self, progress: Progress) -> None:
        # What a placed tool says is of no interest unless somebody waited for it.
        if progress.state == "done" and progress.tool not in self._last:
            return
        step = progress.message.split(" … ")[0].split(":")[0]
        last_step, last_seconds = self._last.get(progress.tool, ("", 0.0))
        quiet = progress.elapsed_seconds - last_seconds < _LINE_EVERY_SECONDS
        if progress.state == "working" and step == last_step and quiet:
            return
        self._last[progress.tool] = (step, progress.elapsed_seconds)
        line = f"[{progress.index}/{progress.total}] {progress.tool}: {progress.message}"
        if progress.state != "working":
            line += f" ({progress.state} after {progress.elapsed_seconds:.0f} s)"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Live:
    """A spinner per tool that is being fetched, and a line for each that has come."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.state == "done" and progress.tool not in self._tasks:
            return
        text = f"[{progress.index}/{progress.total}] {progress.tool}: {progress.message}".replace("[", r"\[")
        if progress.state == "working":
            if progress.tool not in self._tasks:
                self._tasks[progress.tool] = self._bars.add_task(text, total=None)
            self._bars.update(self._tasks[progress.tool], description=text)
            return
        task = self._tasks.pop(progress.tool, None)
        if task is not None:
            self._bars.remove_task(task)
        mark = {"done": "[green]✓", "missing": "[yellow]-"}.get(progress.state, "[red]✗")
        self._bars.console.print(f"{mark}[/] {text}", soft_wrap=True)


@contextlib.contextmanager
def console_report(console: Console | None = None) -> Iterator[Report]:
    """Yield a reporter for the terminal (standard error, so that answers stay clean)."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        yield _Live(bars)
