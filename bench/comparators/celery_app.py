"""Celery as its documentation advises for short tasks that must not be lost with their worker."""

from __future__ import annotations

import os
import sys

from celery import Celery

from bench.comparators.storing import new_job_id, store
from bench.submitting import parse, submit_all

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,  # nobody asks for results: the row is the result
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "64")),  # "50 to 150 for short tasks"
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)


@app.task(name="store_row")  # type: ignore[untyped-decorator]
def store_row(job_id: str, number: int) -> None:
    """Do the work of one job."""
    store(job_id, number)


def main() -> int:
    """Hand in jobs."""
    submit_all(lambda number: store_row.delay(new_job_id(), number), parse())
    return 0


if __name__ == "__main__":
    sys.exit(main())
