"""What callers send, told apart more strictly than pydantic does.

By itself it takes ``true`` or ``"1"`` for a number, and a number for a day.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, Strict
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

_BEGINS_WITH_A_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)", re.ASCII)
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_NULL: Final[JsonDict] = {"type": "null"}


def _whole(value: object) -> object:
    # JSON knows one kind of number: 5.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written(value: object) -> object:
    if isinstance(value, dt.date) or (isinstance(value, str) and _BEGINS_WITH_A_DAY.match(value)):
        return value
    raise PydanticCustomError(
        "not_as_json", "Input should be written as in 2026-11-22 or 2026-11-22T10:58:12Z"
    )


def _in_utc(value: dt.datetime) -> dt.datetime:
    # PostgreSQL knows no offset of more than 16 hours. What does not say where it was told is UTC.
    try:
        return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
    except OverflowError:  # in UTC it is of the year 0 or 10000
        return _FIRST if value.year == 1 else _LAST


WHOLE: Final = BeforeValidator(_whole)
"""Follows the limits of an integer that may be null: before them it would hide them from the document."""
Integer = Annotated[int, Strict(), WHOLE]
Boolean = Annotated[bool, Strict()]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Without NUL, which PostgreSQL holds in no type of text; half of a surrogate pair fits no pattern either."""
Day = Annotated[dt.date, BeforeValidator(_written)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
AnyMoment = Annotated[dt.datetime, BeforeValidator(_written), AfterValidator(_in_utc)]
"""Of a time zone that whoever sends it may leave out."""


def exactly_one(*alternatives: tuple[str, ...]) -> JsonDict:
    """Return what a schema says of fields of which all of one alternative are given, and no others."""
    fields = [field for alternative in alternatives for field in alternative]
    return {
        "oneOf": [
            {
                "required": list(alternative),
                "properties": {field: {"not": _NULL} if field in alternative else _NULL for field in fields},
            }
            for alternative in alternatives
        ]
    }
