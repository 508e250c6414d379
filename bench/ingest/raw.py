"""What ingestion is compared with: a COPY that checks nothing, remembers nothing and cannot be repeated."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import psycopg2

from bench.ingest.files import COLUMNS, MadeFile
from bench.processes import BenchError
from bench.servers import OURS, PLAIN, Servers

CLIENT, DATASET, DAY = "client-10", "findings", "2026-01-01"
OTHER_CLIENTS, OTHER_ROWS = 19, 5000
COPY_CHUNK_BYTES = 64 * 1024

# The indexes of the service's table; of its columns those that a COPY of this file can fill.
_TABLE = f"""
    CREATE TABLE {{name}} (
        client_id text COLLATE "C" NOT NULL DEFAULT '{CLIENT}',
        dataset   text COLLATE "C" NOT NULL DEFAULT '{DATASET}',
        day       date NOT NULL DEFAULT '{DAY}',
        file_id   bigint NOT NULL DEFAULT 1,
        {{columns}},
        PRIMARY KEY (client_id, dataset, {{key}})
    );
    CREATE INDEX ON {{name}} USING brin (file_id) WITH (autosummarize = on);
    ALTER TABLE {{name}} OWNER TO dcs
"""
# The table of a service with clients is not empty, and theirs are not the last keys of its index.
_OTHERS = f"""
    FROM generate_series(1, {OTHER_CLIENTS + 1}) AS client, generate_series(1, {OTHER_ROWS}) AS number
    WHERE 'client-' || lpad(client::text, 2, '0') <> '{CLIENT}'
"""
_OTHER_ROW = f"'client-' || lpad(client::text, 2, '0'), '{DATASET}', '{DAY}', 0"
_OTHER_KEY = "'F-' || lpad(number::text, 10, '0')"


@dataclass(frozen=True)
class RawTable:
    """A table, how a file is copied into it, and how a row of somebody else is."""

    name: str
    columns: str
    key: str
    copy: str
    others: str


_TEXTS = ", ".join(f"{name} text" for name in COLUMNS[1:])
TABLES = {
    "csv": RawTable(
        "raw_csv",
        f'id text COLLATE "C" NOT NULL, {_TEXTS}',
        "id",
        f"COPY raw_csv ({', '.join(COLUMNS)}) FROM STDIN (FORMAT csv, HEADER)",
        f"(client_id, dataset, day, file_id, id, note) SELECT {_OTHER_ROW}, {_OTHER_KEY}, 'of others'",
    ),
    "jsonl": RawTable(
        "raw_jsonl",
        "content jsonb NOT NULL, "
        "key text COLLATE \"C\" NOT NULL GENERATED ALWAYS AS (content ->> 'id') STORED",
        "key",
        "COPY raw_jsonl (content) FROM STDIN (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')",
        "(client_id, dataset, day, file_id, content) "
        f"SELECT {_OTHER_ROW}, jsonb_build_object('id', {_OTHER_KEY})",
    ),
}
_OURS = f"(client_id, dataset, day, file_id, row_key, content) SELECT {_OTHER_ROW}, {_OTHER_KEY}, '{{}}'"


def create_tables(servers: Servers) -> None:
    """Make the tables that are copied into."""
    for table in TABLES.values():
        servers.postgres.execute(_TABLE.format(name=table.name, columns=table.columns, key=table.key), PLAIN)


def with_rows_of_others(servers: Servers, database: str, table: str, others: str) -> None:
    """Leave a table with the rows of other clients and no more, as it would be after a quiet while."""
    servers.postgres.execute(f"TRUNCATE {table}; INSERT INTO {table} {others} {_OTHERS}", database)
    servers.postgres.execute(f"VACUUM ANALYZE {table}", database)
    servers.postgres.execute("CHECKPOINT", database)


def empty_ours(servers: Servers) -> None:
    """Make the next load of a file the first one. Listings stay: they say that the schedule is met."""
    servers.postgres.execute("TRUNCATE ingest_files, ingest_rejects", OURS)
    with_rows_of_others(servers, OURS, "ingested_rows", _OURS)


def copy_raw(servers: Servers, file: MadeFile) -> float:
    """Copy a file. Return the seconds from COPY to commit."""
    table = TABLES[file.kind.suffix]
    with_rows_of_others(servers, PLAIN, table.name, table.others)
    with (
        closing(psycopg2.connect(servers.plain_dsn)) as connection,
        connection.cursor() as cursor,
        file.path.open("rb") as lines,
    ):
        started = time.perf_counter()
        cursor.copy_expert(table.copy, lines, COPY_CHUNK_BYTES)
        connection.commit()
        passed = time.perf_counter() - started
        count = f"SELECT count(*) FROM {table.name} WHERE client_id = %s"  # noqa: S608  a constant
        cursor.execute(count, (CLIENT,))
        found = cursor.fetchone()
    if found != (file.rows,):
        raise BenchError(f"COPY left {found} rows of {file.rows}")
    return passed
