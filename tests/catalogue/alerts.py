"""Checks of alerts against scenarios. Each yields what is wrong, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from chaos.domain.scenario import AlertSignal
from chaos.engine.load import load_all
from scripts.reference_pages import alert_rules, route_tree


def expectation_problems(root: Path) -> Iterator[str]:
    """Yield alerts of scenarios that no rule defines, or that would reach somebody else than they say."""
    rules = {rule.name: rule for rule in alert_rules(root)}
    routes = route_tree(root)
    for where, expected in expected_alerts(root):
        rule = rules.get(expected.name)
        if rule is None:
            yield f"{where} expects {expected.name}, which no rule defines"
            continue
        receivers = routes.receivers_for({"alertname": rule.name, **rule.labels})
        if expected.receiver is None or expected.receiver not in receivers:
            yield f"{where} expects {rule.name} at {expected.receiver}; it goes to {', '.join(receivers)}"
        severity = rule.labels.get("severity")
        if expected.severity != severity:
            yield f"{where} expects {rule.name} to be {expected.severity}; it is {severity}"
    for where, name in _named_alerts(root):
        if name not in rules:
            yield f"{where} names {name}, which no rule defines"


def expected_alerts(root: Path) -> Iterator[tuple[str, AlertSignal]]:
    """Yield every alert that a variant must raise."""
    for loaded in load_all(root / "scenarios"):
        for variant in loaded.scenario.variants:
            for expected in loaded.scenario.contract(variant).expect:
                if isinstance(expected, AlertSignal):
                    yield f"scenario {loaded.number} variant {variant.id}", expected


def _named_alerts(root: Path) -> Iterator[tuple[str, str]]:
    for loaded in load_all(root / "scenarios"):
        for variant in loaded.scenario.variants:
            contract = loaded.scenario.contract(variant)
            for name in (*contract.allow, *contract.forbid):
                yield f"scenario {loaded.number} variant {variant.id}", name


def unproven_problems(root: Path) -> Iterator[str]:
    """Yield alerts that neither a scenario raises nor a reason excuses, and excuses that are stale."""
    path = root / "observability" / "unproven.yml"
    listed: list[Mapping[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8"))["unproven"]
    names = [entry["name"] for entry in listed]
    defined = {rule.name for rule in alert_rules(root)}
    proven = {expected.name for _, expected in expected_alerts(root)}
    for name in sorted(defined - proven - set(names)):
        yield f"no scenario raises {name}, and unproven.yml gives no reason"
    for entry in listed:
        name = entry["name"]
        if not entry.get("reason", "").strip():
            yield f"unproven.yml gives no reason for {name}"
        if names.count(name) > 1:
            yield f"unproven.yml names {name} twice"
        if name not in defined:
            yield f"unproven.yml names {name}, which no rule defines"
        elif name in proven:
            yield f"unproven.yml names {name}, which a scenario proves by now"
