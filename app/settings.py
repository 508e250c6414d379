"""Settings of one process of the service, read once from the environment (``DCS_*``)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.access.settings import AccessSettings
from app.avatars.settings import AvatarsSettings
from app.cache.settings import CacheSettings
from app.ingest.settings import IngestSettings
from app.jobs.settings import JobsSettings
from app.sources.settings import SourcesSettings
from app.telemetry.settings import TelemetrySettings

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Port = Annotated[int, Field(ge=1, le=65535)]
ClientName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


@dataclass(frozen=True)
class DatabaseTarget:
    """Where a PostgreSQL database is and who we are there."""

    host: str
    port: int
    name: str
    user: str
    password_file: Path | None
    sslmode: str
    ca_file: Path | None = None
    """Whom a certificate must come from, for ``verify-ca`` and ``verify-full``."""
    addresses: tuple[str, ...] = ()
    """Where to connect instead of looking ``host`` up; TLS still verifies ``host``."""
    connect_timeout_seconds: int | None = None
    """Per address; None: as everywhere in this process."""
    isolated: bool = False
    """Nothing of the user's own configuration counts, such as a file of passwords."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def password(self) -> str | None:
        """Return the password. It is read at every connect, so that a rotated file needs no restart."""
        return self.password_file.read_text().strip() if self.password_file else None


_REDIS_URL = "redis://127.0.0.1:6379/0"


def _with_password(url: str, password: str) -> str:
    split = urlsplit(url)
    if split.password is not None:
        msg = "DCS_REDIS_URL has a password, and so has DCS_REDIS_PASSWORD_FILE: leave the first out"
        raise ValueError(msg)
    user, _, host = split.netloc.rpartition("@")
    return split._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def _sslmode(host: str, asked: SslMode | None) -> str:
    # Whatever leaves this machine is encrypted unless somebody decided otherwise.
    if asked is not None:
        return asked
    if host == "localhost" or host.startswith("/"):
        return "disable"
    try:
        return "disable" if ipaddress.ip_address(host).is_loopback else "require"
    except ValueError:
        return "require"


class ApiEndpoint(BaseModel):
    """An HTTP API that the ``api`` source may read by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: HttpUrl
    contract: Literal["evidence"] | None = None
    fresh_seconds: NonNegativeFloat = 0.0


def _endpoint(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class ClientDatabase(BaseModel):
    """A database of a client, which the ``database`` source may run named queries on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    port: Port = 5432
    name: str = Field(min_length=1)
    user: str = Field(min_length=1)
    password_file: Path | None = None
    sslmode: SslMode | None = None
    ca_file: Path | None = None
    connect_timeout_seconds: PositiveInt | None = None
    clients: list[ClientName] | None = None
    """Who may ask it. Left out: every client."""

    @model_validator(mode="after")
    def _verifies_against_something(self) -> Self:
        if self.sslmode in {"verify-ca", "verify-full"} and self.ca_file is None:
            msg = (
                f"{self.sslmode} needs ca_file: a PEM file of the authorities that certificates may come from"
            )
            raise ValueError(msg)
        return self

    @property
    def target(self) -> DatabaseTarget:
        """The same as a connection target."""
        sslmode = _sslmode(self.host, self.sslmode)
        return DatabaseTarget(
            self.host,
            self.port,
            self.name,
            self.user,
            self.password_file,
            sslmode,
            ca_file=self.ca_file,
            connect_timeout_seconds=self.connect_timeout_seconds,
            isolated=True,
        )


class Settings(
    AccessSettings,
    AvatarsSettings,
    CacheSettings,
    IngestSettings,
    JobsSettings,
    SourcesSettings,
    TelemetrySettings,
    BaseSettings,
):
    """All settings. Durations carry their unit in the name; secrets come from files."""

    model_config = SettingsConfigDict(env_prefix="DCS_", frozen=True, extra="ignore")

    instance: str = "api-1"
    environment: str = "lab"
    host: str = "127.0.0.1"
    port: Port = 8000
    """Of the API; of a worker, where its /metrics and /health/live are."""

    database_host: str = "127.0.0.1"
    database_port: Port = 5432
    database_name: str = "dcs"
    database_user: str = "dcs"
    database_password_file: Path | None = None
    database_sslmode: SslMode | None = None
    """Left out: ``require``, except on this machine."""
    database_connect_timeout_seconds: PositiveInt = 10
    database_query_deadline_seconds: PositiveFloat = 3.0
    database_pool_size: PositiveInt = 10
    database_pool_timeout_seconds: PositiveFloat = 1.0
    database_waiting_max: PositiveInt = 200
    """How many requests may wait for the database at once in one API; more are answered 503 at once."""

    redis_url: SecretStr = SecretStr(_REDIS_URL)
    redis_password_file: Path | None = None
    """File with the password, read at the start: in the URL it would be in the environment."""
    redis_timeout_seconds: PositiveFloat = 0.2

    api_sources: dict[Name, Annotated[ApiEndpoint, BeforeValidator(_endpoint)]] = {}
    client_databases: dict[Name, ClientDatabase] = {}
    file_root: Path | None = None
    file_client_folders: bool = False
    """Each client reads below a folder of its own name only. Off: all read everything below the root."""

    otlp_logs_endpoint: HttpUrl | None = None

    lease_seconds: PositiveFloat = 60.0
    poll_interval_seconds: PositiveFloat = 1.0
    reconcile_interval_seconds: PositiveFloat = 5.0
    probe_interval_seconds: PositiveFloat = 1.0
    worker_threads: PositiveInt = 2
    drain_timeout_seconds: PositiveFloat = 15.0
    """How long a stopping process lets requests and jobs finish; a worker then gives its jobs back.
    Everything after that takes less than 10 s, whatever does not answer."""
    max_attempts: PositiveInt = 5
    source_timeout_seconds: PositiveFloat = 5.0

    @model_validator(mode="before")
    @classmethod
    def _redis_password_from_its_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        file = values.get("redis_password_file")
        if not file:
            return values
        try:
            password = Path(file).read_text().strip()
        except OSError as exc:
            msg = f"DCS_REDIS_PASSWORD_FILE cannot be read: {exc}"
            raise ValueError(msg) from exc
        return values | {"redis_url": _with_password(values.get("redis_url", _REDIS_URL), password)}

    @model_validator(mode="after")
    def _lease_outlives_a_stall(self) -> Self:
        # Hearts beat every third of a lease. When one beat stalls for a whole query deadline, the next comes
        # two thirds and a deadline after the last that was heard: that must still be within the lease.
        if self.lease_seconds <= 3 * self.database_query_deadline_seconds:
            msg = "DCS_LEASE_SECONDS must be more than three times DCS_DATABASE_QUERY_DEADLINE_SECONDS"
            raise ValueError(msg)
        return self

    @property
    def database(self) -> DatabaseTarget:
        """The service's own database."""
        sslmode = _sslmode(self.database_host, self.database_sslmode)
        return DatabaseTarget(
            self.database_host,
            self.database_port,
            self.database_name,
            self.database_user,
            self.database_password_file,
            sslmode,
        )
