"""Checks of every document: commands, links, words. Each yields what is wrong."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from chaos.cli.main import lab
from tests.catalogue.log_events import Event

_SKIPPED = frozenset(
    {".git", ".venv", ".venv-bench", "__pycache__", "reports", "node_modules", ".hypothesis"}
)
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)  # indented below a list item too
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TARGET = re.compile(r"^([a-z][a-z%-]*):", re.MULTILINE)
_ENVIRONMENT = re.compile(r"^(?:[A-Z_]+=\S* )+")
_MAKE_VARIABLE = re.compile(r"^([A-Z]+)\s*\?=", re.MULTILINE)
SHELLS = frozenset({"sh", "console"})
DECISION_PARTS = ("Context", "Decision", "Consequences", "Alternatives")
DECISION_LINES_MAX = 40
_TEXT_BYTES_MAX = 2_000_000

# Put together here, or this file would hold what it looks for.
FORBIDDEN = {
    "a path of one machine": re.compile("/" + "work/|/" + "farm/"),
    "a registry's host": re.compile(
        r"pypi\." + r"org|python" + r"hosted\.|proxy\." + r"golang\.|registry\." + r"npmjs|/art" + "ifactory"
    ),
    "the number of an issue": re.compile(r"\bissue" + r" #?\d", re.IGNORECASE),
}


def documents(root: Path) -> list[Path]:
    """Return every Markdown file of the checkout."""
    return [path for path in files(root) if path.suffix == ".md"]


def files(root: Path) -> list[Path]:
    """Return every file of the checkout that is not made by running it."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.endswith("_cache")]
        found += [Path(folder, name) for name in names]
    return sorted(found)


# ---- commands ------------------------------------------------------------------------------


def command_problems(path: Path, makefile: str) -> Iterator[str]:
    """Yield `make` and `lab` commands of a document that cannot be run as they stand."""
    text = path.read_text(encoding="utf-8")
    for language, block in _FENCE.findall(text):
        for line in block.splitlines() if language in SHELLS else ():
            for command in _commands(line.strip().removeprefix("$ ")):
                yield from (f"{path.name}: {line}: {what}" for what in _run_problems(command, makefile))
    for inline in _INLINE.findall(_FENCE.sub("", text)):
        if inline.startswith(("make ", "lab ")) and not re.search("[A-Z…]{4}", inline.split("=")[0]):
            what = _run_problems(inline, makefile, whole=False)
            yield from (f"{path.name}: `{inline}`: {problem}" for problem in what)


def _commands(line: str) -> Iterator[str]:
    for part in re.split(r" && |; ", line):
        command = _ENVIRONMENT.sub("", part.strip()).removeprefix(".venv/bin/")
        if command.startswith(("make ", "lab ")):
            yield command


def _run_problems(command: str, makefile: str, *, whole: bool = True) -> Iterator[str]:
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        yield from _make_problems(words, makefile)
    elif words:
        yield from _lab_problems(words, whole=whole)


def _make_problems(words: list[str], makefile: str) -> Iterator[str]:
    targets, variables = set(_TARGET.findall(makefile)), set(_MAKE_VARIABLE.findall(makefile))
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable:
            if name not in variables:
                yield f"make knows no {name}"
        elif word not in targets and re.sub(r"-(\d+|N+)$", "-%", word) not in targets:
            yield f"make has no target {word}"


def _lab_problems(words: list[str], *, whole: bool) -> Iterator[str]:
    if words[0].startswith("-"):
        return
    command = lab.get_command(click.Context(lab), words[0])
    if command is None:
        yield f"lab has no command {words[0]}"
        return
    if whole:
        try:
            command.make_context(words[0], words[1:])  # reads options and arguments; runs nothing
        except click.ClickException as error:
            yield error.format_message()
        return
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words[1:]:
        if word.startswith("-") and word.partition("=")[0] not in options:
            yield f"lab {words[0]} has no option {word}"


# ---- links, words, sizes -------------------------------------------------------------------


def link_problems(path: Path) -> Iterator[str]:
    """Yield relative links that lead nowhere, headings included."""
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists():
            yield f"{path.name}: {link} leads nowhere"
        elif anchor and anchor not in _anchors(target):
            yield f"{path.name}: {link}: there is no such heading"


def _anchors(path: Path) -> set[str]:
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.replace(" ", "-") for text in plain}


def word_problems(path: Path) -> Iterator[str]:
    """Yield words that belong to one machine, one registry or one plan, and not into the repository."""
    data = path.read_bytes()[:_TEXT_BYTES_MAX]
    if b"\0" in data:
        return
    text = data.decode(errors="replace")
    for what, pattern in FORBIDDEN.items():
        if found := pattern.search(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path.name}:{line}: {what}: {found.group()!r}"


def length_problems(path: Path, lines_max: int) -> Iterator[str]:
    """Yield files that are too long to be read at once."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > lines_max:
        yield f"{path.name} has {lines} lines, {lines_max} are allowed"


def decision_problems(path: Path) -> Iterator[str]:
    """Yield what keeps a decision record from the one form they all have."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith(f"# {int(path.name[:4])}. "):
        yield f"{path.name} does not begin with its number"
    for part in DECISION_PARTS:
        if f"**{part}.**" not in text:
            yield f"{path.name} has no {part}"
    yield from length_problems(path, DECISION_LINES_MAX)


# ---- the page of log events ----------------------------------------------------------------


def event_page_problems(text: str, events: dict[str, Event]) -> Iterator[str]:
    """Yield differences between the page of log events and the code."""
    rows: dict[str, tuple[set[str], set[str], str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            name, levels, keys, words = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name.strip("`")] = (_words(levels), _words(keys), words)
    for name in sorted(set(events) - set(rows)):
        yield f"{name} is written by the service and not on the page"
    for name in sorted(set(rows) - set(events)):
        yield f"{name} is on the page, and the service does not write it"
    for name in sorted(set(rows) & set(events)):
        told_levels, told_keys, words = rows[name]
        if told_levels != events[name].levels:
            yield f"{name} is written at {sorted(events[name].levels)}, the page says {sorted(told_levels)}"
        if told_keys != events[name].keys:
            yield f"{name} has the keys {sorted(events[name].keys)}, the page says {sorted(told_keys)}"
        if not words:
            yield f"{name} has no explanation"


def _words(cell: str) -> set[str]:
    return set(re.findall(r"\w+", cell))
