"""The report as one page: no script, nothing loaded from anywhere."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chaos.domain.run import DrillResult
from chaos.engine.report import wording
from chaos.engine.report.view import page_view

_HERE = Path(__file__).resolve().parent


def to_html(result: DrillResult) -> str:
    """Return the whole page. Every value is escaped and freed of control characters."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_cleaned,
    )
    environment.filters.update(
        seconds=wording.seconds,
        span=wording.span,
        utc=wording.utc,
        scenario_number=wording.scenario_number,
    )
    return environment.get_template("template.html.j2").render(page=page_view(result))


def _cleaned(value: object) -> object:
    # StrEnum and Markup are str as well, but only plain text comes from outside.
    return wording.clean(value) if type(value) is str else value
