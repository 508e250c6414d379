"""``app.worker`` as it is, with one more kind of job: one that returns a record of 1 KB."""

from __future__ import annotations

import argparse
import sys
import time

from app import worker
from app.jobs.handlers import Attempt, Effect, StoreRecords
from app.sources import encoded
from bench.work import record

KIND = "bench_row"


class RowHandler:
    """Runs jobs of the benchmark. ``handicap_seconds`` makes each slower, to see that this is told."""

    concurrency_max: int | None = None

    def __init__(self, handicap_seconds: float) -> None:
        self._handicap_seconds = handicap_seconds

    def run(self, attempt: Attempt) -> Effect:
        """Return the record of the job."""
        if self._handicap_seconds:
            time.sleep(self._handicap_seconds)
        return StoreRecords(encoded([record(int(attempt.job.config["number"]))]))


def main() -> int:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--handicap-ms", type=float, default=0.0)
    options = parser.parse_args()
    return worker.main({KIND: RowHandler(options.handicap_ms / 1000)})


if __name__ == "__main__":
    sys.exit(main())
