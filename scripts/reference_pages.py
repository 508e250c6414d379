"""Reference pages that the code itself tells: settings, metrics and alerts."""

from __future__ import annotations

import ast
import inspect
import itertools
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from app.settings import Settings
from app.telemetry import metrics
from chaos.config import LabConfig
from chaos.domain.routes import RouteTree, parse_routes
from chaos.domain.topology import embedded_topology
from chaos.domain.watching import Rule, parse_rules
from chaos.stacks.embedded.toolchain import ToolchainSettings
from chaos.stacks.rendering import lab_clock, read_rules, render_observability
from scripts import settings_notes

NOTICE = "<!-- do not edit; run make render -->"
ENV_NOTICE = "# do not edit; run make render"
GROUPS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("The lab", LabConfig),
    ("Where programs come from", ToolchainSettings),
    ("The service", Settings),
)
_PORT_BASE = 18_000  # any: the pages hold no address

SETTINGS_INTRO = """\
# Settings

All settings are environment variables, read once when a process starts. Durations and sizes carry their
unit in the name. What is wrong with them is reported together, by name. The embedded stack sets the `DCS_*`
settings of its processes by itself; they are listed for those who run the service elsewhere.
[`.env.example`](../../.env.example) has them all to copy from.
"""

METRICS_INTRO = """\
# Metrics of the service

Declared in [app/telemetry/metrics](../../app/telemetry/metrics), served at `/metrics` of every
process. A counter starts at 0 with every label set that is known beforehand, so that a first error is an
increase. What is marked so is served by workers only. A histogram has `_bucket`, `_sum` and `_count`.

| name | type | labels | meaning |
|---|---|---|---|
"""

ALERTS_INTRO = """\
# Alerts

Durations are production's; a lab divides them all by one number, now {k}
([decision 1](../decisions/0001-lab-clock.md)). Receivers are what the route tree gives. The rules are in
[observability/prometheus/rules](../../observability/prometheus/rules).

| alert | severity | receiver | `for` | what it says |
|---|---|---|---|---|
"""


