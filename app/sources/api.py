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
    SourceCall,
    SourceError,
    SourceRefusedError,
    SourceType,
    source_call,
    too_much,
)

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


class ApiSource:
    """Reads pages one after the other. Time-outs in seconds, per page."""

    def __init__(self, endpoints: Mapping[str, str], *, timeout_seconds: float) -> None:
        self._endpoints = endpoints
        self._timeout_seconds = timeout_seconds
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
        give_up_at = time.monotonic() + COLLECT_TIMEOUT_SECONDS
        for number in range(1, PAGES_MAX + 1):
            if time.monotonic() > give_up_at:
                message = f"not finished after {COLLECT_TIMEOUT_SECONDS:g} s"
                raise SourceError("timeout", message, retryable=True, outcome="timeout")
            url = f"{base}/v1/{config.resource}"
            with source_call(SourceType.API, url) as call:
                page = self._page(client, call, url, {"page": number, "page_size": config.page_size})
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

    def _page(self, client: httpx.Client, call: SourceCall, url: str, params: dict[str, int]) -> _Page:
        body = self._get(client, url, params)
        try:
            page = _Page.model_validate_json(body)
        except ValidationError as exc:
            message = f"page {params['page']} is not what the API promises: {exc.error_count()} errors"
            raise SourceError("invalid_response", message, retryable=True) from exc
        call.records = len(page.items)
        return page

    @staticmethod
    def _get(client: httpx.Client, url: str, params: dict[str, int]) -> bytes:
        import httpx  # noqa: PLC0415

        try:
            with client.stream("GET", url, params=params) as response:
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
                    if len(body) > BYTES_MAX:
                        raise too_much(f"{BYTES_MAX} bytes in a page")
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
