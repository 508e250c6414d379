"""Reports of a drill, for a terminal, for programs and as one page."""

from __future__ import annotations

from chaos.engine.report.html import to_html
from chaos.engine.report.json_report import SCHEMA, ReportUnreadableError, from_json, to_json
from chaos.engine.report.junit import to_junit
from chaos.engine.report.store import (
    ReportNotFoundError,
    find_report,
    read_report,
    report_directory,
    write_atomically,
    write_reports,
)
from chaos.engine.report.text import render_text

__all__ = [
    "SCHEMA",
    "ReportNotFoundError",
    "ReportUnreadableError",
    "find_report",
    "from_json",
    "read_report",
    "render_text",
    "report_directory",
    "to_html",
    "to_json",
    "to_junit",
    "write_atomically",
    "write_reports",
]
