"""Checks of our own over rules, their tests and their runbooks. Each returns what is wrong, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from chaos.domain.watching import Rule

ALWAYS_FIRING = frozenset({"Watchdog"})  # has no silent case, by its nature
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
SEVERITIES = frozenset({"critical", "warning", "none"})
SIGNALS = frozenset({"symptom", "cause", "meta"})

# An operator has no lab: what a runbook says must hold where nothing was broken on purpose.
_LAB_INTERNALS = re.compile(r"\blab_\w+|toxiproxy|journal|scenarios?/|scenario\.yml|\bfault\b", re.IGNORECASE)
_BLOCK = re.compile(
    r"(?:<!-- diagnosis: (?P<id>[a-z-]+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)```", re.DOTALL
)
_COMMANDS = ("lab promql ", "lab logql ", "lab logs ", "lab status", "curl -s")


def coverage_problems(rules: Iterable[Rule], tests: Mapping[str, str]) -> Iterator[str]:
    """Yield alerts without a firing or a silent case, and alert names in tests that no rule has."""
    names = {rule.name for rule in rules}
    cases = [case for text in tests.values() for case in _cases(yaml.safe_load(text))]
    for name in sorted({case["alertname"] for case in cases} - names):
        yield f"{name} is tested and does not exist"
    for name in sorted(names):
        mine = [bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name]
        if True not in mine:
            yield f"{name} has no case in which it fires"
        if False not in mine and name not in ALWAYS_FIRING:
            yield f"{name} has no case in which it stays silent"


def rule_problems(rules: Iterable[Rule]) -> Iterator[str]:
    """Yield alerts whose labels or annotations are not as agreed."""
    for rule in rules:
        labels, notes = rule.labels, rule.annotations
        if labels.get("severity") not in SEVERITIES or labels.get("signal") not in SIGNALS:
            yield f"{rule.name}: severity {labels.get('severity')!r}, signal {labels.get('signal')!r}"
        if labels.get("service") != "dcs" or not labels.get("component"):
            yield f"{rule.name}: `service` must be static (inhibition needs it equal) and `component` given"
        if not notes.get("summary") or "{{" in notes["summary"] or not notes.get("description"):
            yield f"{rule.name}: a constant summary and a description are needed"
        if "runbook_url" in notes:
            yield f"{rule.name}: runbook_url is computed, never typed"
        if "$value" in str(dict(labels)):
            yield f"{rule.name}: a value in a label makes a new alert with every change"


def runbook_problems(rules: Iterable[Rule], folder: Path) -> Iterator[str]:
    """Yield alerts without a runbook, runbooks without an alert, and what is wrong inside them."""
    names = {rule.name for rule in rules}
    present = {path.stem for path in folder.glob("*.md")}
    for name in sorted(names - present):
        yield f"{name} has no runbook"
    for name in sorted(present - names):
        yield f"{name}.md belongs to no alert"
    for name in sorted(names & present):
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        yield from (f"{name}.md: {problem}" for problem in _text_problems(name, text, present))


def _text_problems(name: str, text: str, present: set[str]) -> Iterator[str]:
    if not text.startswith(f"# {name}\n"):
        yield "its title is not the alert's name"
    if re.findall(r"^## (.+)$", text, re.MULTILINE) != HEADINGS:
        yield f"its headings are not {', '.join(HEADINGS)}"
    if found := _LAB_INTERNALS.search(text):
        yield f"it reads the lab: {found.group()!r}"
    for link in re.findall(r"\]\((\w+)\.md\)", text):
        if link not in present:
            yield f"it links to {link}.md, which does not exist"
    yield from _block_problems(list(_BLOCK.finditer(text)))


def _block_problems(blocks: list[re.Match[str]]) -> Iterator[str]:
    ids = [str(block["id"]) for block in blocks if block["id"]]
    if not ids or len(ids) != len(set(ids)):
        yield "its diagnosis blocks are missing or share an id"
    for block in blocks:
        if block["language"] != "sh" or block["id"] is None:
            yield "a block is not `sh` under a `<!-- diagnosis: id -->` line"
        for line in block["body"].splitlines():
            if not line.startswith(_COMMANDS):
                yield f"not a command an operator has: {line!r}"


def promql_commands(text: str) -> list[str]:
    """Return the expressions of the ``lab promql`` commands of a runbook."""
    return re.findall(r"^lab promql '(.*)'$", text, re.MULTILINE)


def _cases(document: Any) -> Iterator[dict[str, Any]]:
    for test in document.get("tests", []):
        yield from test.get("alert_rule_test", [])
