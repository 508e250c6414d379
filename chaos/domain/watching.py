"""What watches the service, read from the *deployed* texts: rules and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import promql_parser
import yaml

from chaos.domain import promql
from chaos.domain.yamltext import dump
from chaos.errors import LabError

RUNBOOK_FOLDER = "docs/runbooks"


class UndefinedAlertError(LabError):
    """The alert is not defined by the deployed rules. Add it under observability/prometheus/rules."""


@dataclass(frozen=True)
class Rule:
    """An alerting or a recording rule. Durations in seconds."""

    name: str
    expression: str
    alerting: bool
    for_seconds: float
    keep_firing_for_seconds: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def tree(self) -> promql_parser.Expr:
        """The parsed expression."""
        return promql.parse(self.expression)


@dataclass(frozen=True)
class RuleFile:
    """One rule file, its rules in order of evaluation."""

    path: str
    rules: Sequence[Rule]


@dataclass(frozen=True)
class PrometheusTiming:
    """The global intervals of a Prometheus, in seconds."""

    scrape_seconds: float
    scrape_timeout_seconds: float
    evaluation_seconds: float


def parse_rules(path: str, text: str) -> RuleFile:
    """Read a rule file."""
    document = yaml.safe_load(text) or {}
    rules = [_rule(entry) for group in document.get("groups", []) for entry in group.get("rules", [])]
    return RuleFile(path, tuple(rules))


def parse_prometheus(text: str) -> PrometheusTiming:
    """Read the global intervals of a Prometheus configuration."""
    found = (yaml.safe_load(text) or {}).get("global", {})
    scrape = found.get("scrape_interval", "1m")
    return PrometheusTiming(
        _seconds(scrape),
        min(_seconds(found.get("scrape_timeout", "10s")), _seconds(scrape)),
        _seconds(found.get("evaluation_interval", "1m")),
    )


def find_alert(name: str, files: Iterable[RuleFile]) -> Rule:
    """Return the alert with this name.

    Raises:
        UndefinedAlertError: when no deployed rule defines it.
    """
    for file in files:
        for rule in file.rules:
            if rule.alerting and rule.name == name:
                return rule
    raise UndefinedAlertError(f"{name} is not defined by the deployed rules")


def find_recording(name: str, files: Iterable[RuleFile]) -> Rule | None:
    """Return the rule that records the series ``name``, if one does."""
    rules = (rule for file in files for rule in file.rules)
    return next((rule for rule in rules if not rule.alerting and rule.name == name), None)


def runbook_url(alert: str, base: str) -> str:
    """Return where the runbook of an alert is."""
    return f"{base.rstrip('/')}/{RUNBOOK_FOLDER}/{alert}.md"


def add_runbook_urls(text: str, base: str) -> str:
    """Return a rule file whose alerts carry ``runbook_url``. Rule files never hold one themselves."""
    document = yaml.safe_load(text)
    for group in document.get("groups", []):
        for rule in group.get("rules", []):
            if "alert" in rule:
                rule.setdefault("annotations", {})["runbook_url"] = runbook_url(rule["alert"], base)
    return dump(document)


def _rule(entry: Mapping[str, Any]) -> Rule:
    alerting = "alert" in entry
    return Rule(
        name=str(entry["alert" if alerting else "record"]),
        expression=str(entry["expr"]),
        alerting=alerting,
        for_seconds=_seconds(entry.get("for", "0s")),
        keep_firing_for_seconds=_seconds(entry.get("keep_firing_for", "0s")),
        labels={key: str(value) for key, value in entry.get("labels", {}).items()},
        annotations={key: str(value) for key, value in entry.get("annotations", {}).items()},
    )


def _seconds(text: object) -> float:
    return float(promql.parse_seconds(str(text)))
