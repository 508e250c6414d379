"""The ``api`` source: pages through a resource of a configured HTTP endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.sources import (
    BYTES_MAX,
    RECORDS_MAX,
    Record,
    SourceError,
    SourceRefusedError,
    SourceType,
    source_call,
    too_much,
)
from app.telemetry.tracing import outgoing_headers

if TYPE_CHECKING:
    import httpx

PAGES_MAX = 500
COLLECT_TIMEOUT_SECONDS = 60.0
_HTTP_TOO_MANY_REQUESTS = 429
_HTTP_REQUEST_TIMEOUT = 408


class ApiConfig(BaseModel):
    """What to read from an HTTP API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="Name of a configured endpoint.",
        examples=["evidence"],
    )
    resource: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", examples=["controls"])
    page_size: int = Field(default=50, ge=1, le=500)


class _Page(BaseModel):
    # What the upstream promises. Anything else is refused, not stored.
    items: list[dict[str, Any]]
    page: int = Field(ge=1)
    pages: int = Field(ge=0)
    total: int = Field(ge=0)


class _Budget:
    """What all pages of one job may cost together, checked with every chunk: an upstream may drip."""

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._seconds = seconds
        self._give_up_at = time.monotonic() + seconds
        self._bytes_max = bytes_max
        self._bytes = 0

    def spend(self, chunk_bytes: int) -> None:
        """Count a chunk. Raises ``SourceError``."""
        self._bytes += chunk_bytes
        if self._bytes > self._bytes_max:
            raise too_much(f"{self._bytes_max} bytes")
        if time.monotonic() > self._give_up_at:
            message = f"not finished after {self._seconds:g} s"
            raise SourceError("timeout", message, retryable=True, outcome="timeout")


class ApiSource:
    """Reads pages one after the other. ``timeout_seconds`` is for each read; the others are for a job."""

    def __init__(
        self,
        endpoints: Mapping[str, str],
        *,
        timeout_seconds: float,
        collect_seconds_max: float = COLLECT_TIMEOUT_SECONDS,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._endpoints = endpoints
        self._timeout_seconds = timeout_seconds
        self._collect_seconds_max = collect_seconds_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._shared: httpx.Client | None = None

    def check(self, config: ApiConfig) -> None:
        """Refuse an endpoint that is not configured."""
        if config.endpoint not in self._endpoints:
            message = f"unknown endpoint; configured are: {', '.join(sorted(self._endpoints)) or 'none'}"
            raise SourceRefusedError("endpoint", message, event="source_endpoint_refused")

    def collect(self, config: ApiConfig) -> list[Record]:
        """Return the items of all pages."""
        self.check(config)
        client = self._client()
        base = self._endpoints[config.endpoint].rstrip("/")
        records: list[Record] = []
        url = f"{base}/v1/{config.resource}"
        budget = _Budget(self._collect_seconds_max, self._bytes_max)
        for number in range(1, PAGES_MAX + 1):
            with source_call(SourceType.API, url) as call:
                body = self._get(client, url, {"page": number, "page_size": config.page_size}, budget)
                page = _parsed(body, number)
                call.records = len(page.items)
            records += page.items
            if len(records) > RECORDS_MAX:
                raise too_much(f"{RECORDS_MAX} records")
            if number >= page.pages:
                return records
        raise too_much(f"{PAGES_MAX} pages")

    def _client(self) -> httpx.Client:
        import httpx  # noqa: PLC0415  the API process only checks configurations and never calls

        # One for all jobs: each new one reads every certificate authority of the machine.
        with self._lock:
            if self._shared is None:
                self._shared = httpx.Client(
                    timeout=self._timeout_seconds, trust_env=False, follow_redirects=False
                )
            return self._shared

    @staticmethod
    def _get(client: httpx.Client, url: str, params: dict[str, int], budget: _Budget) -> bytes:
        import httpx  # noqa: PLC0415

        try:
            with client.stream("GET", url, params=params, headers=outgoing_headers()) as response:
                if not response.is_success:
                    status = response.status_code
                    retryable = response.is_server_error or status in (
                        _HTTP_REQUEST_TIMEOUT,
                        _HTTP_TOO_MANY_REQUESTS,
                    )
                    raise SourceError(f"http_{status}", f"{url} answered {status}", retryable=retryable)
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    budget.spend(len(chunk))
                return bytes(body)
        except httpx.TimeoutException as exc:
            message = f"{url}: {type(exc).__name__}"
            raise SourceError("timeout", message, retryable=True, outcome="timeout") from exc
        except httpx.ConnectError as exc:
            refused = "refused" in str(exc).lower()
            raise SourceError(
                "refused" if refused else "unreachable",
                f"{url}: {exc}",
                retryable=True,
                outcome="refused" if refused else "error",
            ) from exc
        except httpx.HTTPError as exc:
            raise SourceError("transport", f"{url}: {exc!r}", retryable=True) from exc


def _parsed(body: bytes, number: int) -> _Page:
    try:
        return _Page.model_validate_json(body)
    except ValidationError as exc:
        message = f"page {number} is not what the API promises: {exc.error_count()} errors"
        raise SourceError("invalid_response", message, retryable=True) from exc
