"""Jobs that collect from a source."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from pydantic import TypeAdapter, ValidationError

from app.jobs.handlers import Attempt, Effect, Handler, JobError, StoreRecords
from app.sources import SourceError, SourceRefusedError, SourceType, encoded
from app.sources.catalogue import Catalogue, SourceSpec

_SPEC: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)

log = structlog.get_logger()


class CollectHandler:
    """Collects what the job's configuration names."""

    concurrency_max: int | None = None

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def run(self, attempt: Attempt) -> Effect:
        """Collect. Raises ``JobError``."""
        job = attempt.job
        try:
            spec = _SPEC.validate_python({"source_type": job.source_type, "config": job.config})
            collected = self._catalogue.collect(spec, client_id=job.client_id, progress=attempt.progress)
        except SourceRefusedError as exc:
            log.warning(exc.event, field=f"config.{exc.field}", reason=str(exc))
            raise JobError("refused", f"config.{exc.field}: {exc}", retryable=False) from exc
        except ValidationError as exc:
            message = f"{exc.error_count()} errors in the config"
            raise JobError("invalid_config", message, retryable=False) from exc
        except SourceError as exc:
            raise JobError(
                exc.reason,
                str(exc),
                retryable=exc.retryable,
                retry_after_seconds=exc.retry_after_seconds,
                attempted=exc.attempted,
            ) from exc
        try:
            return StoreRecords(encoded(collected))
        except TypeError as exc:
            raise JobError("unstorable", str(exc), retryable=False) from exc


def handlers(catalogue: Catalogue) -> Mapping[str, Handler]:
    """Return what runs each kind of job."""
    catalogue.api.prepare()
    handler = CollectHandler(catalogue)
    return {source_type.value: handler for source_type in SourceType}
