"""A client of the service as the ledger needs one: it keeps at a submission until it is answered."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from chaos.errors import AdapterError
from chaos.ledger.history import History, Type
from chaos.ledger.submissions import SUBMIT
from chaos.ledger.workload import PATHS, Work

ACCEPTED = frozenset({200, 202})
"""202, or 200 for a repetition of what was accepted before."""
TRY_AGAIN = frozenset({408, 425, 429})
"""Refusals that say nothing against the submission itself."""
DOCUMENT_TIMEOUT_SECONDS = 10.0
RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 2.0
RETRY_AFTER_SECONDS_MAX = 5.0
_SERVER_ERROR_MIN = 500


@dataclass
class Tally:
    """How the calls went. ``jobs`` counts keys that were acknowledged, the rest counts calls."""

    jobs: int = 0
    acked: int = 0
    refused: int = 0
    attempts: int = 0
    unknown: int = 0
    unavailable: int = 0
    limited: int = 0
    slowest_seconds: float = 0.0
    """From the first attempt to the acknowledgement."""
    refusals: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What one attempt came to."""

    type: Type
    why: str
    job_id: str | None = None
    retry_after_seconds: float = 0.0


class Client:
    """One client, its key and its history."""

    def __init__(
        self, name: str, http: httpx.AsyncClient, headers: Mapping[str, str], history: History, tally: Tally
    ) -> None:
        self.name = name
        self._http = http
        self._headers = dict(headers)
        self._history = history
        self._tally = tally

    async def submit(self, key: str, work: Work, *, give_up_at: Callable[[], float]) -> str | None:
        """Submit until acknowledged, refused, or the monotonic time to give up. Return the job's id."""
        began = time.monotonic()
        attempt = 0
        while True:
            answer = await self._attempt(key, work, attempt)
            if answer.type is Type.OK:
                self._tally.acked += 1
                self._tally.slowest_seconds = max(self._tally.slowest_seconds, time.monotonic() - began)
                return answer.job_id
            if answer.type is Type.FAIL and not answer.retry_after_seconds:
                self._tally.refused += 1
                self._tally.refusals[answer.why] = self._tally.refusals.get(answer.why, 0) + 1
                return None
            pause = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempt, 10))
            pause = max(pause, answer.retry_after_seconds) * random.uniform(0.5, 1)  # noqa: S311  jitter
            attempt += 1
            if time.monotonic() + pause >= give_up_at():
                return None
            await asyncio.sleep(pause)

    async def _attempt(self, key: str, work: Work, attempt: int) -> Answer:
        request_id = f"ledger-{secrets.token_hex(8)}"
        told: dict[str, Any] = {"key": key, "request_id": request_id}
        # The history has the call before the wire has it.
        self._history.record(
            Type.INVOKE, self.name, SUBMIT, **told, attempt=attempt, kind=work.kind, body=work.body,
            count=work.expected.count, digest=work.expected.digest,
            effect=work.expected.effect,
        )  # fmt: skip
        self._tally.attempts += 1
        answer = await self._post(key, request_id, work)
        detail: dict[str, Any] = {**told, "why": answer.why}
        if answer.job_id is not None:
            detail["job_id"] = answer.job_id
        self._history.record(answer.type, self.name, SUBMIT, **detail)
        return answer

    async def _post(self, key: str, request_id: str, work: Work) -> Answer:
        headers = self._headers | {"Idempotency-Key": key, "X-Request-ID": request_id}
        try:
            response = await self._http.post(work.path, json=work.body, headers=headers)
        except httpx.HTTPError as error:
            self._tally.unknown += 1
            return Answer(Type.INFO, type(error).__name__)
        return self._judge(response)

    def _judge(self, response: httpx.Response) -> Answer:
        code = str(response.status_code)
        body = _json(response)
        job_id = body.get("job_id")
        if response.status_code in ACCEPTED and isinstance(job_id, str):
            return Answer(Type.OK, code, job_id)
        wait = _retry_after(response)
        if response.status_code >= _SERVER_ERROR_MIN or response.status_code in ACCEPTED:
            # Also a 503: whoever answers it may stand between the service and us.
            self._tally.unavailable += 1
            return Answer(Type.INFO, code, retry_after_seconds=wait)
        if response.status_code in TRY_AGAIN:
            self._tally.limited += 1
            return Answer(Type.FAIL, code, retry_after_seconds=max(wait, RETRY_BASE_SECONDS))
        return Answer(Type.FAIL, f"{code} {body.get('type', '')}".strip())


async def read(
    http: httpx.AsyncClient, headers: Mapping[str, str], path: str
) -> tuple[int, dict[str, object]]:
    """Return the status code and the JSON of a GET; code 0 when nothing was answered."""
    try:
        response = await http.get(path, headers=dict(headers))
    except httpx.HTTPError:
        return 0, {}
    return response.status_code, _json(response)


def offered_kinds(target: str) -> tuple[str, ...]:
    """Return the kinds of jobs that the service takes, as its own document says.

    Raises:
        AdapterError: it does not show the document.
    """
    try:
        response = httpx.get(f"{target}/openapi.json", timeout=DOCUMENT_TIMEOUT_SECONDS, trust_env=False)
        paths = response.raise_for_status().json()["paths"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise AdapterError(f"{target}/openapi.json cannot be read: {error}. Run `lab status`") from error
    return tuple(kind for kind, path in PATHS.items() if path in paths)


def _json(response: httpx.Response) -> dict[str, object]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(RETRY_AFTER_SECONDS_MAX, max(0.0, float(response.headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0
