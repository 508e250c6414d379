"""Keeps how far each file was read.

A forwarder that restarts goes on from there: it repeats nothing, and loses at most the lines that
were read and not yet sent when it was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from chaos.forwarder.tail import Position


def load(path: Path) -> dict[str, Position]:
    """Return the positions kept by file name; none when there are none or they cannot be read."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return {
            str(name): Position((int(at["device"]), int(at["inode"])), int(at["offset"]))
            for name, at in data.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save(path: Path, positions: Mapping[str, Position]) -> None:
    """Replace the file in one step. It is not flushed: a crash of the machine repeats some lines."""
    data = {
        name: {"device": at.inode[0], "inode": at.inode[1], "offset": at.offset}
        for name, at in positions.items()
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(data), "utf-8")
    temporary.replace(path)
