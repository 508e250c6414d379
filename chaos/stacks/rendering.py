"""Renders the monitoring's and nginx's configuration. Every stack renders from the same files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import jinja2

from chaos.config import ROOT
from chaos.domain.clock import LabClock, check_rules, choose_clock, derive_alertmanager, derive_rules
from chaos.domain.thresholds import UnmarkedThresholdsError
from chaos.domain.topology import Topology
from chaos.domain.watching import add_runbook_urls
from chaos.errors import LabError

OBSERVABILITY = ROOT / "observability"
NGINX_TEMPLATE = ROOT / "deploy" / "nginx" / "nginx.conf.j2"
RUNBOOK_BASE_DEFAULT = "https://github.com/firedrill/firedrill/blob/main"


class RenderingError(LabError):
    """A configuration template cannot be rendered. The message names the file and the variable."""


def read_rules(source_dir: Path = OBSERVABILITY) -> dict[str, str]:
    """Return the production rule files, by file name."""
    found = sorted((source_dir / "prometheus" / "rules").glob("*.yml"))
    if not found:
        raise RenderingError(f"no rule files under {source_dir}/prometheus/rules: restore the checkout")
    return {path.name: path.read_text(encoding="utf-8") for path in found}


def lab_clock(
    source_dir: Path = OBSERVABILITY, scrape_seconds: float = 1, evaluation_seconds: float = 1
) -> LabClock:
    """Return the clock the rule files allow."""
    return choose_clock(read_rules(source_dir).values(), scrape_seconds, evaluation_seconds)


def render_observability(
    topology: Topology,
    *,
    lab_id: str,
    state_dir: Path | str,
    source_dir: Path = OBSERVABILITY,
    nginx_template: Path = NGINX_TEMPLATE,
    clock: LabClock | None,
    runbook_base: str = RUNBOOK_BASE_DEFAULT,
    missing: Collection[str] = (),
    rules_dir: str = "rules",
) -> dict[str, str]:
    """Return every configuration file, by path relative to the configuration directory.

    Args:
        topology: where everything is.
        lab_id: what alerts carry as ``environment``.
        state_dir: the lab's directory; data, pid and log paths start there.
        source_dir: the ``observability`` folder.
        nginx_template: nginx's template.
        clock: ``None`` for production timing, else what to derive the lab's timing with.
        runbook_base: where the checkout can be read; runbook links start there.
        missing: logical names of daemons this stack could not get, which are then not scraped.
        rules_dir: where Prometheus finds the rules; relative to its configuration file.
    """
    values = {
        "topology": topology,
        "lab_id": lab_id,
        "state_dir": str(state_dir),
        "rules_dir": rules_dir,
        "clock": clock,
        "missing": frozenset(missing),
    }
    rules = read_rules(source_dir)
    if findings := check_rules(rules):
        raise UnmarkedThresholdsError(findings)
    alertmanager = _render(source_dir / "alertmanager" / "alertmanager.yml.j2", values)
    files = {
        "prometheus/prometheus.yml": _render(source_dir / "prometheus" / "prometheus.yml.j2", values),
        "alertmanager/alertmanager.yml": derive_alertmanager(alertmanager, clock) if clock else alertmanager,
        "loki/loki.yml": _render(source_dir / "loki" / "loki.yml.j2", values),
        "blackbox/blackbox.yml": (source_dir / "blackbox" / "blackbox.yml").read_text(encoding="utf-8"),
        "nginx/nginx.conf": _render(nginx_template, values),
    }
    for name, text in rules.items():
        deployed = derive_rules(text, clock, name) if clock else text
        files[f"prometheus/rules/{name}"] = add_runbook_urls(deployed, runbook_base)
    return files


def _render(path: Path, values: dict[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- configuration files, not HTML; values are quoted by tojson
    )
    try:
        return environment.get_template(path.name).render(values)
    except (jinja2.TemplateError, KeyError) as error:
        raise RenderingError(f"{path}: {error}") from error
