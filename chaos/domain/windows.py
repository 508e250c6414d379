"""How long a rule's expression takes to turn true after a fault begins, and false after it ends.

Read from the expression's tree: what a look-back costs depends on what is done with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import promql_parser

from chaos.domain import promql
from chaos.domain.watching import RuleFile, find_recording

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_RATES = frozenset({"rate", "irate", "increase"})
_RULE_HOPS_MAX = 8  # a chain this long is a cycle


@dataclass(frozen=True)
class Span:
    """The soonest and the latest, in seconds."""

    floor: float
    ceiling: float


NOTHING = Span(0.0, 0.0)


@dataclass(frozen=True)
class FaultProfile:
    """What a fault does to the signal an alert looks at.

    Attributes:
        rate_per_second: how fast the counted events come while the fault lasts; ``None`` when unknown.
        ratio: the share of requests that fail, for rules that compare a ratio.
        signal_seconds_max: the longest time until the service itself notices (its longest client deadline
            on the path, or the age of its own probe).
        hang: whether the scrape of the target hangs until its time-out.
        history_seconds: how long the stack had run before; a window longer than that holds only so much.
    """

    rate_per_second: float | None = None
    ratio: float = 1.0
    signal_seconds_max: float = 0.0
    hang: bool = False
    history_seconds: float = math.inf


@dataclass(frozen=True)
class _Comparison:
    value: promql.Expr
    op: str
    threshold: float


_Leaf = Callable[[_Comparison], Span]
_Pick = Callable[[Iterable[float]], float]


@dataclass(frozen=True)
class WindowReader:
    """Reads the window leg of expressions under one fault."""

    fault: FaultProfile
    files: Sequence[RuleFile]
    scrape_seconds: float

    def onset(self, node: promql.Expr) -> Span:
        """Return how long after the first bad sample the expression turns true."""
        return self._visit(node, self._onset, joined=max, either=min)

    def release(self, node: promql.Expr) -> Span:
        """Return how long after the last bad sample the expression turns false."""
        return self._visit(node, self._release, joined=min, either=max)

    def hops(self, node: promql.Expr, depth: int = 0) -> int:
        """Return the longest chain of recording rules under the expression."""
        recorded = [find_recording(str(part.name), self.files) for part in promql.selectors(node)]
        if depth >= _RULE_HOPS_MAX:
            return 0
        return max((1 + self.hops(rule.tree, depth + 1) for rule in recorded if rule), default=0)

    def _visit(self, node: promql.Expr, leaf: _Leaf, *, joined: _Pick, either: _Pick) -> Span:
        bare = promql.unwrap(node)
        if not isinstance(bare, promql_parser.BinaryExpr):
            return leaf(_Comparison(bare, ">", 0.0))
        match str(bare.op):
            case "and":
                parts, pick = _without_guards(list(_operands(bare))), joined
            case "or":
                parts, pick = [bare.lhs, bare.rhs], either
            case "unless":
                parts, pick = [bare.lhs], either
            case _:
                return leaf(_compared(bare))
        return _merge([self._visit(part, leaf, joined=joined, either=either) for part in parts], pick)

    def _onset(self, found: _Comparison) -> Span:
        parts = list(self._parts(found.value))
        calls = {part.func.name for part in parts if isinstance(part, promql_parser.Call)}
        rising = found.op in {">", ">="}
        if calls & {"time", "timestamp"} and rising:
            return Span(found.threshold, found.threshold)
        window = self._window(parts)
        if not window:
            return NOTHING
        if calls & _RATES:
            share = self._share(found, parts, calls, window) if rising else None
            return Span(0.0, window) if share is None else Span(share * window, share * window)
        emptied = "absent_over_time" in calls or ("min_over_time" if rising else "max_over_time") in calls
        if emptied:  # the last good sample was up to a scrape old when the fault came
            return Span(max(0.0, window - self.scrape_seconds), window)
        touched = ("max_over_time" if rising else "min_over_time") in calls
        return NOTHING if touched else Span(0.0, window)

    def _release(self, found: _Comparison) -> Span:
        parts = list(self._parts(found.value))
        calls = {part.func.name for part in parts if isinstance(part, promql_parser.Call)}
        rising = found.op in {">", ">="}
        window = self._window(parts)
        if not window or calls & {"time", "timestamp", "absent_over_time"}:
            return NOTHING
        if calls & _RATES:
            share = self._share(found, parts, calls, window) if rising else None
            return Span(0.0 if share is None else (1 - share) * window, window)
        if ("max_over_time" in calls and not rising) or ("min_over_time" in calls and rising):
            return NOTHING
        return Span(0.0, window)

    def _share(
        self, found: _Comparison, parts: list[promql.Expr], calls: set[str], window: float
    ) -> float | None:
        """Return which share of the window must hold the fault, or ``None`` when that is unknown."""
        if any(map(_is_ratio, parts)):
            return min(1.0, found.threshold / self.fault.ratio)
        if not self.fault.rate_per_second:
            return None
        wanted_per_second = found.threshold / window if "increase" in calls else found.threshold
        return min(1.0, wanted_per_second / self.fault.rate_per_second)

    def _window(self, parts: list[promql.Expr]) -> float:
        windows = [
            promql.seconds(part.range)
            for part in parts
            if isinstance(part, promql_parser.MatrixSelector | promql_parser.SubqueryExpr)
        ]
        return min(max(windows, default=0.0), self.fault.history_seconds)

    def _parts(self, node: promql.Expr, depth: int = 0) -> Iterator[promql.Expr]:
        """Yield the nodes below, recorded series replaced by what records them."""
        for part in promql.walk(node):
            yield part
            if isinstance(part, promql_parser.VectorSelector) and depth < _RULE_HOPS_MAX:
                rule = find_recording(str(part.name), self.files)
                if rule is not None:
                    yield from self._parts(rule.tree, depth + 1)


def _merge(spans: list[Span], pick: _Pick) -> Span:
    return Span(pick(span.floor for span in spans), pick(span.ceiling for span in spans))


def _operands(node: promql.Expr) -> Iterator[promql.Expr]:
    bare = promql.unwrap(node)
    if isinstance(bare, promql_parser.BinaryExpr) and str(bare.op) == "and":
        yield from _operands(bare.lhs)
        yield from _operands(bare.rhs)
    else:
        yield bare


def _without_guards(operands: list[promql.Expr]) -> list[promql.Expr]:
    """Drop volume guards: comparisons of what another operand divides by. Traffic was there before."""
    divisors = {
        promql.matcher_key(selector)
        for operand in operands
        for part in promql.walk(operand)
        if isinstance(part, promql_parser.BinaryExpr) and _is_ratio(part)
        for selector in promql.selectors(part.rhs)
    }
    kept = [
        operand
        for operand in operands
        if any(map(_is_ratio, promql.walk(operand)))
        or not {promql.matcher_key(selector) for selector in promql.selectors(operand)} <= divisors
    ]
    return kept or operands


def _is_ratio(node: promql.Expr) -> bool:
    if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) != "/":
        return False
    return all(any(map(_is_rate, promql.walk(side))) for side in (node.lhs, node.rhs))


def _is_rate(node: promql.Expr) -> bool:
    return isinstance(node, promql_parser.Call) and node.func.name in _RATES


def _compared(node: promql_parser.BinaryExpr) -> _Comparison:
    op, threshold = str(node.op), promql.constant(node.rhs)
    if op not in promql.COMPARISONS:
        return _Comparison(node, ">", 0.0)
    if threshold is not None:
        return _Comparison(node.lhs, op, threshold / _factor(node.lhs))
    flipped = promql.constant(node.lhs)
    if flipped is not None:
        return _Comparison(node.rhs, _FLIPPED.get(op, op), flipped / _factor(node.rhs))
    return _Comparison(node, "!=", 0.0)  # two series compared: only the windows are known


def _factor(node: promql.Expr) -> float:
    """Return the constant a value is multiplied with, as in ``100 * a / b``."""
    bare = promql.unwrap(node)
    if not isinstance(bare, promql_parser.BinaryExpr) or str(bare.op) not in {"*", "/"}:
        return 1.0
    left, right = (promql.constant(side) or _factor(side) for side in (bare.lhs, bare.rhs))
    return left * right if str(bare.op) == "*" else left / right
