"""Every query on jobs and records. Times are the database's: workers' clocks decide nothing.

Each change of a job's state writes its row of the audit log (``job_events``) in the same statement.
"""

from __future__ import annotations

from app.jobs.repository.claiming import ClaimedJob, Claiming, Progressed, Wanted
from app.jobs.repository.ending import Ending, Succeeded
from app.jobs.repository.reading import Reading
from app.jobs.repository.submitting import Key, NewJob, Submitting
from app.jobs.repository.upkeep import QueueFigures, Rescued, Upkeep

__all__ = [
    "ClaimedJob",
    "JobRepository",
    "Key",
    "NewJob",
    "Progressed",
    "QueueFigures",
    "Rescued",
    "Succeeded",
    "Wanted",
]


class JobRepository(Submitting, Claiming, Ending, Reading, Upkeep):
    """All of them, in the transaction of the connection given."""
