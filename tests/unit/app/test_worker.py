"""How a worker is put together."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import QueuePool

from app.settings import Settings
from app.worker import Worker


@pytest.mark.parametrize("bucket", [None, "landing"])
@pytest.mark.parametrize("threads", [1, 4])
def test_every_thread_that_asks_the_database_has_a_connection(bucket: str | None, threads: int) -> None:
    worker = Worker(Settings.model_validate({"ingest_bucket": bucket, "worker_threads": threads}))
    with closing(worker._database) as database:
        pool = database.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.size() >= len(worker._helper_threads) + len(worker._job_threads)
