"""The ``api`` source: pages through a resource of an HTTP API."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.cache.cache import Cache
from app.net.breaker import Breaker, BreakerOpenError
from app.net.guard import Guard, TargetRefusedError
from app.progress import UNWATCHED, Progress
from app.sources import (
    BYTES_MAX,
    RECORDS_MAX,
    Record,
    SourceCall,
    SourceError,
    SourceRefusedError,
    SourceType,
    source_call,
    too_much,
)
from app.sources.breakers import Breakers
from app.sources.budget import Budget
from app.sources.contracts import CONTRACTS, Envelope, ItemsAdapter
from app.sources.exchange import Exchange, Page
from app.wire import Integer, exactly_one

if TYPE_CHECKING:
    import httpx

PAGES_MAX = 500
COLLECT_TIMEOUT_SECONDS = 60.0
_EVENT = "source_target_refused"


class ApiConfig(BaseModel):
    """What to read from an HTTP API: a resource of a configured endpoint, or a URL that is allowed here."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            **exactly_one(("endpoint", "resource"), ("url",)),
            "examples": [{"endpoint": "evidence", "resource": "controls"}],
        },
    )

    endpoint: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Name of a configured endpoint.",
        examples=["evidence"],
    )
    resource: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="What to read from the endpoint.",
        examples=["controls"],
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Instead of endpoint and resource: the whole URL, which the operator must have allowed.",
        examples=["https://api.example.com/v2/controls"],
    )
    page_size: Integer = Field(default=50, ge=1, le=500)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.url is None and (self.endpoint is None or self.resource is None):
            raise ValueError("give endpoint and resource, or url")
        if self.url is not None and (self.endpoint is not None or self.resource is not None):
            raise ValueError("give endpoint and resource, or url, not both")
        return self


@dataclass(frozen=True)
class Endpoint:
    """A configured API. ``contract`` names what it promises; a page is believed for ``fresh_seconds``."""

    url: str
    contract: str | None = None
    fresh_seconds: float = 0.0


@dataclass(frozen=True)
class ApiLimits:
    """``timeout_seconds`` is for each read; the others are for a job."""

    timeout_seconds: float
    collect_seconds_max: float = COLLECT_TIMEOUT_SECONDS
    bytes_max: int = BYTES_MAX


@dataclass(frozen=True)
class _Task:
    """One resource to page through."""

    url: str
    upstream: str
    items: ItemsAdapter | None = None
    fresh_seconds: float = 0.0


