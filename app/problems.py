"""Errors as problem JSON (RFC 9457)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from app.access.headers import OUTSIDE
from app.errors import (
    DatabaseUnavailableError,
    DcsError,
    FieldError,
    InvalidRequestError,
    OverloadedError,
    SubmissionUnknownError,
)
from app.sources import SourceType
from app.telemetry import tracing

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

CLIENT_CLOSED_REQUEST = 499
"""As nginx calls it. It is only ever seen in figures and logs."""
PROBLEM_MEDIA_TYPE = "application/problem+json"
_TAGS = frozenset(SourceType)

log = structlog.get_logger()


class FieldProblem(BaseModel):
    """One thing wrong with one field."""

    field: str = Field(description="Where it is, with dots.", examples=["config.page_size"])
    message: str = Field(
        description="What is wrong with it.", examples=["Input should be greater than or equal to 1"]
    )


class Problem(BaseModel):
    """What every error looks like (``application/problem+json``)."""

    type: str = Field(
        description="Which error it is. Constant: programs may compare it.",
        examples=["urn:dcs:problem:job-not-found"],
    )
    title: str = Field(description="The same for people. Constant.", examples=["No such job"])
    status: int = Field(description="The status code of the answer.", examples=[404])
    detail: str = Field(
        description="What happened this time, and what to do.",
        examples=["No job has this id. Use the `job_id` that the trigger request returned."],
    )
    instance: str = Field(description="The path asked for.", examples=["/api/v1/jobs/status/…"])
    request_id: str = Field(
        description="In the logs of every part of the service; also the header `X-Request-ID`.",
        examples=["6f1d8a4c2b7e4d0f9a3c5e7b1d2f4a68"],
    )
    trace_id: str | None = Field(
        default=None,
        description="The W3C trace that the request is part of.",
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )
    errors: list[FieldProblem] | None = Field(default=None, description="With status 422: what is wrong.")
    job_id: UUID | None = Field(
        default=None, description="With status 503: the job, if it is not known whether it was stored."
    )


_USUAL: dict[int, tuple[type[DcsError], ...]] = {
    422: (InvalidRequestError,),
    503: (DatabaseUnavailableError, OverloadedError),
}


def responses(*errors: int | type[DcsError]) -> dict[int | str, dict[str, Any]]:
    """Return what a route documents about its errors: status codes, or better the errors themselves."""
    found: dict[int, list[type[DcsError]]] = {}
    for error in errors:
        if isinstance(error, int):
            found.setdefault(error, []).extend(_USUAL.get(error, ()))
        else:
            found.setdefault(error.status_code, []).append(error)
    return {code: _documented(code, classes) for code, classes in sorted(found.items())}


def _documented(code: int, errors: Sequence[type[DcsError]]) -> dict[str, Any]:
    phrase = HTTPStatus(code).phrase
    # Without a class of ours: what nginx, or the framework, answers.
    shown = [(error.slug, error.title, inspect.getdoc(error) or "") for error in errors] or [
        (phrase.lower().replace(" ", "-"), phrase, HTTPStatus(code).description or f"{phrase}.")
    ]
    examples = {
        slug: {
            "summary": title,
            "value": {
                "type": f"urn:dcs:problem:{slug}",
                "title": title,
                "status": code,
                "detail": " ".join(detail.split()),
                "instance": "/api/v1/…",
                "request_id": "6f1d8a4c2b7e4d0f9a3c5e7b1d2f4a68",
            },
        }
        for slug, title, detail in shown
    }
    return {
        "model": Problem,
        "description": "; ".join(title for _, title, _ in shown) + ".",
        "content": {PROBLEM_MEDIA_TYPE: {"examples": examples}},
    }


def _response(
    request: Request,
    *,
    status: int,
    slug: str,
    title: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    job_id: UUID | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    trace = tracing.current()
    problem = Problem(
        type=f"urn:dcs:problem:{slug}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        trace_id=trace.trace_id if trace else None,
        errors=[FieldProblem(field=_shown(error.field), message=_shown(error.message)) for error in errors]
        or None,
        job_id=job_id,
    )
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=PROBLEM_MEDIA_TYPE,
    )


def _shown(text: str) -> str:
    # What was wrong may be that it is no text, and these words repeat it.
    return text.encode(errors="replace").decode()


def _field(error: Mapping[str, Any]) -> str:
    parts = [str(part) for part in error["loc"]]
    if error["type"].startswith("union_tag_"):
        parts.append(str(error["ctx"]["discriminator"]).strip("'"))
    if len(parts) > 1 and parts[0] in ("body", "path", "query", "header"):
        parts = parts[1:]
    # The tag of a discriminated union is no part of the document the client sent.
    if len(parts) > 1 and parts[0] in _TAGS:
        parts = parts[1:]
    return ".".join(parts)


async def _dcs_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, DcsError)  # noqa: S101  Starlette's signature is wider than its promise
    return problem_response(request, exc)


def problem_response(request: Request, exc: DcsError) -> JSONResponse:
    """Return the answer to a request that met this error."""
    errors = exc.errors if isinstance(exc, InvalidRequestError) else ()
    return _response(
        request,
        status=exc.status_code,
        slug=exc.slug,
        title=exc.title,
        detail=str(exc),
        errors=errors,
        job_id=exc.job_id if isinstance(exc, SubmissionUnknownError) else None,
        headers=exc.headers(),
    )


async def _validation_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)  # noqa: S101
    errors = tuple(
        FieldError("body", f"is not JSON: {error['ctx']['error']}, at character {error['loc'][-1]}")
        if error["type"] == "json_invalid"
        else FieldError(_field(error), error["msg"])
        for error in exc.errors()
    )
    return await _dcs_error(request, InvalidRequestError(*errors))


async def _http_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)  # noqa: S101
    if exc.status_code == HTTPStatus.BAD_REQUEST:  # the framework's, for a body that it cannot read
        return await _dcs_error(request, InvalidRequestError(FieldError("body", str(exc.detail))))
    title = HTTPStatus(exc.status_code).phrase
    slug = title.lower().replace(" ", "-")
    headers = dict(exc.headers or {})
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    return _response(
        request, status=exc.status_code, slug=slug, title=title, detail=str(exc.detail), headers=headers
    )


def _allowed(request: Request) -> str:
    # The framework names the methods of the first route that has this path, and of no other.
    routes: Sequence[BaseRoute] = getattr(request.app.state, "routes", ())
    methods = {
        method
        for route in routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods))


async def _unexpected(request: Request, exc: Exception) -> JSONResponse:
    log.error("request_failed", error=repr(exc), exc_info=exc)
    answer = await _dcs_error(request, DcsError())
    # Starlette answers this one outside of every middleware, also of the one that sets the header.
    answer.headers["X-Request-ID"] = getattr(request.state, "request_id", "")
    answer.headers.update(OUTSIDE)
    return answer


async def _client_gone(_request: Request, _exc: Exception) -> Response:
    # It hung up before it had sent everything: nobody's defect, and nobody is there to read an answer.
    log.info("client_disconnected")
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error with problem JSON."""
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(DcsError, _dcs_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
