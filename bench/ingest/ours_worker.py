"""``app.worker`` with a fault: it waits before each commit, and keeps all it reads, many times over.

To see that the benchmark tells both.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from app import worker
from app.ingest.load import LoadFile
from app.ingest.spool import Spool

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from app.jobs.repository import ClaimedJob

COPIES_KEPT = 40

_kept: list[bytes] = []


def main() -> int:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--handicap-ms", type=float, required=True)
    options = parser.parse_args()
    apply, write = LoadFile.apply, Spool.write

    def late(self: LoadFile, connection: Connection, job: ClaimedJob) -> int:
        rows = apply(self, connection, job)
        time.sleep(options.handicap_ms / 1000)
        return rows

    def kept(self: Spool, data: bytes) -> int:
        _kept.append(data * COPIES_KEPT)
        return write(self, data)

    replaced: Any = LoadFile
    replaced.apply = late
    replaced = Spool
    replaced.write = kept
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
