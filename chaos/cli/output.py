"""What commands print: progress and timelines, coloured on a terminal, plain elsewhere."""

from __future__ import annotations

import functools
import os
import sys
import time

from rich.console import Console
from rich.text import Text

from chaos.domain.run import Event

PLAIN_WIDTH = 100  # of what is piped or logged: nothing is folded at it
_STYLES = {
    "steady": "green",
    "fault": "bold red",
    "signal": "cyan",
    "alert": "yellow",
    "notification": "bold yellow",
    "evidence": "cyan",
    "remedy": "bold blue",
    "resolved": "green",
    "baseline": "green",
    "verdict": "bold",
}


class _Terminal(Console):
    """A console whose reader may go away: what is done goes on, its verdict is the exit code."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # For the rest of the process: flushing it at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@functools.cache
def console() -> Console:
    """Return the console of this process: no colours unless it is a terminal."""
    found = _Terminal(highlight=False, soft_wrap=True)
    return found if found.is_terminal else _Terminal(highlight=False, soft_wrap=True, width=PLAIN_WIDTH)


def say(text: str) -> None:
    """Print one line of progress."""
    console().print(Text(text))


def say_aside(text: str) -> None:
    """Print one line of progress beside the result, on stderr: stdout may be JSON."""
    print(text, file=sys.stderr, flush=True)


class LiveTimeline:
    """Prints each event with its time since the command began."""

    def __init__(self, *, aside: bool) -> None:
        self._start = time.time()
        self._aside = aside

    def __call__(self, event: Event) -> None:
        """Print one event."""
        offset = event.at_unix - self._start
        if self._aside:
            say_aside(f"{offset:+7.1f} s  {event.kind:<12}  {event.text}")
            return
        line = Text(f"{offset:+7.1f} s  ")
        line.append(f"{event.kind:<12}", style=_STYLES.get(event.kind, ""))
        line.append(f"  {event.text}")
        console().print(line)
