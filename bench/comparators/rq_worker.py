"""RQ's fastest worker, which runs jobs in its own process: the default one forks for each job."""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue, SimpleWorker, Worker

KINDS = {"simple": SimpleWorker, "forking": Worker}


def main() -> int:
    """Work until SIGTERM."""
    connection = Redis.from_url(os.environ["BENCH_BROKER"])
    worker = KINDS[sys.argv[1]]([Queue("bench", connection=connection)], connection=connection)
    worker.log_result_lifespan = False
    worker.work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main())
