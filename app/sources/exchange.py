"""One request after the other to an HTTP API: conditional, bounded, and with every end named."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cache.cache import Cache, Lifetime
from app.cache.entry import CacheArea, CacheKey
from app.sources import SourceCall, SourceError
from app.sources.budget import Budget, decoded
from app.telemetry.tracing import outgoing_headers

if TYPE_CHECKING:
    import httpx

RETRY_AFTER_SECONDS_MAX = 3600.0
_HTTP_OK = 200
_HTTP_NOT_MODIFIED = 304
_HTTP_REQUEST_TIMEOUT = 408
_HTTP_TOO_MANY_REQUESTS = 429
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,200}"')
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")
_SECONDS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Page:
    """A body and the tag that the server gave it."""

    body: bytes
    etag: str | None


@dataclass
class Exchange:
    """The requests of one job. They share a budget and what is kept of this client's pages."""

    client: httpx.Client
    budget: Budget
    cache: Cache | None
    client_id: str
    keep_seconds: float
    fresh_seconds: float

    def fresh(self, url: str, params: Mapping[str, str]) -> Page | None:
        """Return a kept page that is young enough not to be asked for."""
        if self.cache is None or self.fresh_seconds <= 0:
            return None
        found = self.cache.find(self._key(url, params))
        if found is None or not found.fresh(self._lifetime):
            return None
        return self._page(found.body)

    def keep(self, url: str, params: Mapping[str, str], page: Page) -> None:
        """Keep a page."""
        if self.cache is None or (page.etag is None and self.fresh_seconds <= 0):
            return
        body = (page.etag or "").encode("ascii") + b"\n" + page.body
        self.cache.put(self._key(url, params), body, self._lifetime)

    def get(self, url: str, params: Mapping[str, str], call: SourceCall) -> Page:
        """Ask for a page. Raises ``SourceError``, or what the guard refuses."""
        import httpx  # noqa: PLC0415  the API process only checks configurations and never calls

        from app.net.http import within  # noqa: PLC0415

        kept = self._kept(url, params)
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **outgoing_headers()}
        if kept is not None and kept.etag is not None:
            headers["If-None-Match"] = kept.etag
        asked = httpx.URL(url).copy_merge_params(dict(params))
        shown = url.partition("?")[0]
        try:
            with (
                within(self.budget.seconds_left),
                self.client.stream("GET", asked, headers=headers) as response,
            ):
                call.status = response.status_code
                return self._answer(response, kept, shown)
        except httpx.TimeoutException as exc:
            self.budget.check_time()
            message = f"{shown}: {type(exc).__name__}"
            raise SourceError(
                "timeout", message, retryable=True, outcome="timeout", upstream_failed=True
            ) from exc
        except httpx.ConnectError as exc:
            refused = "refused" in str(exc).lower()
            raise SourceError(
                "refused" if refused else "unreachable",
                f"{shown}: {exc}",
                retryable=True,
                outcome="refused" if refused else "error",
                upstream_failed=True,
            ) from exc
        except httpx.HTTPError as exc:
            raise SourceError("transport", f"{shown}: {exc!r}", retryable=True, upstream_failed=True) from exc

    def _answer(self, response: httpx.Response, kept: Page | None, shown: str) -> Page:
        status = response.status_code
        if status == _HTTP_NOT_MODIFIED and kept is not None:
            self.budget.spend(len(kept.body))
            return kept
        if status != _HTTP_OK:
            raise _refusal(response, shown)
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not _JSON.fullmatch(content_type):
            message = f"{shown} answered with {content_type[:100] or 'no content type'} instead of JSON"
            raise SourceError("invalid_response", message, retryable=True)
        body = decoded(response.iter_raw(), response.headers.get("content-encoding", ""), self.budget)
        etag = response.headers.get("etag")
        return Page(body, etag if etag is not None and _ETAG.fullmatch(etag) else None)

    @property
    def _lifetime(self) -> Lifetime:
        return Lifetime(self.fresh_seconds, self.keep_seconds)

    def _key(self, url: str, params: Mapping[str, str]) -> CacheKey:
        parts = (url, *(f"{name}={value}" for name, value in sorted(params.items())))
        return CacheKey(CacheArea.SOURCE, self.client_id, parts)

    def _kept(self, url: str, params: Mapping[str, str]) -> Page | None:
        if self.cache is None or self.keep_seconds <= 0:
            return None
        found = self.cache.find(self._key(url, params))
        return None if found is None else self._page(found.body)

    @staticmethod
    def _page(kept: bytes) -> Page:
        etag, _, body = kept.partition(b"\n")
        return Page(body, etag.decode("ascii") or None)


def _refusal(response: httpx.Response, shown: str) -> SourceError:
    status = response.status_code
    message = f"{shown} answered {status}"
    if response.has_redirect_location:
        message += "; redirects are not followed"
    return SourceError(
        f"http_{status}",
        message,
        retryable=response.is_server_error or status in (_HTTP_REQUEST_TIMEOUT, _HTTP_TOO_MANY_REQUESTS),
        retry_after_seconds=retry_after_seconds(response.headers, now=dt.datetime.now(dt.UTC)),
        upstream_failed=response.is_server_error,
    )


def retry_after_seconds(headers: Mapping[str, str], *, now: dt.datetime) -> float | None:
    """Return what ``Retry-After`` asks for, at most an hour; None when it says nothing that can be read.

    A date is taken relative to the server's own ``Date``: its clock may be wrong, and so may ours.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), RETRY_AFTER_SECONDS_MAX)
    due = _date(value)
    if due is None:
        return None
    left_seconds = (due - (_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(left_seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _date(value: str) -> dt.datetime | None:
    try:
        parsed = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=dt.UTC)
