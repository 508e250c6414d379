"""Renders the documents, and writes them where they belong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jinja2

from bench.documents import capacity
from bench.documents.plot import ratios_svg
from bench.documents.report import Report, ReportError
from bench.plan import SECTIONS
from bench.processes import ROOT

TEMPLATES = Path(__file__).resolve().parent
DOCS = ROOT / "docs"
STORED = "reference/benchmarks.json"
"""Below ``docs``: the report that the documents are rendered from, kept with them."""


def rendered(report: Report) -> dict[str, str]:
    """Return every document, by path below ``docs``. Raises ``ReportError`` when one cannot be."""
    missing = report.missing(SECTIONS)
    if missing:
        raise ReportError(f"not measured: {', '.join(missing)}; the documents need every section")
    return {
        STORED: json.dumps(report.document, indent=1) + "\n",
        "reference/benchmarks.svg": ratios_svg(report.judged()),
        "reference/benchmarks.md": _render("benchmarks.md.j2", {"report": report}),
        "howto/capacity.md": _render(
            "capacity.md.j2", {"report": report, "capacity": capacity.Capacity(report), "c": capacity}
        ),
    }


def write(report: Report, docs: Path = DOCS) -> list[Path]:
    """Write every document; return where."""
    written = []
    for name, text in rendered(report).items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _render(name: str, values: Mapping[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  Markdown, not HTML, of our own figures
    )
    environment.filters["figure"] = lambda value, digits=1: f"{value:,.{digits}f}"
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f} %"
    return environment.get_template(name).render(values)
