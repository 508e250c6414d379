"""Migrations are such that the code before them goes on working, and nobody waits for a lock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from alembic import op

import app.migrations
from app.migrations.steps import create_index
from tests.support.migration_rules import load, problems, statements

VERSIONS = sorted((Path(app.migrations.__file__).parent / "versions").glob("*.py"))


def revision(*sql: str, contract: str | None = None) -> Any:
    def upgrade() -> None:
        for one in sql:
            op.execute(one)

    return cast("Any", SimpleNamespace(revision="9999", upgrade=upgrade, contract=contract))


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_no_revision_breaks_the_code_before_it_or_blocks_it(path: Path) -> None:
    assert list(problems(load(path))) == []


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_every_revision_is_numbered_named_and_can_be_undone(path: Path) -> None:
    module = load(path)
    number = path.stem.split("_")[0]
    assert module.revision == number
    assert module.down_revision == (f"{int(number) - 1:04d}" if number != "0001" else None)
    assert module.__doc__
    assert callable(module.downgrade)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs DROP COLUMN error",
        "DROP TABLE records",
        "ALTER TABLE jobs RENAME COLUMN error TO failure",
        "ALTER TABLE jobs RENAME TO work",
        "ALTER TABLE jobs ALTER COLUMN attempt TYPE bigint",
        "ALTER TABLE jobs ALTER attempt SET DATA TYPE bigint",
        "ALTER TABLE jobs ALTER COLUMN request_id SET NOT NULL",
        "ALTER TABLE jobs ALTER COLUMN priority DROP DEFAULT",
    ],
)
def test_what_takes_something_from_the_old_code_needs_a_sentence(sql: str) -> None:
    assert len(list(problems(revision(sql)))) == 1
    assert list(problems(revision(sql, contract="Nothing has read it since 0.3."))) == []


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE jobs ADD COLUMN owner text NOT NULL",
        "ALTER TABLE jobs ADD owner text NOT NULL, ADD COLUMN note text",
        "ALTER TABLE jobs ADD COLUMN token uuid DEFAULT gen_random_uuid()",
        "CREATE INDEX jobs_error ON jobs (error)",
        "CREATE UNIQUE INDEX jobs_error ON jobs (error)",
        "ALTER TABLE jobs ADD CONSTRAINT sane CHECK (attempt < 100)",
        "ALTER TABLE jobs ADD CONSTRAINT a CHECK (epoch < 9) NOT VALID, ADD CONSTRAINT b CHECK (epoch > 0)",
        "ALTER TABLE jobs ADD CONSTRAINT theirs FOREIGN KEY (client_id) REFERENCES clients (id)",
        "ALTER TABLE jobs ADD CONSTRAINT once UNIQUE (client_id, request_id)",
        "UPDATE jobs SET priority = 0",
        "DELETE FROM jobs",
        "LOCK TABLE jobs",
    ],
)
@pytest.mark.parametrize("contract", [None, "Nothing has read it since 0.3."])
def test_what_keeps_everybody_waiting_is_refused_in_any_case(sql: str, contract: str | None) -> None:
    assert len(list(problems(revision(sql, contract=contract)))) == 1


@pytest.mark.parametrize(
    "sql",
    [
        ("ALTER TABLE jobs ADD COLUMN note text, ADD COLUMN many integer NOT NULL DEFAULT 0",),
        ("ALTER TABLE jobs ADD COLUMN many integer DEFAULT 0 NOT NULL, ADD note text",),
        ("ALTER TABLE jobs ADD COLUMN at timestamptz NOT NULL DEFAULT now()",),
        ("CREATE TABLE notes (id uuid PRIMARY KEY, text text NOT NULL)", "CREATE INDEX n ON notes (text)"),
        ("ALTER TABLE jobs ADD CONSTRAINT sane CHECK (attempt < 100) NOT VALID",),
        ("ALTER TABLE jobs VALIDATE CONSTRAINT sane",),
        ("CREATE INDEX CONCURRENTLY jobs_error ON jobs (error)",),
        ("ALTER TABLE jobs ADD CONSTRAINT once UNIQUE USING INDEX jobs_once",),
    ],
)
def test_what_the_old_code_does_not_notice_is_allowed(sql: tuple[str, ...]) -> None:
    assert list(problems(revision(*sql))) == []


def test_a_check_is_not_validated_in_the_transaction_that_added_it() -> None:
    added = "ALTER TABLE jobs ADD CONSTRAINT sane CHECK (attempt < 100) NOT VALID"
    assert len(list(problems(revision(added, "ALTER TABLE jobs VALIDATE CONSTRAINT sane")))) == 1


def test_an_index_made_by_the_step_is_concurrent_and_can_be_made_again() -> None:
    def upgrade() -> None:
        create_index("jobs_error", "jobs (error)", unique=True)

    made = cast("Any", SimpleNamespace(revision="9999", upgrade=upgrade))
    assert statements(made) == [
        "DROP INDEX CONCURRENTLY IF EXISTS jobs_error",
        "CREATE UNIQUE INDEX CONCURRENTLY jobs_error ON jobs (error)",
    ]
    assert list(problems(made)) == []
