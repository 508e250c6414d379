"""Staged rows into the table of all rows, once per key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg2 import errors, sql

from app.ingest.repository import Current, LedgerFile
from app.ingest.shapes import STAGE, Shape

PEEKED_ROWS = 200

_SHARES_KEYS = sql.SQL(
    """
    SELECT EXISTS (
        SELECT 1 FROM (SELECT {key} AS row_key FROM {stage} WHERE {present} LIMIT {peeked}) AS peeked
        JOIN ingested_rows AS r
          ON r.client_id = {client} AND r.dataset = {dataset} AND r.row_key = peeked.row_key COLLATE "C"
    )
    """
)

_TARGET = """
    INSERT INTO ingested_rows (client_id, dataset, row_key, day, file_id, content)
    SELECT {client}, {dataset}, row_key, {day}::date, {file_id}, content FROM ({rows}) AS s
"""
_INSERT = sql.SQL(_TARGET)
_INSERT_OR_PASS = sql.SQL(_TARGET + " ON CONFLICT DO NOTHING")

# Whether a hundredth of the pages is in the order of the keys; of a small file perhaps nothing is looked at.
_IN_ORDER = sql.SQL(
    """
    SELECT coalesce(bool_and(before <= row_key), false) FROM (
        SELECT {key} COLLATE "C" AS row_key, lag({key} COLLATE "C") OVER (ORDER BY ctid) AS before
        FROM {stage} TABLESAMPLE SYSTEM (1) REPEATABLE (0) WHERE {present}
    ) AS sampled
    """
)

_VALID_ROWS = """
    SELECT {key} AS row_key, {content} AS content FROM {stage} WHERE {present} AND {why} IS NULL
"""
_ROWS = sql.SQL(_VALID_ROWS)
# In the order of the keys, so that neighbours go to the same page of the index.
_SORTED_ROWS = sql.SQL(_VALID_ROWS + ' ORDER BY {key} COLLATE "C"')
# Of rows with one key the last of the file counts.
_LAST_ROWS = sql.SQL(
    """
    SELECT DISTINCT ON ({key} COLLATE "C") {key} AS row_key, {content} AS content
    FROM {stage} WHERE {present} AND {why} IS NULL ORDER BY {key} COLLATE "C", ctid DESC
    """
)

# Rows of this file's other versions are replaced, and of files before it; never those of later ones.
_REPLACE = sql.SQL(
    """
    UPDATE ingested_rows AS r SET content = s.content, day = {day}::date, file_id = {file_id}
    FROM ({rows}) AS s, ingest_files AS f
    WHERE r.client_id = {client} AND r.dataset = {dataset} AND r.row_key = s.row_key COLLATE "C"
      AND f.id = r.file_id AND f.id <> {file_id}
      AND (f.key = {file_key} OR (f.day, f.modified_at, f.id) < ({day}::date, {modified_at}, {file_id}))
    """
)


@dataclass(frozen=True)
class Merge:
    """The merge of one file. Its caller holds the lock of the dataset."""

    file: LedgerFile
    shape: Shape
    current: Current

    def insert_new(self, cursor: Any) -> int | None:
        """Insert the valid rows if all their keys are new. Return how many, or None: then nothing was."""
        cursor.execute("SAVEPOINT merging")
        if self._asked(cursor, _SHARES_KEYS):
            return None
        # Most files hold only new keys; without a conflict clause they go in half as fast again. Those that
        # come in order need not be sorted, which is worth as much as checking them.
        rows = _ROWS if self._asked(cursor, _IN_ORDER) else _SORTED_ROWS
        try:
            cursor.execute(self._filled(_INSERT, rows))
        except errors.UniqueViolation:
            self.take_back(cursor)
            return None
        return int(cursor.rowcount)

    @staticmethod
    def take_back(cursor: Any) -> None:
        """Undo what ``insert_new`` did."""
        cursor.execute("ROLLBACK TO SAVEPOINT merging")

    def merge(self, cursor: Any, valid: int) -> None:
        """Merge ``valid`` rows, of which some have keys that are known or that others of them have too."""
        cursor.execute(sql.SQL("ANALYZE {}").format(STAGE))
        cursor.execute(self._filled(_INSERT_OR_PASS, _LAST_ROWS))
        if cursor.rowcount < valid:
            cursor.execute(self._filled(_REPLACE, _LAST_ROWS))

    def _asked(self, cursor: Any, question: sql.SQL) -> bool:
        cursor.execute(self._filled(question, _ROWS))
        return bool(cursor.fetchone()[0])

    def _filled(self, statement: sql.SQL, rows: sql.SQL) -> sql.Composed:
        shape = {
            "key": self.shape.key,
            "content": self.shape.content,
            "stage": STAGE,
            "present": self.shape.present,
            "why": self.shape.why,
        }
        return statement.format(
            **shape,
            rows=rows.format(**shape),
            client=sql.Literal(self.file.client_id),
            dataset=sql.Literal(self.file.dataset),
            day=sql.Literal(self.file.day.isoformat()),
            file_id=sql.Literal(self.file.id),
            file_key=sql.Literal(self.file.key),
            modified_at=sql.Literal(self.current.modified_at),
            peeked=sql.Literal(PEEKED_ROWS),
        )
