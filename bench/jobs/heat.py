"""One contestant's turn: hand in jobs, wait until their rows are committed, count them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.figures import percentile
from bench.jobs.contestants import Contestant
from bench.processes import BenchError, Programs
from bench.servers import Servers
from bench.work import RECORD_BYTES

POLL_SECONDS = 0.2
STALL_SECONDS_MAX = 60.0
SUBMIT_SECONDS_MAX = 300.0
SETTLE_SECONDS = 0.5


class Heat:
    """Workers of one contestant that are running, and what they have committed."""

    def __init__(self, contestant: Contestant, servers: Servers, programs: Programs, folder: Path) -> None:
        self._contestant = contestant
        self._servers = servers
        self._programs = programs
        self._folder = folder

    def prepare(self) -> None:
        """Empty the table and the broker."""
        ledger = self._contestant.ledger
        self._servers.postgres.execute(ledger.empty, ledger.database)
        # Rows that are gone must not be vacuumed, nor a checkpoint be due, in the middle of a turn.
        self._servers.postgres.execute(f"VACUUM ANALYZE {ledger.table}", ledger.database)
        self._servers.postgres.execute("CHECKPOINT", ledger.database)

    def run(self, *, count: int, first: int, rate_per_second: float = 0.0) -> tuple[float, list[float]]:
        """Return jobs per second, and how long each took from being handed in to its commit, in ms."""
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".json") as file:
            command, settings = self._contestant.submitter()
            numbers = [
                "--count",
                str(count),
                "--first",
                str(first),
                "--rate-per-second",
                str(rate_per_second),
            ]
            self._programs.run(
                f"{self._contestant.name}-submit",
                [*command, *numbers, "--out", file.name],
                settings,
                SUBMIT_SECONDS_MAX,
            )
            submitted = {int(key): value for key, value in json.load(file)["submitted"].items()}
        self._await_rows(count)
        done = self.commits(first, count)
        passed = max(done.values()) - min(submitted.values())
        return count / passed, [(done[number] - at) * 1000 for number, at in submitted.items()]

    def _await_rows(self, count: int) -> None:
        seen, moved_at = -1, time.monotonic()
        while (now := self._count()) < count:
            self._programs.check()
            if now > seen:
                seen, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STALL_SECONDS_MAX:
                raise BenchError(
                    f"{self._contestant.name}: {now} of {count} jobs done, and no more since 60 s"
                )
            time.sleep(POLL_SECONDS)
        time.sleep(SETTLE_SECONDS)  # whoever does a job twice would do it about now

    def _count(self) -> int:
        ledger = self._contestant.ledger
        # An estimate would be cheaper, but could be wrong; the table holds nothing but this turn.
        query = f"SELECT count(*) FROM {ledger.table}"  # noqa: S608  a constant
        rows = self._servers.postgres.rows(query, ledger.database)
        return int(str(rows[0][0]))

    def commits(self, first: int, count: int) -> Mapping[int, float]:
        """Return when the row of each job was committed. Raises when one is missing, or there twice."""
        ledger = self._contestant.ledger
        query = f"""
            SELECT (content ->> 'number')::int, extract(epoch FROM pg_xact_commit_timestamp(xmin)),
                   octet_length(content::text)
            FROM {ledger.table}
        """  # noqa: S608  a constant
        rows = self._servers.postgres.rows(query, ledger.database)
        done = {int(str(number)): float(str(at)) for number, at, _ in rows}
        wanted = set(range(first, first + count))
        if len(rows) != count or set(done) != wanted:
            raise BenchError(
                f"{self._contestant.name}: {count} jobs left {len(rows)} rows; "
                f"missing {len(wanted - set(done))}, foreign {len(set(done) - wanted)}"
            )
        if any(int(str(size)) < RECORD_BYTES for _, _, size in rows):
            raise BenchError(f"{self._contestant.name}: a row has less than {RECORD_BYTES} bytes")
        return done


def latencies(prefix: str, name: str, milliseconds: list[float]) -> dict[str, float]:
    """Return the percentiles of one turn, as measures."""
    return {
        f"{prefix}_p50_ms/{name}": percentile(milliseconds, 50),
        f"{prefix}_p99_ms/{name}": percentile(milliseconds, 99),
    }
