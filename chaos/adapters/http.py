"""One way to ask a daemon over HTTP: a time-out on every call, and errors that name the daemon."""

from __future__ import annotations

from typing import Any

import httpx

from chaos.errors import AdapterError

REQUEST_TIMEOUT_SECONDS = 5.0


class JsonApi:
    """The HTTP API of one daemon. Direct: it ignores proxies of the environment."""

    def __init__(self, name: str, url: str, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> None:
        self.name = name
        self._client = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def get(self, path: str, **params: str | float) -> Any:
        """Return the JSON answer of a GET.

        Raises:
            AdapterError: no answer in time, a status above 299, or no JSON.
        """
        return self._json(self.request("GET", path, params=params))

    def post_form(self, path: str, **fields: str) -> Any:
        """Return the JSON answer of a POSTed form: queries too long for an address."""
        return self._json(self.request("POST", path, data=fields))

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Return a successful answer.

        Raises:
            AdapterError: no answer in time or a status above 299.
        """
        try:
            response = self._client.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise AdapterError(
                f"{self.name} does not answer at {self._client.base_url}: {error or type(error).__name__}. "
                f"See `lab status`, then `lab logs {self.name}`"
            ) from error
        if not response.is_success:
            text = response.text.strip()[:300]
            raise AdapterError(f"{self.name} answered {response.status_code} to {method} {path}: {text}")
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise AdapterError(f"{self.name} sent no JSON: {response.text[:200]!r}") from error

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()
