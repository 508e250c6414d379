"""Where alerts go and which keep which from going there, read from a deployed Alertmanager configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from chaos.domain import promql
from chaos.errors import LabError

# Alertmanager's own defaults for a root route that does not say.
_GROUP_WAIT_DEFAULT = "30s"
_GROUP_INTERVAL_DEFAULT = "5m"
_REPEAT_INTERVAL_DEFAULT = "4h"

_OWN_ONLY = frozenset({"routes", "matchers", "match", "match_re"})  # what children do not inherit
_MATCHER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*\Z", re.DOTALL)


class RoutesError(LabError):
    """The Alertmanager configuration cannot be read. Check it with `amtool check-config`."""


@dataclass(frozen=True)
class Matcher:
    """One matcher of a route or an inhibition, fully anchored as in Alertmanager."""

    label: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels satisfy it. A missing label is an empty one."""
        found = labels.get(self.label, "")
        hit = found == self.value if self.op in {"=", "!="} else re.fullmatch(self.value, found) is not None
        return hit != self.op.startswith("!")


@dataclass(frozen=True)
class Route:
    """A node of the route tree with what it inherits filled in. Durations in seconds."""

    receiver: str
    matchers: Sequence[Matcher]
    group_by: Sequence[str]
    group_wait_seconds: float
    group_interval_seconds: float
    repeat_interval_seconds: float
    continues: bool
    routes: Sequence[Route]

    def matching(self, labels: Mapping[str, str]) -> list[Route]:
        """Return the routes an alert with these labels is sent by, in order."""
        if not all(matcher.matches(labels) for matcher in self.matchers):
            return []
        found: list[Route] = []
        for child in self.routes:
            hits = child.matching(labels)
            found += hits
            if hits and not child.continues:
                break
        return found or [self]


@dataclass(frozen=True)
class Inhibition:
    """An inhibit rule."""

    name: str
    source: Sequence[Matcher]
    target: Sequence[Matcher]
    equal: Sequence[str]

    def mutes(self, labels: Mapping[str, str], source: Mapping[str, str]) -> bool:
        """Tell whether a firing ``source`` keeps an alert with ``labels`` from being sent."""

        def both(matchers: Sequence[Matcher], of: Mapping[str, str]) -> bool:
            return all(matcher.matches(of) for matcher in matchers)

        if both(self.source, labels) and both(self.target, source):
            return False  # Alertmanager lets no two such alerts silence each other
        same = all(labels.get(name, "") == source.get(name, "") for name in self.equal)
        return both(self.target, labels) and both(self.source, source) and same


@dataclass(frozen=True)
class RouteTree:
    """Where alerts go, and which keep which from going there."""

    root: Route
    inhibitions: Sequence[Inhibition]

    def routes_for(self, labels: Mapping[str, str]) -> list[Route]:
        """Return every route that sends an alert with these labels."""
        return self.root.matching(labels)

    def receivers_for(self, labels: Mapping[str, str]) -> list[str]:
        """Return the receivers of an alert with these labels."""
        return [route.receiver for route in self.routes_for(labels)]

    def receiver_for(self, labels: Mapping[str, str]) -> str:
        """Return the first receiver of an alert with these labels."""
        return self.receivers_for(labels)[0]

    def muted_by(self, labels: Mapping[str, str], firing: Iterable[Mapping[str, str]]) -> str | None:
        """Return the name of the inhibition that mutes an alert while ``firing`` fire, if any."""
        others = list(firing)
        for inhibition in self.inhibitions:
            if any(inhibition.mutes(labels, source) for source in others):
                return inhibition.name
        return None


def parse_routes(text: str) -> RouteTree:
    """Read an Alertmanager configuration."""
    document = yaml.safe_load(text) or {}
    if "route" not in document:
        raise RoutesError("the Alertmanager configuration has no route")
    inhibitions = [
        Inhibition(
            str(entry.get("name", f"inhibit-rule-{number}")),
            _matchers(entry.get("source_matchers", [])),
            _matchers(entry.get("target_matchers", [])),
            tuple(entry.get("equal", [])),
        )
        for number, entry in enumerate(document.get("inhibit_rules", []))
    ]
    return RouteTree(_route(document["route"], {}), tuple(inhibitions))


def _route(entry: Mapping[str, Any], inherited: Mapping[str, Any]) -> Route:
    own = {key: value for key, value in entry.items() if key not in _OWN_ONLY}
    merged = {**inherited, **own, "continue": entry.get("continue", False)}
    legacy = [Matcher(k, "=", str(v)) for k, v in entry.get("match", {}).items()]
    legacy += [Matcher(k, "=~", str(v)) for k, v in entry.get("match_re", {}).items()]
    return Route(
        receiver=str(merged["receiver"]),
        matchers=(*_matchers(entry.get("matchers", [])), *legacy),
        group_by=tuple(merged.get("group_by", [])),
        group_wait_seconds=_seconds(merged.get("group_wait", _GROUP_WAIT_DEFAULT)),
        group_interval_seconds=_seconds(merged.get("group_interval", _GROUP_INTERVAL_DEFAULT)),
        repeat_interval_seconds=_seconds(merged.get("repeat_interval", _REPEAT_INTERVAL_DEFAULT)),
        continues=bool(merged["continue"]),
        routes=tuple(_route(child, merged) for child in entry.get("routes", [])),
    )


def _matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    return tuple(_matcher(text) for text in texts)


def _matcher(text: str) -> Matcher:
    match = _MATCHER.match(text)
    if match is None:
        raise RoutesError(f'{text!r} is not a matcher like severity="critical"')
    label, op, value = match.groups()
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return Matcher(label, op, re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value)


def _seconds(text: object) -> float:
    return float(promql.parse_seconds(str(text)))
