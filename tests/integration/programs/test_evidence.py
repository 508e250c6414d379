from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import HTTP, Program, running

TOTALS = {"controls": 120, "assets": 240, "findings": 180}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    log = tmp_path_factory.mktemp("evidence") / "log"
    with running("chaos.upstreams.evidence", "--seed", "7", log=log) as program:
        yield program


def page(program: Program, resource: str, **query: int) -> dict[str, Any]:
    answer = HTTP.get(f"{program.url}/v1/{resource}", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("resource", TOTALS)
@pytest.mark.parametrize("page_size", [7, 50, 200])
def test_the_pages_together_hold_every_record_once(evidence: Program, resource: str, page_size: int) -> None:
    first = page(evidence, resource, page_size=page_size)
    pages = [page(evidence, resource, page=n, page_size=page_size) for n in range(1, first["pages"] + 1)]

    ids = [item["id"] for body in pages for item in body["items"]]
    assert len(ids) == len(set(ids)) == first["total"] == TOTALS[resource]
    assert ids == sorted(ids)
    assert all(len(body["items"]) == page_size for body in pages[:-1])
    assert [body["page"] for body in pages] == list(range(1, len(pages) + 1))


def test_the_same_seed_gives_the_same_data_and_another_seed_does_not(
    evidence: Program, tmp_path: Path
) -> None:
    for seed, same in (("7", True), ("8", False)):
        with running("chaos.upstreams.evidence", "--seed", seed, log=tmp_path / seed) as other:
            for resource in TOTALS:
                answers = [page(program, resource, page_size=200) for program in (evidence, other)]
                assert (answers[0] == answers[1]) is same


def test_a_page_past_the_end_is_empty(evidence: Program) -> None:
    assert page(evidence, "controls", page=4, page_size=50)["items"] == []


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("page=0", ["page"]),
        ("page=-1", ["page"]),
        ("page=1.5", ["page"]),
        ("page=%D9%A1", ["page"]),  # an Arabic digit
        ("page=99999999999999999999", ["page"]),
        ("page_size=201", ["page_size"]),
        ("page=&page_size=x", ["page", "page_size"]),
        ("offset=3", ["offset"]),
    ],
)
def test_bad_paging_is_refused_by_field(evidence: Program, query: str, fields: list[str]) -> None:
    answer = HTTP.get(f"{evidence.url}/v1/controls?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == fields


def test_an_unknown_resource_is_a_problem_that_names_the_known_ones(evidence: Program) -> None:
    answer = HTTP.get(f"{evidence.url}/v1/secrets")

    assert answer.status_code == 404
    assert all(resource in answer.json()["detail"] for resource in TOTALS)


def test_requests_are_counted(evidence: Program) -> None:
    before = evidence.metric("lab_upstream_requests_total", resource="assets", status="200")
    page(evidence, "assets")
    assert evidence.metric("lab_upstream_requests_total", resource="assets", status="200") == before + 1


def test_a_page_that_has_not_changed_is_not_sent_again(evidence: Program) -> None:
    url = f"{evidence.url}/v1/controls"
    first = HTTP.get(url)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = HTTP.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert HTTP.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert HTTP.get(url, params={"page": 2}).headers["etag"] != tag


@pytest.mark.parametrize(
    ("behaviour", "status", "content_type"),
    [
        ({"error_rate": 1}, 500, "application/problem+json"),
        ({"rate_limit_rate": 1, "retry_after_seconds": 7}, 429, "application/problem+json"),
        ({"garbage_rate": 1}, 200, "text/html; charset=utf-8"),
        ({"garbage_rate": 1, "garbage": "truncated"}, 200, "application/json"),
        ({"garbage_rate": 1, "garbage": "schema"}, 200, "application/json"),
        ({"slow_rate": 1, "slow_seconds": 0.2}, 200, "application/json"),
    ],
)
def test_it_misbehaves_when_told_to_and_no_longer(
    evidence: Program, behaviour: dict[str, Any], status: int, content_type: str
) -> None:
    admin = f"{evidence.url}/admin/behaviour"
    good = HTTP.get(f"{evidence.url}/v1/controls").json()
    try:
        assert HTTP.put(admin, json=behaviour).json().items() >= behaviour.items()
        answer = HTTP.get(f"{evidence.url}/v1/controls")
        assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
        if "slow_rate" in behaviour:
            assert answer.elapsed.total_seconds() >= 0.2
            assert answer.json() == good
    finally:
        assert HTTP.delete(admin).status_code == 200
    assert HTTP.get(f"{evidence.url}/v1/controls").json() == good


@pytest.mark.parametrize("document", ['{"error_rate": 2}', '{"x": 1}', "[]", "{"])
def test_a_behaviour_that_is_none_is_refused(evidence: Program, document: str) -> None:
    answer = HTTP.put(f"{evidence.url}/admin/behaviour", content=document)
    assert answer.status_code == 422
    assert answer.json()["errors"]
