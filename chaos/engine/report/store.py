"""Where reports live, and how they get there in one piece."""

from __future__ import annotations

import datetime as dt
import os
import re
import tempfile
from pathlib import Path

from chaos.domain.run import DrillResult
from chaos.engine.report.html import to_html
from chaos.engine.report.json_report import ReportUnreadableError, from_json, to_json
from chaos.engine.report.junit import to_junit
from chaos.engine.report.wording import scenario_number
from chaos.errors import UsageError

REPORT = "report.json"
REPORTS = "reports"
RUNS = "runs"
_REPORT_BYTES_MAX = 64 * 1024**2  # far above any real one; a wrong file must not fill memory
_SEARCHED_MAX = 500  # newest reports looked into for a run id
_MODE = 0o644  # a report is meant to be passed on; mkstemp makes it 0600


class ReportNotFoundError(UsageError):
    """There is no such report. Run `lab drill 3` to get one, or name a report.json."""


def report_directory(state_dir: Path, result: DrillResult) -> Path:
    """Return ``reports/<started, UTC>-scenario-<n>`` of a lab."""
    started = dt.datetime.fromtimestamp(result.started_unix, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    name = re.sub(r"[^A-Za-z0-9-]+", "-", scenario_number(result.scenario))
    return state_dir / REPORTS / f"{started}-scenario-{name}"


def write_reports(result: DrillResult, directory: Path) -> dict[str, Path]:
    """Write report.json, report.junit.xml and report.html; a reader sees the old or the new file."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": (REPORT, to_json(result)),
        "junit": ("report.junit.xml", to_junit(result)),
        "html": ("report.html", to_html(result)),
    }
    written = {}
    for kind, (name, text) in texts.items():
        written[kind] = directory / name
        write_atomically(written[kind], text)
    return written


def write_atomically(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` by a rename, so that no half file is ever seen."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_MODE)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_report(path: Path) -> DrillResult:
    """Return the result kept at ``path``.

    Raises:
        ReportUnreadableError: it cannot be read, or is no report.
    """
    try:
        with path.open("rb") as file:
            kept = file.read(_REPORT_BYTES_MAX + 1)
        text = kept.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ReportUnreadableError(
            f"{path} cannot be read: {error}. Name a readable report.json."
        ) from error
    if len(kept) > _REPORT_BYTES_MAX:
        raise ReportUnreadableError(f"{path} is too large for a report. Name a report.json.")
    try:
        return from_json(text)
    except ReportUnreadableError as error:
        raise ReportUnreadableError(f"{path}: {error}") from error


def find_report(state_dir: Path, wanted: str | None) -> Path:
    """Return the newest report, or the one that ``wanted`` names by file, folder or run id.

    Raises:
        ReportNotFoundError: there is none.
    """
    if wanted is None:
        newest = _newest_first(state_dir)
        if not newest:
            raise ReportNotFoundError(
                f"This lab has no report yet ({state_dir / REPORTS}). Run `lab drill 3`."
            )
        return newest[0]
    named = Path(wanted)
    folders = [named]
    if named.name == wanted:  # one word: it may be a folder of the lab's own
        folders += [state_dir / REPORTS / wanted, state_dir / RUNS / wanted]
    for folder in folders:
        path = folder / REPORT if folder.is_dir() else folder
        if path.is_file():
            return path
    for path in _newest_first(state_dir)[:_SEARCHED_MAX]:
        if _holds_run(path, wanted):
            return path
    raise ReportNotFoundError(f"No report is called {wanted!r}. Name a report.json, or a run id of this lab.")


def _newest_first(state_dir: Path) -> list[Path]:
    found = [
        path for room in (REPORTS, RUNS) for path in state_dir.glob(f"{room}/*/{REPORT}") if path.is_file()
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.parent.name), reverse=True)


def _holds_run(path: Path, run_id: str) -> bool:
    try:
        return any(variant.run_id == run_id for variant in read_report(path).variants)
    except ReportUnreadableError:
        return False  # another report may hold it; this one is named only when asked for