class UndescribedError(Exception):
    """A setting has no description. Give it a docstring, or a note in scripts/settings_notes.py."""


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    lines = [NOTICE, *SETTINGS_INTRO.splitlines()]
    for title, model in GROUPS:
        lines += ["", f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {f'`{default}`' if default else ''} | {_cell(note)} |"
            for name, default, note in settings(model)
        ]
    lines += ["", "## Of make", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {note} |" for name, note in MAKE_VARIABLES.items()]
    return "\n".join(lines) + "\n"


MAKE_VARIABLES = {
    "VARIANT": "Which cause: a variant's id, or `all` (drill only). Left out: the first.",
    "SEED": "Repeats the timing of a drill. Left out: a new one, which is printed.",
    "HOLD": "When a scenario heals by itself: `90s`, `30m`, `2h`.",
    "KEEP": "`1` keeps a stack that was started for a drill.",
    "NAME": "The daemon whose log `make logs` shows.",
    "PYTHON": "The Python to make `.venv` with, when the one on `PATH` is not to be used.",
}


def env_example() -> str:
    """Return .env.example. Everything is commented out, so a copy changes nothing until it is edited."""
    lines = [
        ENV_NOTICE,
        "# Nothing reads this file by itself. Copy it to .env, remove the # before what you set, then:",
        "#   set -a; . ./.env; set +a",
    ]
    for title, model in GROUPS:
        lines += ["", f"# --- {title} ---"]
        for name, default, note in settings(model):
            lines += ["", *textwrap.wrap(note, 108, initial_indent="# ", subsequent_indent="# ")]
            lines.append(f"#{name}={'' if name in settings_notes.DEFAULTS else default}")
    return "\n".join(lines) + "\n"


def settings(model: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of every setting of a class.

    Raises:
        UndescribedError: a setting has no description, or has one in two places.
    """
    prefix = str(model.model_config.get("env_prefix", ""))
    documented = _attribute_docstrings(model)
    for field, info in model.model_fields.items():
        name = (prefix + field).upper()
        own = info.description or documented.get(field, "")
        if bool(own) == (name in settings_notes.NOTES):
            raise UndescribedError(f"{name} is described {'twice' if own else 'nowhere'}")
        yield name, _default(name, info), own or settings_notes.NOTES[name]


def _attribute_docstrings(model: type[BaseSettings]) -> Mapping[str, str]:
    """Return the strings that stand below fields, which Python throws away; mixed-in classes too."""
    own = [one for one in model.__mro__ if issubclass(one, BaseSettings) and one is not BaseSettings]
    parsed = [ast.parse(textwrap.dedent(inspect.getsource(one))).body[0] for one in own]
    statements = [line for body in parsed if isinstance(body, ast.ClassDef) for line in body.body]
    found = {}
    for before, after in itertools.pairwise(statements):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            text = ast.get_docstring(ast.Module([after], []))
            if text:
                found[before.target.id] = " ".join(text.replace("``", "`").split())
    return found


def _default(name: str, info: FieldInfo) -> str:
    if name in settings_notes.DEFAULTS:
        return settings_notes.DEFAULTS[name]
    value = info.get_default()
    if value is None:
        return ""
    secret = getattr(value, "get_secret_value", None)
    return str(secret() if secret else value)


def metrics_page() -> str:
    """Return docs/reference/metrics.md."""
    lines = [NOTICE, *METRICS_INTRO.splitlines()]
    common = {family.name for family in REGISTRY.collect()}
    for name, kind, labels, text in sorted(declared_metrics()):
        worker = "" if name.removesuffix("_total") in common else " (workers)"
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind}{worker} | {shown} | {_cell(text)} |")
    lines += ["", "## Label values", "", "Closed sets; anything else in a query is a mistake.", ""]
    lines += ["| metric | label | values |", "|---|---|---|"]
    for (name, label), values in sorted(label_values().items()):
        lines.append(f"| `{name}` | `{label}` | {', '.join(f'`{value}`' for value in sorted(values))} |")
    return "\n".join(lines) + "\n"


def declared_metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield name, type, labels and help of every metric of the service."""
    modules = [vars(metrics)[info.name] for info in pkgutil.iter_modules(metrics.__path__)]
    for metric in (value for module in (metrics, *modules) for value in vars(module).values()):
        if isinstance(metric, MetricWrapperBase):
            family = next(iter(metric.describe()))
            name = family.name + ("_total" if family.type == "counter" else "")
            yield name, family.type, tuple(vars(metric)["_labelnames"]), family.documentation


# These differ from deployment to deployment.
_OPEN = frozenset({"version", "host", "port", "database", "client", "upstream"})


def label_values() -> dict[tuple[str, str], set[str]]:
    """Return every known value of each label whose values are a closed set, by metric and label."""
    metrics.initialise("", host="", port=0, database="")
    found: dict[tuple[str, str], set[str]] = {}
    names = {name for name, *_ in declared_metrics()}
    for family in REGISTRY.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        for sample in family.samples if name in names else ():
            for label, value in sample.labels.items():
                if label not in _OPEN | {"le"}:
                    found.setdefault((name, label), set()).add(value)
    return found


def alerts_page(root: Path) -> str:
    """Return docs/reference/alerts.md."""
    lines = [NOTICE, *ALERTS_INTRO.format(k=lab_clock(root / "observability").k).splitlines()]
    routes = route_tree(root)
    for rule in sorted(alert_rules(root), key=lambda rule: rule.name):
        receivers = ", ".join(routes.receivers_for({"alertname": rule.name, **rule.labels}))
        held = f"{rule.for_seconds:g} s" if rule.for_seconds else "at once"
        lines.append(
            f"| [{rule.name}](../runbooks/{rule.name}.md) | {rule.labels.get('severity', '')} | {receivers} "
            f"| {held} | {_cell(rule.annotations.get('summary', ''))} |"
        )
    return "\n".join(lines) + "\n"


def alert_rules(root: Path) -> list[Rule]:
    """Return every alert of the production rules."""
    files = (parse_rules(name, text) for name, text in read_rules(root / "observability").items())
    return [rule for file in files for rule in file.rules if rule.alerting]


def route_tree(root: Path) -> RouteTree:
    """Return the production routes."""
    rendered = render_observability(
        embedded_topology("docs", _PORT_BASE),
        lab_id="docs",
        state_dir="docs",
        source_dir=root / "observability",
        nginx_template=root / "deploy" / "nginx" / "nginx.conf.j2",
        clock=None,
    )
    return parse_routes(rendered["alertmanager/alertmanager.yml"])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
