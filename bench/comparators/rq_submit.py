"""Hands in jobs to RQ."""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue

from bench.comparators.storing import new_job_id, store
from bench.submitting import parse, submit_all


def main() -> int:
    """Hand in jobs."""
    queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_BROKER"]))
    # A result that nobody reads need not be kept.
    submit_all(lambda number: queue.enqueue(store, new_job_id(), number, result_ttl=0), parse())
    return 0


if __name__ == "__main__":
    sys.exit(main())
