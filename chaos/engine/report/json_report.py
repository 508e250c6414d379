"""The report as JSON, and back."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chaos.domain.run import DrillResult
from chaos.errors import LabError

SCHEMA = "firedrill-report/v1"
_SHOWN_PROBLEMS_MAX = 5


class ReportUnreadableError(LabError):
    """The file is no report of this lab. Drill again to get a new one."""


def to_json(result: DrillResult) -> str:
    """Return the result with the schema's name first and the keys in the order of the types."""
    return json.dumps({"schema": SCHEMA, **result.as_dict()}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> DrillResult:
    """Return the result that ``to_json`` wrote. Verdicts are judged again, not believed.

    Raises:
        ReportUnreadableError: it is no JSON, another schema, or a value is missing or of the wrong kind.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ReportUnreadableError(
            f"The report is no JSON ({error}). Drill again to get a new one."
        ) from error
    _check_schema(data)
    try:
        return TypeAdapter(DrillResult).validate_python(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
        shown = "; ".join(problems[:_SHOWN_PROBLEMS_MAX])
        more = len(problems) - _SHOWN_PROBLEMS_MAX
        rest = f"; and {more} more" if more > 0 else ""
        raise ReportUnreadableError(
            f"The report is damaged: {shown}{rest}. Drill again to get a new one."
        ) from error


def _check_schema(data: Any) -> None:
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise ReportUnreadableError(
            f"The report says schema {found!r}, but this lab reads {SCHEMA!r}. "
            "Read it with the lab that wrote it."
        )
