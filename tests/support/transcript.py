"""Documents that show a shell session: run as they stand, and compared with what came of it."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STEP_SECONDS_MAX = 60.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DONE = "--done-with-this-step--"

# What differs from run to run, and what stands for it in a comparison.
_MASKS = tuple(
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
        (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)", "<time>"),
        (r"\d{4}-\d{2}-\d{2}", "<day>"),
        (r"dcs_[a-z2-7]{16}_[0-9a-f]{64}_[0-9a-f]{8}", "<secret>"),
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
        (r"\b[0-9a-f]{32}\b", "<hex>"),
        (r"\b[a-z2-7]{16}\b", "<key id>"),
        (r"127\.0\.0\.1:\d+", "<address>"),
        (r"\b\d+\.\d+\.\d+\b", "<version>"),
        (r"\bapi-[12]\b", "<instance>"),
    )
)
_MASKED_FIELDS = frozenset({"checked_seconds_ago", "delay_seconds", "file_id"})


@dataclass(frozen=True)
class Step:
    """One command of a document and what the document shows below it."""

    command: str
    shown: str


def steps(text: str) -> list[Step]:
    """Return the steps of all `console` blocks, in order."""
    found = []
    for language, block in _BLOCK.findall(text):
        if language == "console":
            found += list(_steps(block))
    return found


def _steps(block: str) -> Iterator[Step]:
    command: list[str] = []
    shown: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step("\n".join(command), "\n".join(shown))
            command, shown = [line[2:]], []
        elif line.startswith("> ") and not shown:
            command.append(line[2:])
        else:
            shown.append(line)
    if command:
        yield Step("\n".join(command), "\n".join(shown))


def set_up(text: str) -> set[str]:
    """Return the variables that the first `sh` block sets: what a test has to set in its place."""
    block = next(block for language, block in _BLOCK.findall(text) if language == "sh")
    return set(re.findall(r"^([A-Z][A-Z0-9_]*)=", block, re.MULTILINE))


def difference(shown: str, came: str) -> str | None:
    """Return how what came differs from what a document shows, ids and times left out; None: it does not."""
    expected, actual = _comparable(shown), _comparable(came)
    return None if expected == actual else f"shown:\n{expected}\ncame:\n{actual}"


def _comparable(text: str) -> object:
    try:
        return _masked(json.loads(text))  # however it is broken into lines
    except ValueError:
        return [line.rstrip() for line in _masked_text(_without_progress(text)).strip().splitlines()]


def _without_progress(text: str) -> str:
    return re.sub(r"^event: progress\ndata: .*\n\n", "", text, flags=re.MULTILINE)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "<number>" if name in _MASKED_FIELDS and isinstance(each, int | float) else _masked(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return _masked_text(value) if isinstance(value, str) else value


def _masked_text(text: str) -> str:
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    for field in _MASKED_FIELDS:
        text = re.sub(rf'"{field}":[\d.]+', f'"{field}":<number>', text)
    return text


class Shell:
    """One bash that runs step after step, so that a variable set by one is known to the next."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, command: str) -> str:
        """Return what a command writes. Raises ``TimeoutError`` after 60 s."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null\necho\necho {_DONE}\n".encode())
        self._process.stdin.flush()
        deadline = time.monotonic() + STEP_SECONDS_MAX
        written = b""
        end = f"\n{_DONE}\n".encode()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not written.endswith(end):
                if not selector.select(deadline - time.monotonic()):
                    message = (
                        f"{command}\nhas not ended, and has written:\n{written.decode(errors='replace')}"
                    )
                    raise TimeoutError(message)
                piece = os.read(self._process.stdout.fileno(), 65_536)
                if not piece:
                    message = f"{command}\nhas ended the shell"
                    raise AssertionError(message)
                written += piece
        return written[: -len(end)].decode(errors="replace").rstrip("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
