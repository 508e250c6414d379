"""The OpenAPI document says everything that a caller needs: no operation, field or error is left out."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from app.apidocs.document import operations
from app.apidocs.examples import example_of
from app.apidocs.page import page
from app.errors import DcsError
from app.main import create_app
from app.problems import PROBLEM_MEDIA_TYPE
from app.settings import Settings

OPERATIONS_WITHOUT_KEY = {"operations"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def every(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method.upper()} {path}", each) for path, method, each in operations(document)]


def test_every_operation_has_a_summary_a_description_a_tag_and_an_id_of_its_own(
    document: dict[str, Any],
) -> None:
    ids = [each["operationId"] for _, each in every(document)]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    for name, each in every(document):
        assert each["summary"], name
        assert len(each["summary"]) < 100, name
        assert each["description"], name
        assert each["tags"], name
        assert set(each["tags"]) <= tags, name
        assert re.fullmatch(r"[a-z]+_[a-z_]+", each["operationId"]), name


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    missing = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, value in schema.get("properties", {}).items()
        if not value.get("description")
    ]
    missing += [
        f"{name}: {parameter['name']}"
        for name, each in every(document)
        for parameter in each.get("parameters", ())
        if not parameter.get("description")
    ]
    assert missing == [], "describe them, or add a word to app/apidocs/words.py"


def test_every_answer_says_what_it_is_and_every_error_is_a_problem_with_examples(
    document: dict[str, Any],
) -> None:
    for name, each in every(document):
        for status, answer in each["responses"].items():
            where = f"{name}: {status}"
            assert answer["description"] not in ("", "Successful Response"), where
            assert "X-Request-ID" in answer["headers"], where
            if status < "400" or where == "GET /health/ready: 503":
                continue
            assert list(answer["content"]) == [PROBLEM_MEDIA_TYPE], where
            content = answer["content"][PROBLEM_MEDIA_TYPE]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, where
            assert content["examples"], where
            for example in content["examples"].values():
                assert str(example["value"]["status"]) == status, where
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_limit_is_said_in_words_of_json_schema(document: dict[str, Any]) -> None:
    # Where a validator stands before a limit, pydantic writes words of its own.
    text, words = json.dumps(document), ("ge", "gt", "le", "lt", "min_length", "max_length")
    assert [word for word in words if f'"{word}": ' in text] == []


def test_errors_that_any_call_may_meet_are_declared_wherever_they_apply(document: dict[str, Any]) -> None:
    for name, each in every(document):
        declared = each["responses"].keys()
        if set(each["tags"]) <= OPERATIONS_WITHOUT_KEY:
            assert "401" not in declared, name
            assert "security" not in each, name
            continue
        assert {"401", "414", "429", "431", "503"} <= declared, name
        assert each["security"], name
        assert "WWW-Authenticate" in each["responses"]["401"]["headers"], name
        for status in ("429", "503"):
            assert "Retry-After" in each["responses"][status]["headers"], name
        if "Needs the scope" in each["description"]:
            assert "403" in declared, name
        if "requestBody" in each:
            assert {"413", "422"} <= declared, name
        if each.get("parameters"):
            assert "422" in declared, name
        if "{" in name:
            assert "404" in declared, name


def test_the_document_has_the_routes_that_metrics_and_the_guard_know(document: dict[str, Any]) -> None:
    routes = create_app(Settings()).state.routes
    known = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert known == {name for name, _ in every(document)} | {"GET /metrics"}


def test_every_write_and_read_names_its_scope(document: dict[str, Any]) -> None:
    unscoped = {
        each["operationId"]
        for _, each in every(document)
        if "security" in each and "Needs the scope" not in each["description"]
    }
    assert unscoped <= {"access_me", "access_token"}


def test_every_error_of_the_service_says_what_it_is_and_what_to_do() -> None:
    pending, found = [DcsError], set()
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        found.add(error)
    assert len(found) > 10
    titles: dict[str, str] = {}
    for error in found:
        assert error.__doc__, error
        assert error.__doc__.strip().endswith("."), error
        assert len(error.__doc__) > 40, f"{error} does not say what to do"
        assert re.fullmatch(r"[a-z0-9-]+", error.slug), error
        assert titles.setdefault(error.slug, error.title) == error.title, error


def test_every_error_that_is_documented_is_one_that_the_service_has(document: dict[str, Any]) -> None:
    pending, known = [DcsError], set()
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        known.add((error.status_code, f"urn:dcs:problem:{error.slug}"))
    for name, each in every(document):
        for status, answer in each["responses"].items():
            examples = answer.get("content", {}).get(PROBLEM_MEDIA_TYPE, {}).get("examples", {})
            for example in examples.values():
                assert (int(status), example["value"]["type"]) in known, f"{name}: {status}"


def test_the_document_is_json_and_names_no_version_of_ours_twice(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document
    assert document["openapi"].startswith("3.1")
    assert document["info"]["description"]


class Page(HTMLParser):
    """Collects what a page names and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given["href"].startswith("#"):
            self.anchors.add(given["href"][1:])
        elif "src" in given or tag in ("script", "link", "img"):
            self.fetched.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_has_everything_and_fetches_nothing(document: dict[str, Any]) -> None:
    shown = Page()
    shown.feed(page(document))
    assert shown.fetched == []
    assert shown.anchors <= shown.ids
    text = " ".join(shown.text)
    for name, each in every(document):
        assert each["operationId"] in shown.ids, name
        for status in each["responses"]:
            assert status in text, name
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in shown.ids
        for field in schema.get("properties", {}):
            assert field in text, f"{name}.{field}"


def test_examples_of_bodies_are_such_as_the_service_takes(document: dict[str, Any]) -> None:
    for name, each in every(document):
        body = each.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            continue
        validator = Draft202012Validator({**body["schema"], "components": document["components"]})
        assert list(validator.iter_errors(example_of(body["schema"], document))) == [], name


def test_what_a_page_shows_cannot_become_markup(document: dict[str, Any]) -> None:
    evil = json.loads(json.dumps(document).replace("Collects records", "<script>alert(1)</script>"))
    assert "<script" not in page(evil)
