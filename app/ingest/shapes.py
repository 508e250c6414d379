"""How the rows of a file are staged in the database, and which of them are valid: as SQL, for speed.

Names and values that came from outside are only ever literals; columns of the stage are named by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql

from app.ingest.settings import DatasetSchema
from app.ingest.spool import UnfitError

KEY_CHARACTERS_MAX = 500  # an index entry holds about 2700 bytes
STAGE = sql.Identifier("ingest_stage")


@dataclass(frozen=True)
class _Type:
    """When a value is of a type. ``plain`` is true for most of those that are, and is far quicker to see."""

    pattern: str
    plain: str


_DIGITS = "translate({value}, '0123456789', '') = ''"
_TYPES = {
    "integer": _Type(r"^[+-]?[0-9]{1,18}$", _DIGITS + " AND octet_length({value}) BETWEEN 1 AND 18"),
    "number": _Type(
        r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$",
        "translate({value}, '0123456789', '') IN ('', '.') AND {value} NOT IN ('', '.')",
    ),
    "boolean": _Type(r"^(true|false)$", "{value} IN ('true', 'false')"),
    "date": _Type(
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
        "translate({value}, '0123456789', '9999999999') = '9999-99-99'"
        " AND substr({value}, 6, 2) COLLATE \"C\" BETWEEN '01' AND '12'"
        " AND substr({value}, 9, 2) COLLATE \"C\" BETWEEN '01' AND '31'",
    ),
}


@dataclass(frozen=True)
class Shape:
    """One way of staging. ``why`` is NULL for a valid row; ``present`` leaves empty lines out."""

    columns: sql.Composable
    """Of the stage, with their types; ``n`` is the number of the row, where COPY is not told it is NULL."""
    copy_all: sql.Composable
    """COPY of the file as it is."""
    copy_checked: sql.Composable
    """COPY of what the slow path lets through, which begins with ``n``."""
    key: sql.Composable
    content: sql.Composable
    why: sql.Composable
    present: sql.Composable
    sample: sql.Composable


def csv_shape(columns: Sequence[str], schema: DatasetSchema) -> Shape:
    """Return how a CSV file with these columns is staged. Raises ``UnfitError`` if one is missing."""
    missing = [name for name in (schema.key, *schema.required, *schema.types) if name not in columns]
    if missing:
        raise UnfitError("columns_missing", f"it has no column {', '.join(dict.fromkeys(missing))}")
    of = {name: sql.Identifier(f"c{number}") for number, name in enumerate(columns)}
    values = sql.SQL(", ").join(of.values())
    options = "(FORMAT csv, FORCE_NOT_NULL ({values}))"
    # In the order in which jsonb keeps them, so that it has nothing to sort in any row.
    kept = sorted(columns, key=lambda name: (len(name.encode()), name.encode()))
    return Shape(
        columns=sql.SQL(", ").join(sql.SQL("{} text").format(one) for one in of.values()),
        copy_all=sql.SQL("COPY {} ({}) FROM STDIN " + options).format(STAGE, values, values=values),
        copy_checked=sql.SQL("COPY {} (n, {}) FROM STDIN " + options).format(STAGE, values, values=values),
        key=of[schema.key],
        content=sql.SQL("jsonb_object({}, ARRAY[{}])").format(
            sql.Literal(kept), sql.SQL(", ").join(of[name] for name in kept)
        ),
        why=_why(of, of[schema.key], schema),
        present=sql.SQL("true"),
        sample=sql.SQL("concat_ws(',', {})").format(values),
    )


def jsonl_shape(schema: DatasetSchema) -> Shape:
    """Return how a JSON Lines file is staged."""
    names = dict.fromkeys((schema.key, *schema.required, *schema.types))
    of = {name: sql.SQL("coalesce(doc ->> {}, '')").format(sql.Literal(name)) for name in names}
    # Characters that no valid JSON holds, so that COPY takes a line for one value.
    options = "(FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')"
    shaped = sql.SQL(
        "CASE WHEN jsonb_typeof(doc) <> 'object' THEN 'not_an_object' "
        "WHEN jsonb_typeof(doc -> {key}) IN ('object', 'array') THEN 'key_invalid' ELSE {rest} END"
    ).format(key=sql.Literal(schema.key), rest=_why(of, of[schema.key], schema))
    return Shape(
        columns=sql.SQL("doc jsonb"),
        copy_all=sql.SQL("COPY {} (doc) FROM STDIN " + options).format(STAGE),
        copy_checked=sql.SQL("COPY {} (n, doc) FROM STDIN " + options).format(STAGE),
        key=of[schema.key],
        content=sql.SQL("doc"),
        why=shaped,
        present=sql.SQL("doc IS NOT NULL"),
        sample=sql.SQL("doc::text"),
    )


def _why(
    of: dict[str, sql.Identifier] | dict[str, sql.Composed], key: sql.Composable, schema: DatasetSchema
) -> sql.Composable:
    cases: list[sql.Composable] = [
        sql.SQL("WHEN {} = '' THEN 'key_missing'").format(key),
        sql.SQL("WHEN length({}) > {} THEN 'key_too_long'").format(key, sql.Literal(KEY_CHARACTERS_MAX)),
    ]
    cases += [
        sql.SQL("WHEN {} = '' THEN {}").format(of[name], sql.Literal(f"{name}_missing"))
        for name in schema.required
    ]
    cases += [
        sql.SQL("WHEN {value} <> '' AND NOT ({plain}) AND {value} !~ {pattern} THEN {reason}").format(
            value=of[name],
            plain=sql.SQL(_TYPES[kind].plain).format(value=of[name]),
            pattern=sql.Literal(_TYPES[kind].pattern),
            reason=sql.Literal(f"{name}_is_no_{kind}"),
        )
        for name, kind in schema.types.items()
        if kind in _TYPES
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))
