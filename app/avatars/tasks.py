"""The jobs of avatars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from app.avatars import drawing
from app.avatars.moderation import CATEGORIES, Content, ModerationError, Moderator, Policy, Verdict
from app.avatars.moderation.wiring import moderator, policy
from app.avatars.repository import AvatarRepository, StoredVerdict, Work
from app.avatars.service import KIND
from app.database.engine import Database
from app.jobs.handlers import Attempt, Effect, Handler, JobError
from app.jobs.repository import ClaimedJob
from app.settings import Settings
from app.telemetry.metrics import avatars as metrics


@dataclass(frozen=True)
class Publish:
    """An image that moderation allows."""

    image: bytes
    svg: str | None

    @property
    def record_count(self) -> int:
        """An avatar is no record."""
        return 0

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Store it. The database refuses it without a verdict that allows it."""
        AvatarRepository(connection).publish(job.id, image=self.image, svg=self.svg)
        return 0

    def committed(self) -> None:
        """Count it."""
        metrics.AVATARS.labels("ready").inc()


@dataclass(frozen=True)
class Reject:
    """Content that moderation does not allow."""

    verdict: Verdict

    @property
    def record_count(self) -> int:
        """An avatar is no record."""
        return 0

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Say so."""
        AvatarRepository(connection).reject(job.id)
        return 0

    def committed(self) -> None:
        """Count it."""
        metrics.AVATARS.labels("rejected").inc()
        category = self.verdict.category
        metrics.AVATARS_REJECTED.labels(category if category in CATEGORIES else "other").inc()


class AvatarHandler:
    """Has content moderated and makes the image. Without an answer of the moderation there is no image."""

    def __init__(
        self,
        database: Database,
        moderator: Moderator,
        policy: Policy,
        *,
        concurrency_max: int,
        reuse_seconds: float,
    ) -> None:
        self._database = database
        self._moderator = moderator
        self._policy = policy
        self._reuse_seconds = reuse_seconds
        self.concurrency_max: int | None = concurrency_max

    def run(self, attempt: Attempt) -> Effect:
        """Do it. Raises ``JobError``."""
        job = attempt.job
        with self._database.transaction() as connection:
            work = AvatarRepository(connection).begin(job)
        try:
            # What was moderated in an attempt before this one is not asked again.
            verdict = work.verdict.verdict if work.verdict else self._moderated(job, work)
        except ModerationError as exc:
            attempted = exc.reason != "breaker_open"
            last = attempted and job.attempt - job.rescues >= job.max_attempts
            if last or not exc.retryable:
                metrics.AVATARS.labels("failed").inc()
            raise JobError(
                f"moderation_{exc.reason}",
                str(exc),
                retryable=exc.retryable,
                retry_after_seconds=exc.retry_after_seconds,
                attempted=attempted,
            ) from exc
        if not verdict.allowed:
            return Reject(verdict)
        attempt.progress.check()
        if work.upload is not None:
            return Publish(work.upload, None)
        scene = drawing.scene(work.prompt or "")
        return Publish(drawing.png(scene), drawing.svg(scene))

    def _moderated(self, job: ClaimedJob, work: Work) -> Verdict:
        found = None
        if self._reuse_seconds:
            with self._database.transaction() as connection:
                found = AvatarRepository(connection).moderated_before(
                    work, moderator=self._moderator.name, age_seconds_max=self._reuse_seconds
                )
        if found is not None:
            metrics.VERDICTS_REUSED.inc()
        else:
            found = self._moderator.moderate(Content(work.prompt, work.upload), key=str(job.id))
        # Thresholds may have changed since the scores were given: they are judged anew.
        verdict = self._policy.judge(found)
        with self._database.transaction() as connection:
            AvatarRepository(connection).moderated(job, StoredVerdict(verdict, self._moderator.name))
        return verdict


def handlers(settings: Settings, database: Database) -> Mapping[str, Handler]:
    """Return what runs each kind of job."""
    # A moderation that takes its time must leave a thread for everything else.
    concurrency_max = min(settings.avatars_concurrency_max, max(1, settings.worker_threads - 1))
    return {
        KIND: AvatarHandler(
            database,
            moderator(settings),
            policy(settings),
            concurrency_max=concurrency_max,
            reuse_seconds=settings.avatars_verdict_reuse_seconds,
        )
    }
