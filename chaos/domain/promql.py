"""PromQL as text and as a tree: what the lab clock rewrites and what the timing arithmetic reads.

The parser gives no positions and its nodes cannot be built: rewriting works on tokens and is proven on trees.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import promql_parser

from chaos.errors import LabError

Expr = promql_parser.Expr
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})

_UNITS_SECONDS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
    "w": Fraction(604_800),
    "y": Fraction(31_536_000),
}
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_NUMBER = r"(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_TOKEN = re.compile(
    rf"""
      (?P<comment>\#[^\n]*)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_:.]*)
    | (?P<duration>{_DURATION})(?![A-Za-z0-9_])
    | (?P<number>{_NUMBER})
    | (?P<space>\s+)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class PromqlError(LabError):
    """A PromQL expression cannot be read. Check it with `promtool check rules`."""


@dataclass(frozen=True)
class Token:
    """A piece of an expression. ``kind`` is ``range`` for a duration that says how far to look back."""

    kind: str
    text: str
    line: int  # counted from 0


def parse_seconds(text: str) -> Fraction:
    """Return a Go or Prometheus duration (``1m30s``, ``0``) in seconds."""
    stripped = text.strip()
    if stripped == "0":
        return Fraction(0)
    if not re.fullmatch(_DURATION, stripped):
        raise PromqlError(f"{text!r} is not a duration like 90s or 1m30s")
    parts = re.findall(r"(\d+)(ms|[smhdwy])", stripped)
    return sum((int(number) * _UNITS_SECONDS[unit] for number, unit in parts), Fraction(0))


def format_seconds(seconds: Fraction) -> str:
    """Return a duration Prometheus and Alertmanager read, to the nearest millisecond."""
    rest_ms = round(seconds * 1000)
    if rest_ms == 0:
        return "0s"
    text = ""
    for unit, size_ms in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest_ms = divmod(rest_ms, size_ms)
        text += f"{count}{unit}" if count else ""
    return text


def tokens(expression: str) -> Iterator[Token]:
    """Yield every token, white space included, so that joining the texts gives the expression back."""
    line = depth = 0
    after_offset = False
    for match in _TOKEN.finditer(expression):
        kind, text = str(match.lastgroup), match.group()
        if kind == "sign" and text in "[]":
            depth += 1 if text == "[" else -1
        if kind in {"duration", "number"} and (depth > 0 or after_offset):
            kind = "range"
        yield Token(kind, text, line)
        if kind not in {"space", "comment"} and text != "-":
            after_offset = kind == "word" and text.lower() == "offset"
        line += text.count("\n")


def rewrite(expression: str, change: Callable[[Token], str]) -> str:
    """Return the expression with every token replaced by ``change(token)``."""
    return "".join(change(token) for token in tokens(expression))


def range_seconds(text: str) -> Fraction:
    """Return a look-back in seconds. PromQL also takes a bare number for seconds."""
    return Fraction(text) if re.fullmatch(r"\d+(?:\.\d+)?", text) else parse_seconds(text)


def scale_ranges(expression: str, divisor: int) -> str:
    """Divide every range, subquery step and offset of the expression, and touch nothing else."""

    def change(token: Token) -> str:
        if token.kind != "range":
            return token.text
        return format_seconds(range_seconds(token.text) / divisor)

    return rewrite(expression, change)


def parse(expression: str) -> Expr:
    """Return the tree of an expression."""
    try:
        return promql_parser.parse(expression)
    except ValueError as error:
        raise PromqlError(f"cannot parse {expression.strip()!r}: {error}") from error


def unwrap(node: Expr) -> Expr:
    """Return the node without its parentheses."""
    while isinstance(node, promql_parser.ParenExpr):
        node = node.expr
    return node


def children(node: Expr) -> list[Expr]:
    """Return the direct children of a node, left to right."""
    match node:
        case promql_parser.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql_parser.Call():
            return list(node.args)
        case promql_parser.AggregateExpr():
            return [node.expr] if node.param is None else [node.param, node.expr]
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return [node.expr]
        case promql_parser.MatrixSelector():
            return [node.vector_selector]
        case _:
            return []


def walk(node: Expr) -> Iterator[Expr]:
    """Yield the node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def selectors(node: Expr) -> Iterator[promql_parser.VectorSelector]:
    """Yield every vector selector of the tree."""
    return (part for part in walk(node) if isinstance(part, promql_parser.VectorSelector))


def windows_seconds(node: Expr) -> list[float]:
    """Return the length of every range and subquery of the tree."""
    return [
        seconds(part.range)
        for part in walk(node)
        if isinstance(part, promql_parser.MatrixSelector | promql_parser.SubqueryExpr)
    ]


def constant(node: Expr) -> float | None:
    """Return the value of an expression made of numbers only, else ``None``."""
    match unwrap(node):
        case promql_parser.NumberLiteral() as number:
            return float(number.val)
        case promql_parser.UnaryExpr() as unary:
            value = constant(unary.expr)
            return None if value is None else -value
        case promql_parser.BinaryExpr() as binary:
            left, right = constant(binary.lhs), constant(binary.rhs)
            return None if left is None or right is None else _fold(str(binary.op), left, right)
        case _:
            return None


def _fold(op: str, left: float, right: float) -> float | None:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right else float("inf")
        case "^":
            return float(left**right)
        case _:
            return None


def matcher_key(selector: promql_parser.VectorSelector) -> str:
    """Return name and matchers of a selector in one canonical text."""
    found = sorted(f"{m.name}{m.op}{m.value!r}" for m in selector.matchers.matchers)
    return f"{selector.name}{{{','.join(found)}}}"


def seconds(value: dt.timedelta | None) -> float:
    """Return a parser's duration in seconds, none as 0."""
    return value.total_seconds() if value is not None else 0.0
