"""Hands in jobs to the service as its API does with few callers, one by one, and without HTTP."""

from __future__ import annotations

import sys
from contextlib import closing

from app import __version__
from app.jobs.submission import Submission
from app.main import create_app
from app.settings import Settings
from app.telemetry.logging import configure_logging
from bench.jobs.ours_worker import KIND
from bench.submitting import parse, submit_all


def main() -> int:
    """Hand in jobs."""
    settings = Settings()
    configure_logging(
        service="api", instance=settings.instance, environment=settings.environment, version=__version__
    )
    context = create_app(settings).state.context
    with closing(context.announcer), closing(context.database):
        submit_all(
            lambda number: context.jobs.intake.accept(
                Submission(KIND, {"number": number}, f"bench-{number % 4}", f"bench-{number}")
            ),
            parse(),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
