from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pictures import picture
from tests.support.programs import HTTP, Program, running


@pytest.fixture(scope="module")
def moderation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    log = tmp_path_factory.mktemp("moderation") / "log"
    arguments = ("--seed", "7", "--behaviour", json.dumps({"latency_median_ms": 0}))
    with running("chaos.upstreams.moderation", *arguments, log=log) as program:
        yield program


@pytest.fixture(autouse=True)
def _well_behaved(moderation: Program) -> Iterator[None]:
    yield
    HTTP.delete(f"{moderation.url}/admin/behaviour")


def ask(program: Program, key: str = "", **question: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return HTTP.post(f"{program.url}/v1/moderate", json=question, headers=headers)


def scores(program: Program, **question: Any) -> dict[str, float]:
    answer = ask(program, **question)
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = answer.json()["scores"]
    return found


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("a bloody massacre", "violence"),
        ("k i l l them", "violence"),
        ("a nazi parade", "hate"),
        ("a naked dancer", "sexual"),
        ("i want to kill myself", "self_harm"),
        ("jane.doe@example.org", "personal_data"),
        ("4111 1111 1111 1111", "personal_data"),
        ("a bag of cocaine", "illegal_goods"),
    ],
)
def test_what_a_text_says_decides_its_scores(moderation: Program, text: str, category: str) -> None:
    found = scores(moderation, text=text)
    assert max(found, key=lambda name: found[name]) == category
    assert found[category] > 0.5 > scores(moderation, text="a lighthouse")[category]


def test_what_an_image_shows_decides_its_scores(moderation: Program) -> None:
    def seen(colour: tuple[int, int, int]) -> dict[str, float]:
        image = base64.b64encode(picture(colour=colour)).decode()
        return scores(moderation, image_base64=image, media_type="image/png")

    assert seen((224, 172, 140))["sexual"] > 0.6 > seen((40, 110, 200))["sexual"]
    assert seen((130, 8, 10))["violence"] > 0.6


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"text": ""},
        {"text": 7},
        {"text": "x" * 10_001},
        {"text": "a", "image_base64": "a"},
        {"image_base64": "!"},
        {"image_base64": "aGVsbG8="},
    ],
)
def test_a_bad_question_is_refused(moderation: Program, question: dict[str, Any]) -> None:
    answer = ask(moderation, **question)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_a_key_has_one_answer(moderation: Program) -> None:
    first, again = (ask(moderation, key="k-1", text="tea") for _ in range(2))
    assert again.json() == first.json()
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert ask(moderation, key="k-1", text="coffee").status_code == 409


def test_it_goes_wrong_as_often_as_told_and_the_same_way_for_the_same_seed(tmp_path: Path) -> None:
    behaviour = {"latency_median_ms": 0, "error_rate": 0.3, "rate_limit_rate": 0.2, "garbage_rate": 0.2}
    runs = []
    for number in range(2):
        with running(
            "chaos.upstreams.moderation", "--seed", "3", "--behaviour", json.dumps(behaviour),
            log=tmp_path / str(number),
        ) as program:  # fmt: skip
            answers = [ask(program, text="tea") for _ in range(100)]
            runs.append([(answer.status_code, answer.headers["content-type"]) for answer in answers])
    assert runs[0] == runs[1]
    statuses = [status for status, _ in runs[0]]
    assert 18 <= statuses.count(500) <= 42
    assert 10 <= statuses.count(429) <= 32
    assert any(kind.startswith("text/html") for _, kind in runs[0])


def test_behaviour_can_be_changed_while_it_runs(moderation: Program) -> None:
    url = f"{moderation.url}/admin/behaviour"
    assert (
        HTTP.put(url, json={"rate_limit_rate": 1, "retry_after_seconds": 9}).json()["retry_after_seconds"]
        == 9
    )
    limited = ask(moderation, text="tea")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "9")
    assert HTTP.get(f"{moderation.url}/health").json()["behaviour"]["rate_limit_rate"] == 1
    assert HTTP.delete(url).json()["rate_limit_rate"] == 0
    assert ask(moderation, text="tea").status_code == 200
    assert moderation.metric("lab_upstream_requests_total", resource="moderate", status="429") >= 1


@pytest.mark.parametrize(
    ("behaviour", "field"),
    [
        ([], "body"),
        ({"speed": 1}, "speed"),
        ({"error_rate": 1.1}, "error_rate"),
        ({"error_rate": True}, "error_rate"),
        ({"error_rate": "1"}, "error_rate"),
        ({"retry_after_seconds": 1.5}, "retry_after_seconds"),
        ({"slow_seconds": 121}, "slow_seconds"),
        ({"garbage": "pdf"}, "garbage"),
        ({"error_rate": 0.6, "hang_rate": 0.6}, "body"),
    ],
)
def test_behaviour_that_makes_no_sense_changes_nothing(
    moderation: Program, behaviour: Any, field: str
) -> None:
    answer = HTTP.put(f"{moderation.url}/admin/behaviour", json=behaviour)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert HTTP.get(f"{moderation.url}/admin/behaviour").json()["error_rate"] == 0


def test_delays_are_spread_around_their_median(tmp_path: Path) -> None:
    behaviour = {"latency_median_ms": 20, "latency_sigma": 0.6}
    with running(
        "chaos.upstreams.moderation", "--behaviour", json.dumps(behaviour), log=tmp_path / "log"
    ) as program:
        for _ in range(40):
            ask(program, text="tea")
        below = [
            program.metric("lab_upstream_delay_seconds_bucket", le=bound)
            for bound in ("0.01", "0.05", "0.25")
        ]
    assert below[0] < below[1]
    assert below[2] == 40
