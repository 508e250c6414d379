"""The final read: through the API as the clients, and of the tables beside it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import httpx

from chaos.ledger.client import read
from chaos.ledger.database import Tables
from chaos.ledger.observed import CrossRead, Observed, Told
from chaos.ledger.submissions import Submission
from chaos.ledger.workload import digest

CONCURRENCY = 12
READ_TIMEOUT_SECONDS = 10.0
READ_ATTEMPTS_MAX = 8
READ_PAUSE_SECONDS = 0.5
RESULTS_READ_MAX = 300
CROSS_READS_MAX = 200
RESULT_LIMIT = 1000
KEY_FIELDS = ("finding_id", "id", "asset_id", "key")
_TRY_AGAIN = frozenset({0, 429, 500, 502, 503, 504})


class Reader:
    """Reads back what the submissions became. ``headers`` by client."""

    def __init__(self, target: str, headers: Mapping[str, Mapping[str, str]], seed: int) -> None:
        self._target = target
        self._headers = headers
        self._rng = random.Random(f"{seed}:final-read")  # noqa: S311  a sample, not a secret

    def told(self, submitted: Sequence[Submission]) -> tuple[dict[str, Told], list[CrossRead]]:
        """Ask for every acknowledged job as its client, and for a sample as others."""
        return asyncio.run(self._all([one for one in submitted if one.acked]))

    async def _all(self, acked: Sequence[Submission]) -> tuple[dict[str, Told], list[CrossRead]]:
        owners = {job_id: one.client for one in acked for job_id in one.job_ids}
        whole = set(self._rng.sample(sorted(owners), min(RESULTS_READ_MAX, len(owners))))
        strangers = self._strangers(owners)
        told: dict[str, Told] = {}
        crossed: list[CrossRead] = []
        room = asyncio.Semaphore(CONCURRENCY)
        async with httpx.AsyncClient(
            base_url=self._target, timeout=READ_TIMEOUT_SECONDS, trust_env=False
        ) as http:

            async def ask(job_id: str, owner: str) -> None:
                async with room:
                    told[job_id] = await _told(http, self._headers[owner], job_id, whole=job_id in whole)

            async def cross(reader: str, owner: str, job_id: str, what: str) -> None:
                async with room:
                    code, _ = await _patiently(http, self._headers[reader], f"/api/v1/jobs/{what}/{job_id}")
                    crossed.append(CrossRead(reader, owner, job_id, what, code))

            await asyncio.gather(
                *(ask(job_id, owner) for job_id, owner in owners.items()),
                *(cross(*stranger) for stranger in strangers),
            )
        return told, crossed

    def _strangers(self, owners: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
        names = sorted(self._headers)
        if len(names) < 2:  # noqa: PLR2004
            return []
        sample = self._rng.sample(sorted(owners), min(CROSS_READS_MAX, len(owners)))
        return [
            (
                self._rng.choice([name for name in names if name != owners[job_id]]),
                owners[job_id],
                job_id,
                ("status", "result")[number % 2],
            )
            for number, job_id in enumerate(sample)
        ]


async def _patiently(
    http: httpx.AsyncClient, headers: Mapping[str, str], path: str
) -> tuple[int, dict[str, object]]:
    code, body = 0, dict[str, object]()
    for _ in range(READ_ATTEMPTS_MAX):
        code, body = await read(http, headers, path)
        if code not in _TRY_AGAIN:
            break
        await asyncio.sleep(READ_PAUSE_SECONDS)
    return code, body


async def _told(http: httpx.AsyncClient, headers: Mapping[str, str], job_id: str, *, whole: bool) -> Told:
    code, body = await _patiently(http, headers, f"/api/v1/jobs/status/{job_id}")
    state, count = body.get("status"), body.get("record_count")
    keys = await _keys(http, headers, job_id) if whole and state == "succeeded" else None
    return Told(
        code,
        state if isinstance(state, str) else None,
        count if isinstance(count, int) else None,
        keys,
    )


async def _keys(http: httpx.AsyncClient, headers: Mapping[str, str], job_id: str) -> str:
    code, body = await _patiently(http, headers, f"/api/v1/jobs/result/{job_id}?limit={RESULT_LIMIT}")
    records = body.get("records")
    if not isinstance(records, list):
        return f"no records: {code}"
    return digest([_key(record) for record in records])


def _key(record: object) -> str:
    if isinstance(record, dict):
        for name in KEY_FIELDS:
            if record.get(name) is not None:
                return str(record[name])
    return "?"


def observe(
    reader: Reader,
    tables: Tables,
    submitted: Sequence[Submission],
    leftovers: Sequence[str],
    settled: tuple[bool, float],
) -> Observed:
    """Read everything once. Nothing runs any more, so the parts fit each other."""
    told, crossed = reader.told(submitted)
    jobs, records, events = tables.jobs(), tables.records(), tables.events()
    return Observed(
        jobs=jobs,
        records=records,
        events=events,
        effects=tables.effects(),
        told=told,
        cross_reads=crossed,
        leftovers=leftovers,
        settled=settled[0],
        settle_seconds=settled[1],
        unread=tables.unread,
    )
