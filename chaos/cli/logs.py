"""``lab logs``: what the daemons wrote."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import BinaryIO

import click

from chaos.config import LabConfig
from chaos.errors import UsageError
from chaos.stacks.embedded.layout import Layout, tail

POLL_SECONDS = 0.2
LINES_MAX = 10_000


@click.command(name="logs")
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("-n", "--lines", type=click.IntRange(0, LINES_MAX), default=20, show_default=True)
def command(name: str | None, lines: int, *, follow: bool) -> None:
    """Show the last log lines of daemon NAME, or of all but the lab's own devices."""
    layout = Layout(LabConfig().state_dir)
    logs = {path.stem: path for path in sorted(layout.logs.glob("*.log")) if "crash" not in path.stem}
    if not logs:
        raise UsageError(f"{layout.logs} holds no log yet. Start the lab with `lab up`.")
    if name is not None and name not in logs:
        raise UsageError(f"there is no log of {name!r}. There are: {', '.join(logs)}.")
    chosen = {each: path for each, path in logs.items() if name == each or (name is None and _is_shown(each))}
    width = max(map(len, chosen), default=0) if name is None else 0
    followed = {each: _end_of(path) for each, path in chosen.items()} if follow else {}
    with contextlib.suppress(BrokenPipeError):
        for each, path in chosen.items():
            for line in tail(path, lines, bytes_max=4 * 1024 * 1024):
                _show(each, line, width)
        _follow(chosen, followed, width)


def _is_shown(name: str) -> bool:
    # They say in so many words what a run has broken, so a person asks for them by name.
    return name != "guardian" and not name.startswith("toxiproxy-")


def _show(name: str, line: str, width: int) -> None:
    click.echo(f"{name:{width}} | {line}" if width else line)


def _end_of(path: Path) -> BinaryIO:
    stream = path.open("rb")
    stream.seek(0, os.SEEK_END)
    return stream


def _follow(paths: dict[str, Path], streams: dict[str, BinaryIO], width: int) -> None:
    parts = dict.fromkeys(streams, b"")
    while streams:
        for name, stream in list(streams.items()):
            *whole, parts[name] = (parts[name] + stream.read()).split(b"\n")
            for line in whole:
                _show(name, line.decode(errors="replace"), width)
            if _was_rotated(paths[name], stream):
                stream.close()
                streams[name] = paths[name].open("rb")
        time.sleep(POLL_SECONDS)


def _was_rotated(path: Path, stream: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:  # between the two renames of a rotation
        return False
