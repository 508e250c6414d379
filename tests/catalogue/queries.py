"""Checks of what rules, scenarios and runbooks ask Prometheus and Loki. Each yields what is wrong."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import yaml

from chaos.domain import promql
from chaos.domain.scenario import LogSignal, MetricSignal, Scenario
from chaos.engine.load import load_all
from chaos.forwarder.forward import DAEMONS
from scripts.reference_pages import alert_rules, declared_metrics, label_values
from tests.catalogue.log_events import COMMON, bound_keys, read_events

TARGET_LABELS = frozenset({"job", "instance", "service", "component"})
HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")
EXPORTER_METRICS = Path(__file__).with_name("exporter_metrics.yml")
# The lab fills these in when a run begins.
_PLACEHOLDERS = {"$since_fault": "1m", "$since_act": "1m", "$database_host": "h", "$database_port": "1"}
_PROMQL_COMMAND = re.compile(r"^ *lab promql '(.*?)'", re.MULTILINE)
_LOGQL_COMMAND = re.compile(r"^ *lab logql '(.*?)'", re.MULTILINE)
_STREAM = re.compile(r"\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
_STREAM_LABELS = frozenset(
    {"service_name", "service_namespace", "deployment_environment_name", "service_instance_id"}
)
_SERVICE_STREAMS = frozenset({"api", "worker"})


@dataclass(frozen=True)
class Query:
    """One query and where it stands."""

    where: str
    text: str


def metric_queries(root: Path) -> Iterator[Query]:
    """Yield every PromQL expression of rules, scenarios and documents."""
    for rule in alert_rules(root):
        yield Query(f"rule {rule.name}", rule.expression)
    for where, signal in _signals(root):
        if isinstance(signal, MetricSignal):
            yield Query(where, _filled(signal.expr))
    yield from _commands(root, _PROMQL_COMMAND)


def log_queries(root: Path) -> Iterator[Query]:
    """Yield every LogQL query of scenarios and documents."""
    for where, signal in _signals(root):
        if isinstance(signal, LogSignal):
            yield Query(where, _filled(signal.query))
    yield from _commands(root, _LOGQL_COMMAND)


def _commands(root: Path, command: re.Pattern[str]) -> Iterator[Query]:
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        kind = "runbook" if path.parent.name == "runbooks" else "document"
        for text in command.findall(path.read_text(encoding="utf-8")):
            yield Query(f"{kind} {path.stem}", text)


def _signals(root: Path) -> Iterator[tuple[str, object]]:
    for loaded in load_all(root / "scenarios"):
        scenario: Scenario = loaded.scenario
        for signal in (*scenario.steady_state, *scenario.expect):
            yield f"scenario {loaded.number}", signal
        for variant in scenario.variants:
            for signal in (*variant.evidence, *(variant.expect or ())):
                yield f"scenario {loaded.number} variant {variant.id}", signal


def _filled(text: str) -> str:
    for name, value in _PLACEHOLDERS.items():
        text = text.replace(name, value)
    return text


@functools.cache
def known_metrics() -> dict[str, frozenset[str]]:
    """Return the labels of every metric that may be read, by name."""
    known: dict[str, frozenset[str]] = {
        name: frozenset(labels)
        for name, labels in yaml.safe_load(EXPORTER_METRICS.read_text(encoding="utf-8")).items()
    }
    for name, kind, labels, _ in declared_metrics():
        if kind == "histogram":
            own = frozenset(labels)
            known |= {
                name + suffix: own | ({"le"} if suffix == "_bucket" else set())
                for suffix in HISTOGRAM_SUFFIXES
            }
        else:
            known[name] = frozenset(labels)
    return known


_label_values = functools.cache(label_values)


def metric_problems(query: Query) -> Iterator[str]:
    """Yield metrics, labels and label values of a PromQL expression that do not exist."""
    known, values = known_metrics(), _label_values()
    tree = promql.parse(query.text)
    for selector in promql.selectors(tree):
        name = str(selector.name)
        if name not in known:
            yield f"{query.where}: nobody exposes {name}"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in known[name] | TARGET_LABELS:
                yield f"{query.where}: {name} has no label {matcher.name}"
            for value in _unknown_values(matcher, values.get((name, matcher.name), set())):
                yield f"{query.where}: {matcher.name} of {name} is never {value!r}"
    for node in promql.walk(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            names = {str(selector.name) for selector in promql.selectors(node)} & set(known)
            possible = TARGET_LABELS.union(*(known[name] for name in names))
            for label in sorted(set(node.modifier.labels) - possible):
                yield f"{query.where}: nothing below `by ({label})` has that label"


def _unknown_values(matcher: object, known: set[str]) -> Iterator[str]:
    wanted = str(getattr(matcher, "value", ""))
    if known and re.fullmatch(r"[\w|]+", wanted):  # a list of plain words, or one
        yield from (value for value in wanted.split("|") if value not in known)


def log_problems(query: Query, app: Path) -> Iterator[str]:
    """Yield streams, events and keys of a LogQL query that do not exist."""
    stream = _STREAM.search(query.text)
    if stream is None:
        yield f"{query.where}: {query.text!r} selects no stream"
        return
    labels = {label: value for label, _, value in _MATCHER.findall(stream[1])}
    names = set(labels.get("service_name", "").split("|"))
    for label in sorted(set(labels) - _STREAM_LABELS):
        yield f"{query.where}: {label} is no label of a stream"
    for name in sorted(names - _SERVICE_STREAMS - set(DAEMONS)):
        yield f"{query.where}: no stream is called {name!r}"
    if names <= _SERVICE_STREAMS:
        filters = {key: value for key, _, value in _MATCHER.findall(query.text[stream.end() :])}
        yield from _event_problems(query.where, filters, app)


def _event_problems(where: str, filters: dict[str, str], app: Path) -> Iterator[str]:
    events = read_events(app)
    for name in filters["event"].split("|") if "event" in filters else []:
        if name not in events:
            yield f"{where}: the service writes no event {name!r}"
            continue
        for key in sorted(set(filters) - COMMON - bound_keys(app) - events[name].keys):
            yield f"{where}: {name} has no key {key!r}"