@dataclass
class ApiSource:
    """Reads pages one after the other, each only where the guard allows."""

    endpoints: Mapping[str, Endpoint]
    guard: Guard
    limits: ApiLimits
    cache: Cache | None = None
    keep_seconds: float = 0.0
    """How long a page is kept to ask only whether it is still current."""
    ca_file: Path | None = None
    breakers: Breakers = field(default_factory=Breakers)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: httpx.Client | None = None

    def check(self, config: ApiConfig, *, client_id: str = "") -> None:  # noqa: ARG002  all clients share
        """Refuse an endpoint that is not configured, and a URL that no entry allows."""
        self._task(config)

    def prepare(self) -> None:
        """Show the breaker of every configured endpoint, before it is first called."""
        for name in self.endpoints:
            self.breakers.of(name)

    def collect(
        self, config: ApiConfig, *, client_id: str = "", progress: Progress = UNWATCHED
    ) -> list[Record]:
        """Return the items of all pages. ``client_id``: whose cached pages may be used."""
        task = self._task(config)
        exchange = Exchange(
            self._client(),
            Budget(self.limits.collect_seconds_max, self.limits.bytes_max, progress),
            cache=self.cache,
            client_id=client_id,
            keep_seconds=self.keep_seconds,
            fresh_seconds=task.fresh_seconds,
        )
        records: list[Record] = []
        for number in range(1, PAGES_MAX + 1):
            progress.check()
            envelope = self._page(exchange, task, number, config.page_size)
            records += envelope.items
            progress.report(len(records), max(envelope.total, len(records)))
            if len(records) > RECORDS_MAX:
                raise too_much(f"{RECORDS_MAX} records")
            if number >= envelope.pages:
                return records
        raise too_much(f"{PAGES_MAX} pages")

    def _task(self, config: ApiConfig) -> _Task:
        if config.url is not None:
            target = self._guarded("url", config.url)
            return _Task(config.url, upstream=target)
        name = config.endpoint or ""
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            message = f"unknown endpoint; configured are: {', '.join(sorted(self.endpoints)) or 'none'}"
            raise SourceRefusedError("endpoint", message, event="source_endpoint_refused")
        url = f"{endpoint.url.rstrip('/')}/v1/{config.resource}"
        self._guarded("endpoint", url)
        items = CONTRACTS.get(endpoint.contract or "", {}).get(config.resource or "")
        return _Task(url, name, items, endpoint.fresh_seconds)

    def _guarded(self, field_name: str, url: str) -> str:
        try:
            return str(self.guard.check_url(url))
        except TargetRefusedError as exc:
            raise SourceRefusedError(field_name, str(exc), event=_EVENT) from exc

    def _page(self, exchange: Exchange, task: _Task, number: int, size: int) -> Envelope:
        params = {"page": str(number), "page_size": str(size)}
        fresh = exchange.fresh(task.url, params)
        if fresh is not None:
            return _parsed(fresh.body, number, task.items)
        breaker = self.breakers.of(task.upstream)
        _enter(breaker, task.upstream)
        with source_call(SourceType.API, task.url.partition("?")[0]) as call:
            with _reporting_to(breaker):
                page = _asked(exchange, task, params, call)
            envelope = _parsed(page.body, number, task.items)
            call.records = len(envelope.items)
        exchange.keep(task.url, params, page)  # only what keeps its promise
        return envelope

    def _client(self) -> httpx.Client:
        # Lazily: the API process only checks configurations and never calls.
        from app.net.http import guarded_client, trusting  # noqa: PLC0415

        # One for all jobs: each new one reads every certificate authority of the machine.
        with self._lock:
            if self._shared is None:
                self._shared = guarded_client(
                    self.guard, timeout_seconds=self.limits.timeout_seconds, context=trusting(self.ca_file)
                )
            return self._shared


def _enter(breaker: Breaker, upstream: str) -> None:
    try:
        breaker.admit()
    except BreakerOpenError as exc:
        raise SourceError(
            "circuit_open",
            f"{upstream} {exc}",
            retryable=True,
            attempted=False,
            retry_after_seconds=exc.retry_after_seconds,
        ) from exc


@contextmanager
def _reporting_to(breaker: Breaker) -> Iterator[None]:
    """Tell the breaker how a call ended. A server that answers 4xx, or nonsense, in time, is alive."""
    try:
        yield
    except SourceError as exc:
        if exc.upstream_failed:
            breaker.failed()
        else:
            breaker.succeeded()
        raise
    except BaseException:
        breaker.succeeded()  # nothing that the upstream did
        raise
    breaker.succeeded()


def _asked(exchange: Exchange, task: _Task, params: Mapping[str, str], call: SourceCall) -> Page:
    try:
        return exchange.get(task.url, params, call)
    except TargetRefusedError as exc:  # what its name leads to is known only now
        name = "url" if "://" in task.upstream else "endpoint"
        raise SourceRefusedError(name, str(exc), event=_EVENT) from exc


def _parsed(body: bytes, number: int, items: ItemsAdapter | None) -> Envelope:
    try:
        envelope = Envelope.model_validate_json(body)
        if items is not None:
            items.validate_python(envelope.items)
    except ValidationError as exc:
        first: Any = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        message = f"page {number} is not what the API promises: {where}: {first['msg']}"
        raise SourceError("invalid_response", message, retryable=True) from exc
    return envelope
