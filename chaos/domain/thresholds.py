"""Thresholds in seconds inside rules: found on the tree, marked in the text, scaled with the lab clock.

``time() - oldest > 300`` means something else on a clock that runs k times faster, so its line says
what to do: ``# lab-clock: scale`` divides the number, ``# lab-clock: keep`` leaves it. Zero is zero on every
clock. A comparison of a *count over a window* with a number is refused the same way: volume guards are rates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import promql_parser
import yaml

from chaos.domain import promql
from chaos.errors import LabError

_MARKER = re.compile(r"#\s*lab-clock:\s*(\S+)")
_DIMENSIONLESS = re.compile(
    r"(?:rate|irate|increase|delta|idelta|deriv|resets|changes|absent\w*|histogram_\w+)\Z"
)
_COUNTS = frozenset({"increase", "delta", "idelta", "changes", "resets", "count_over_time", "sum_over_time"})
_SECONDS_CALLS = frozenset({"time", "timestamp", "predict_linear"})
_CLAMPS = frozenset({"clamp", "clamp_min", "clamp_max"})


@dataclass(frozen=True)
class MarkerFinding:
    """One line of a rule file whose number the lab clock does not know what to do with."""

    file: str
    line: int  # counted from 1
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


class UnmarkedThresholdsError(LabError):
    """A threshold in seconds is not marked. Write `# lab-clock: scale` or `# lab-clock: keep` on its line."""

    def __init__(self, findings: list[MarkerFinding]) -> None:
        super().__init__("\n".join([str(self.__doc__), *map(str, findings)]))
        self.findings = findings


def sensitive_numbers(node: promql.Expr) -> list[float]:
    """Return every non-zero number in the tree whose meaning depends on how fast time runs."""
    return [value for part in promql.walk(node) for value in _numbers_of(part) if value]


def check_markers(text: str, name: str) -> list[MarkerFinding]:
    """Return what is unmarked, wrongly marked, or marked for nothing in a rule file."""
    return [
        finding for rule, line, expr in _expressions(text) for finding in _check_one(name, rule, line, expr)
    ]


def scale_thresholds(expression: str, divisor: int) -> str:
    """Divide the numbers on lines marked ``scale`` by ``divisor``."""
    chosen = {
        index
        for index, token in _threshold_tokens(expression)
        if _markers(expression).get(token.line) == "scale"
    }
    parts = []
    for index, token in enumerate(promql.tokens(expression)):
        parts.append(_divided(token.text, divisor) if index in chosen else token.text)
    return "".join(parts)


def _divided(text: str, divisor: int) -> str:
    seconds = promql.parse_seconds(text) if text[-1:].isalpha() else Fraction(text)
    return f"{float(seconds / divisor):.12g}"


def _check_one(name: str, rule: str, first_line: int, expression: str) -> Iterator[MarkerFinding]:
    def finding(line: int, message: str) -> MarkerFinding:
        return MarkerFinding(name, first_line + line, rule, message)

    markers = _markers(expression)
    found = _threshold_tokens(expression)
    for line, action in markers.items():
        if action not in {"scale", "keep"}:
            yield finding(line, f"unknown marker {action!r}: write `scale` or `keep`")
        elif not any(token.line == line for _, token in found):
            yield finding(line, "the marker stands on a line without a threshold in seconds: remove it")
    for _, token in found:
        if token.line not in markers:
            yield finding(token.line, f"{token.text} is in seconds or counts over a window: mark it")
    if len(found) != len(sensitive_numbers(promql.parse(expression))):
        yield finding(0, "write each threshold in seconds as one number, not as a sum or product")


def _threshold_tokens(expression: str) -> list[tuple[int, promql.Token]]:
    # A token matters when the tree holds fewer such numbers once it is zero. The parser gives no positions.
    pieces = list(promql.tokens(expression))
    total = len(sensitive_numbers(promql.parse(expression)))
    found = []
    for index, token in enumerate(pieces):
        if token.kind not in {"number", "duration"}:
            continue
        without = "".join("0" if at == index else piece.text for at, piece in enumerate(pieces))
        if len(sensitive_numbers(promql.parse(without))) < total:
            found.append((index, token))
    return found


def _markers(expression: str) -> dict[int, str]:
    return {
        token.line: match.group(1)
        for token in promql.tokens(expression)
        if token.kind == "comment" and (match := _MARKER.search(token.text))
    }


def _numbers_of(node: promql.Expr) -> Iterator[float]:
    match node:
        case promql_parser.BinaryExpr() if str(node.op) in promql.COMPARISONS | {"+", "-"}:
            for value, other in ((node.lhs, node.rhs), (node.rhs, node.lhs)):
                number = promql.constant(value)
                if number is None:
                    continue
                counts = str(node.op) in promql.COMPARISONS and _is_count(other)
                if counts or _is_seconds(other):
                    yield number
        case promql_parser.Call() if node.func.name == "predict_linear":
            yield promql.constant(node.args[1]) or 0.0
        case promql_parser.Call() if node.func.name in _CLAMPS and _is_seconds(node.args[0]):
            yield from (promql.constant(argument) or 0.0 for argument in node.args[1:])
        case _:
            return


def _is_seconds(node: promql.Expr) -> bool:
    match node:
        case promql_parser.VectorSelector():
            return bool(node.name and node.name.endswith("_seconds"))
        case promql_parser.Call():
            if node.func.name in _SECONDS_CALLS:
                return True
            return not _DIMENSIONLESS.match(node.func.name) and any(map(_is_seconds, node.args))
        case promql_parser.AggregateExpr():
            return str(node.op) not in {"count", "group", "count_values"} and _is_seconds(node.expr)
        case promql_parser.BinaryExpr() if str(node.op) == "/":
            return _is_seconds(node.lhs) and not _is_seconds(node.rhs)
        case _:
            return any(map(_is_seconds, promql.children(node)))


def _is_count(node: promql.Expr) -> bool:
    match node:
        case promql_parser.Call():
            return node.func.name in _COUNTS or any(map(_is_count, node.args))
        case promql_parser.BinaryExpr() if str(node.op) == "/":
            return _is_count(node.lhs) and not _is_count(node.rhs)
        case _:
            return any(map(_is_count, promql.children(node)))


def _expressions(text: str) -> Iterator[tuple[str, int, str]]:
    """Yield name, first line and text of each rule's expression."""
    root = yaml.compose(text)
    for group in _sequence(root, "groups"):
        for rule in _sequence(group, "rules"):
            fields = _mapping(rule)
            expr = fields["expr"]
            named = fields.get("alert") or fields["record"]
            # The text of a block scalar starts on the line after its `|`.
            block = 1 if isinstance(expr, yaml.ScalarNode) and expr.style in {"|", ">"} else 0
            yield str(named.value), expr.start_mark.line + 1 + block, str(expr.value)


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    return {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def _sequence(node: yaml.Node | None, key: str) -> list[yaml.Node]:
    found = _mapping(node).get(key)
    return list(found.value) if isinstance(found, yaml.SequenceNode) else []
