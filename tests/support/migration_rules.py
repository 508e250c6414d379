"""What a migration must not do while the code before it still runs (docs/howto/migrations.md)."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from alembic.migration import MigrationContext
from alembic.operations import Operations

FIRST = "0001"
"""Made the tables: there was nothing before it."""

# The old code uses what these take away or change. After it is gone, a revision that says so may.
_CONTRACTING = {
    "takes away a column": r"\bDROP COLUMN\b",
    "takes away a table": r"\bDROP TABLE\b",
    "renames": r"\bRENAME\b",
    "changes the type of a column": r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b",
    "forbids null in a column that was there": r"\bSET NOT NULL\b",
    "takes away a default": r"\bDROP DEFAULT\b",
}
# These keep writers waiting for as long as the table is big, whoever they are. Of each part of a statement.
_BLOCKING = {
    "checks every row under a lock (add it NOT VALID, validate it in a later revision)": (
        r"^(?!.*\bNOT VALID\b).*\bADD CONSTRAINT \S+ (CHECK|FOREIGN KEY)\b"
    ),
    "makes an index under a lock (use USING INDEX)": (
        r"^(?!.*\bUSING INDEX\b).*\bADD (CONSTRAINT \S+ )?(UNIQUE|PRIMARY KEY)\b"
    ),
    "changes every row in one transaction": r"^(UPDATE|DELETE)\b",
    "locks a table": r"^LOCK\b",
    "rewrites a table": r"^(VACUUM FULL|CLUSTER)\b",
}
_BLOCKING_COLUMN = {
    "adds a column that may not be null and has no default": r"^(?!.*\bDEFAULT\b).*\bNOT NULL\b",
    "computes a default for every row": r"\bDEFAULT (?!now\(\))\w+\(",
}
_ADD_COLUMN = re.compile(
    r"^(ALTER TABLE (ONLY |IF EXISTS )*\w+ )?ADD (COLUMN |(?!CONSTRAINT|UNIQUE|PRIMARY))", re.IGNORECASE
)
_INDEX = re.compile(
    r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)(IF NOT EXISTS )?\S+ ON (?P<table>\w+)", re.IGNORECASE
)
_ALTER = re.compile(r"^ALTER TABLE (ONLY |IF EXISTS )*(?P<table>\w+)", re.IGNORECASE)
_CREATE = re.compile(r"^CREATE TABLE (IF NOT EXISTS )?(?P<table>\w+)", re.IGNORECASE)
_VALIDATE = re.compile(r"\bVALIDATE CONSTRAINT (?P<name>\w+)", re.IGNORECASE)
_ADD_CONSTRAINT = re.compile(r"\bADD CONSTRAINT (?P<name>\w+)", re.IGNORECASE)


def load(path: Path) -> ModuleType:
    """Load a revision as Alembic does."""
    spec = importlib.util.spec_from_file_location(f"revision_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def statements(revision: ModuleType) -> list[str]:
    """Return the SQL of an upgrade, each statement on one line."""
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written}
    )
    with Operations.context(context):
        revision.upgrade()
    parts = (re.sub(r"\s+", " ", part).strip() for part in written.getvalue().split(";\n"))
    return [part.rstrip("; ") for part in parts if part and part not in ("BEGIN", "COMMIT")]


def problems(revision: ModuleType) -> Iterator[str]:
    """Yield what an upgrade must not do.

    A revision with a sentence in ``contract``, which says why nobody misses it, may take things away.
    """
    if revision.revision == FIRST:
        return
    sql = statements(revision)
    own = {match["table"] for one in sql if (match := _CREATE.match(one))}
    added: set[str] = set()
    for one in sql:
        table = _ALTER.match(one) or _INDEX.match(one)
        if _CREATE.match(one) or (table is not None and table["table"] in own):
            continue  # nobody uses what this very revision makes
        if _INDEX.match(one):
            yield f"makes an index under a lock (use app.migrations.steps.create_index): {one}"
        if not getattr(revision, "contract", None):
            yield from _found(_CONTRACTING, one)
        for part in re.split(r", (?=ADD\b)", one, flags=re.IGNORECASE):
            yield from _found(_BLOCKING, part)
            if _ADD_COLUMN.match(part):
                yield from _found(_BLOCKING_COLUMN, part)
        added |= {match["name"] for match in _ADD_CONSTRAINT.finditer(one)}
        if added & {match["name"] for match in _VALIDATE.finditer(one)}:
            yield f"checks every row in the transaction that holds the lock: {one}"


def _found(rules: Mapping[str, str], sql: str) -> Iterator[str]:
    yield from (f"{what}: {sql}" for what, how in rules.items() if re.search(how, sql, re.IGNORECASE))
