"""All source types of one process, wired from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.cache.cache import Cache
from app.net.guard import Guard
from app.objectstore.client import ObjectStore, StoreTarget
from app.progress import UNWATCHED, Progress
from app.settings import Settings
from app.sources import Record, Source, SourceType
from app.sources.api import ApiConfig, ApiLimits, ApiSource, Endpoint
from app.sources.database import DatabaseConfig, DatabaseSource
from app.sources.file import FileConfig, FileSource
from app.sources.s3 import S3Config, S3Source
from app.wire import Integer


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: Integer = Field(
        default=0,
        ge=0,
        le=9,
        description="The highest runs first. A job that waits rises by one every 30 s, so that none starves.",
    )


class ApiSpec(_Spec):
    """Collect from an HTTP API."""

    source_type: Literal[SourceType.API]
    config: ApiConfig


class DatabaseSpec(_Spec):
    """Collect from a client's database."""

    source_type: Literal[SourceType.DATABASE]
    config: DatabaseConfig


class FileSpec(_Spec):
    """Collect from a file."""

    source_type: Literal[SourceType.FILE]
    config: FileConfig


class S3Spec(_Spec):
    """Collect from the object store."""

    source_type: Literal[SourceType.S3]
    config: S3Config


SourceSpec = Annotated[ApiSpec | DatabaseSpec | FileSpec | S3Spec, Field(discriminator="source_type")]
"""What to collect: the type of the source and the configuration that fits it."""


@dataclass(frozen=True)
class Catalogue:
    """The sources by type."""

    api: ApiSource
    database: Source[DatabaseConfig]
    file: Source[FileConfig]
    s3: S3Source

    @staticmethod
    def check_may_wait(spec: SourceSpec) -> bool:
        """Return whether ``check`` asks anything outside of this process, so that it needs a thread."""
        return not isinstance(spec, ApiSpec | DatabaseSpec | S3Spec)

    def check(self, spec: SourceSpec, *, client_id: str = "") -> None:
        """Refuse what is not allowed to a client. Raises ``SourceRefusedError``."""
        match spec:
            case ApiSpec():
                self.api.check(spec.config, client_id=client_id)
            case DatabaseSpec():
                self.database.check(spec.config, client_id=client_id)
            case FileSpec():
                self.file.check(spec.config, client_id=client_id)
            case S3Spec():
                self.s3.check(spec.config, client_id=client_id)

    def collect(
        self, spec: SourceSpec, *, client_id: str = "", progress: Progress = UNWATCHED
    ) -> list[Record]:
        """Return all records. Raises ``SourceError``, ``SourceRefusedError``, or what ``progress`` raises."""
        match spec:
            case ApiSpec():
                return self.api.collect(spec.config, client_id=client_id, progress=progress)
            case DatabaseSpec():
                return self.database.collect(spec.config, client_id=client_id, progress=progress)
            case FileSpec():
                return self.file.collect(spec.config, client_id=client_id, progress=progress)
            case S3Spec():
                return self.s3.collect(spec.config, client_id=client_id, progress=progress)


def catalogue(settings: Settings, cache: Cache | None = None) -> Catalogue:
    """Return the sources that the settings allow."""
    guard = Guard(settings.sources_allow)
    target = StoreTarget.of(settings)
    return Catalogue(
        api=ApiSource(
            {
                name: Endpoint(str(api.url), api.contract, api.fresh_seconds)
                for name, api in settings.api_sources.items()
            },
            guard,
            ApiLimits(settings.source_timeout_seconds),
            cache=cache or Cache(settings.redis_url.get_secret_value(), settings),
            keep_seconds=settings.cache_source_seconds,
            ca_file=settings.sources_ca_file,
        ),
        database=DatabaseSource(
            {name: client.target for name, client in settings.client_databases.items()},
            guard=guard,
            application_name=settings.instance,
            connect_timeout_seconds=settings.database_connect_timeout_seconds,
            query_deadline_seconds=settings.source_timeout_seconds,
            clients={
                name: frozenset(client.clients)
                for name, client in settings.client_databases.items()
                if client.clients is not None
            },
        ),
        file=FileSource(settings.file_root, by_client=settings.file_client_folders),
        s3=S3Source(ObjectStore(target) if target is not None else None),
    )
