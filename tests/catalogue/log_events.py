"""Which log events the service can write, read from its code."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
COMMON = frozenset({"event", "level", "timestamp", "service", "instance"})
_EVENT_CONSTANT = "_EVENT"


@dataclass
class Event:
    """One event: at which levels it is written, and with which keys of its own."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


@functools.cache
def read_events(app: Path) -> dict[str, Event]:
    """Return every event of the service by name.

    An error may carry the event to be logged for it: then the name is the ``event=`` it is raised with, and
    the keys are those of the calls that log ``exc.event``.
    """
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(app.rglob("*.py"))]
    found: dict[str, Event] = {}
    carried = Event()
    for tree in trees:
        for levels, first, keys in _log_calls(tree):
            if isinstance(first, ast.Constant):
                event = found.setdefault(str(first.value), Event())
            else:
                event = carried
            event.levels |= levels
            event.keys |= keys
    for name in _carried_names(trees):
        found[name] = Event(set(carried.levels), set(carried.keys))
    return found


@functools.cache
def bound_keys(app: Path) -> frozenset[str]:
    """Return the keys that are bound to a request or a job and so stand in every line written meanwhile."""
    return frozenset(
        keyword.arg
        for path in sorted(app.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and _is_name(node.func.value, "log_context")
        and node.func.attr in {"bind", "bound"}
        for keyword in node.keywords
        if keyword.arg
    )


def _log_calls(tree: ast.Module) -> Iterator[tuple[set[str], ast.expr, set[str]]]:
    chosen = {
        method.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
        for method in (node.value.body, node.value.orelse)
        if isinstance(method, ast.Attribute) and _is_name(method.value, "log")
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
        keys = {keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg != "exc_info"}
        if _is_name(call.func, "write"):
            yield chosen, call.args[0], keys
        elif isinstance(call.func, ast.Attribute) and _is_name(call.func.value, "log"):
            if call.func.attr in LEVELS:
                yield {call.func.attr.replace("exception", "error")}, call.args[0], keys
            elif call.func.attr == "log":
                yield {"any"}, call.args[1], keys


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _carried_names(trees: list[ast.Module]) -> Iterator[str]:
    for node in (node for tree in trees for node in ast.walk(tree)):
        given = isinstance(node, ast.keyword) and node.arg == "event"
        declared = isinstance(node, ast.Assign) and any(_is_name(t, _EVENT_CONSTANT) for t in node.targets)
        value = node.value if isinstance(node, ast.keyword | ast.Assign) else None
        if (given or declared) and isinstance(value, ast.Constant):
            yield str(value.value)
