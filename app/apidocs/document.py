"""Completes the OpenAPI document: what stands around every route is in no route's own declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.access.errors import (
    AddressRefusedError,
    BodyTooLargeError,
    CredentialInvalidError,
    CredentialMissingError,
    HeadersTooLargeError,
    LimitsUnavailableError,
    ScopeMissingError,
    SignatureInvalidError,
    TooManyRequestsError,
    UrlTooLongError,
)
from app.access.guard import is_open
from app.access.principal import Requirement
from app.apidocs.words import describe_fields, describe_parameters
from app.errors import DcsError
from app.problems import PROBLEM_MEDIA_TYPE, responses

SECURITY_SCHEMES = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key of a client. Each has scopes; a route says which one it needs.",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token from `POST /api/v1/access/token`: what a key may do, or less, for minutes.",
    },
}
DESCRIPTION = """\
Collects records from APIs, databases, files and buckets of a client environment.

Send your key in the header `X-API-Key`. All of `/api/v1` belongs to the client whose key it is: what others
have is answered 404.

Every error is `application/problem+json` (RFC 9457): `type` is constant and for programs, `detail` says what
to do, and `request_id` finds the call in the logs. An answer with `Retry-After` may be asked for again after
that many seconds. 503 means that nothing was stored, unless it names a `job_id`.

Within a version, fields and routes are only added: ignore what you do not know.
"""
TAGS = (
    ("jobs", "Collect from a source, and get what was collected."),
    ("ingest", "Take in what a bucket holds: days, prefixes, objects, and the events it sends."),
    ("avatars", "Images made from prompts or uploads, once moderation allows them."),
    ("access", "Who you are, and the keys of your client."),
    ("operations", "For whoever runs the service. These need no key."),
)
_REQUEST_ID = {
    "description": "Finds the call in the logs.",
    "schema": {"type": "string"},
    "example": "6f1d8a4c2b7e4d0f9a3c5e7b1d2f4a68",
}
_RETRY_AFTER = {
    "description": "After how many seconds to ask again.",
    "schema": {"type": "integer"},
    "example": 1,
}
_CHALLENGE = {
    "description": "How to authenticate.",
    "schema": {"type": "string"},
    "example": 'ApiKey realm="dcs"',
}
# What the guard answers, whatever the route.
_GUARDS: tuple[type[DcsError], ...] = (
    CredentialMissingError,
    CredentialInvalidError,
    SignatureInvalidError,
    AddressRefusedError,
    UrlTooLongError,
    TooManyRequestsError,
    HeadersTooLargeError,
    LimitsUnavailableError,
)
_METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})


def operation_id(route: APIRoute) -> str:
    """Return a name that a generated client can use: ``jobs_trigger``."""
    tag = route.tags[0] if route.tags else "default"
    return f"{tag}_{route.name}"


def install_document(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Serve a complete document at ``/openapi.json``. ``routes`` are those of every slice."""
    original = app.openapi
    scopes = {
        (route.path, method.lower()): scope
        for route in routes
        if isinstance(route, APIRoute) and (scope := _scope(route.dependant)) is not None
        for method in route.methods or ()
    }

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            _complete(document, scopes)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _scope(dependant: Dependant) -> str | None:
    if isinstance(dependant.call, Requirement):
        return dependant.call.scope.value if dependant.call.scope else ""
    return next((scope for each in dependant.dependencies if (scope := _scope(each)) is not None), None)


def _complete(document: dict[str, Any], scopes: Mapping[tuple[str, str], str]) -> None:
    document.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
    used = {tag for _, _, operation in operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS if name in used]
    describe_fields(document)
    for path, method, operation in operations(document):
        text = operation.get("description", "")
        operation["summary"] = text.split("\n")[0].split(". ")[0].rstrip(".").replace("`", "")
        describe_parameters(operation)
        if not is_open(path):
            _guarded(operation, scopes.get((path, method), ""))
        for status, answer in operation["responses"].items():
            _complete_answer(status, answer)
            _say_what_it_is(status, answer, document["components"]["schemas"])


def _guarded(operation: dict[str, Any], scope: str) -> None:
    operation["security"] = [{name: [scope] if scope else []} for name in SECURITY_SCHEMES]
    if scope:
        operation["description"] += f"\n\nNeeds the scope `{scope}`."
    errors = [*_GUARDS, *([ScopeMissingError] if scope else [])]
    if "requestBody" in operation:
        errors.append(BodyTooLargeError)
    for code, answer in responses(*errors, 503).items():
        _add(operation["responses"], str(code), _as_declared(answer))
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _add(answers: dict[str, Any], code: str, answer: dict[str, Any]) -> None:
    declared = answers.setdefault(code, answer)
    known = declared["content"][PROBLEM_MEDIA_TYPE]["examples"]
    for slug, example in answer["content"][PROBLEM_MEDIA_TYPE]["examples"].items():
        if slug not in known:
            known[slug] = example
            declared["description"] = f"{declared['description'].rstrip('.')}; {example['summary']}."


def _as_declared(answer: Mapping[str, Any]) -> dict[str, Any]:
    # As FastAPI writes what a route declares itself.
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": answer["description"],
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, **answer["content"][PROBLEM_MEDIA_TYPE]}},
    }


def _say_what_it_is(status: str, answer: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    if answer.get("description") not in (None, "", "Successful Response"):
        return
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = schemas.get(reference.rpartition("/")[2], {})
    answer["description"] = schema.get("description", HTTPStatus(int(status)).phrase)


def _complete_answer(status: str, answer: dict[str, Any]) -> None:
    content = answer.get("content", {})
    if content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("/Problem"):
        # FastAPI documents every answer with the media type of the good one.
        schema = content.pop("application/json")["schema"]
        content[PROBLEM_MEDIA_TYPE] = {"schema": schema, **content.get(PROBLEM_MEDIA_TYPE, {})}
    headers = answer.setdefault("headers", {})
    headers["X-Request-ID"] = _REQUEST_ID
    if status in ("429", "503") and PROBLEM_MEDIA_TYPE in content:
        headers.setdefault("Retry-After", _RETRY_AFTER)
    if status == "401":
        headers.setdefault("WWW-Authenticate", _CHALLENGE)
