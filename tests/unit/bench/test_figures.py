from __future__ import annotations

import pytest

from bench.figures import Ceiling, Floor, Judgement, Spread, percentile
from bench.http.client import Answer, complete
from bench.http.requests import trigger

FLOOR = Floor("speed", "ours", ("slow", "fast"), 0.9)


def rounds(*ours: float) -> dict[str, list[float]]:
    return {"ours": list(ours), "slow": [10.0] * len(ours), "fast": [100.0] * len(ours)}


@pytest.mark.parametrize(("percent", "wanted"), [(50, 2.0), (99, 4.0), (100, 4.0), (1, 1.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, wanted: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == wanted


def test_the_faster_of_the_references_counts() -> None:
    judgement = FLOOR.judge(rounds(95, 95, 95))
    assert judgement.reference == "fast"
    assert judgement.kept
    assert not FLOOR.judge(rounds(89, 89, 89)).kept


def test_rounds_are_compared_with_themselves_and_the_median_decides() -> None:
    disturbed = {"ours": [50.0, 95.0, 96.0], "slow": [1.0] * 3, "fast": [52.0, 100.0, 500.0]}
    judgement = FLOOR.judge(disturbed)
    assert judgement.ratio.median == pytest.approx(0.95)
    assert judgement.kept


def test_what_must_not_grow_is_judged_the_other_way_round() -> None:
    ceiling = Ceiling("memory", "large", "small", 1.3)
    assert ceiling.judge({"large": [129.0], "small": [100.0]}).kept
    judgement = ceiling.judge({"large": [131.0], "small": [100.0]})
    assert not judgement.kept
    assert judgement.text() == "SHORT memory: 1.31 of small, wanted at most 1.3"


def test_a_share_that_is_next_to_nothing_is_told_with_digits_enough() -> None:
    judgement = Judgement("failed", "failed", "all", Spread.of([0.0021, 0.0004]), ratio_max=0.001)
    assert not judgement.kept
    assert "0.0013 (0.0004-0.0021)" in judgement.text()


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(0.8967, "SHORT x: 0.897 of"), (0.9004, "ok    x: 0.90 of"), (0.89996, "SHORT x: 0.89996")],
)
def test_a_ratio_that_is_short_by_a_hair_does_not_look_kept(ratio: float, told: str) -> None:
    assert Judgement("x", "a", "b", Spread.of([ratio]), ratio_min=0.9).text().startswith(told)


def test_a_spread_shows_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).text(0) == "2 (1-3)"
    assert Spread.of([2.0]).text(1) == "2.0"


def test_answers_are_cut_where_they_end() -> None:
    answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
    assert complete(bytearray(answer[:-1])) is None
    assert complete(bytearray(answer + b"HTTP/1.1 500")) == Answer(202, len(answer), last=False)
    closing = answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    assert complete(bytearray(closing)) == Answer(202, len(closing), last=True)
    with pytest.raises(ValueError, match="without a length"):
        complete(bytearray(b"HTTP/1.1 200 OK\r\n\r\n"))


def test_requests_say_how_long_they_are() -> None:
    head, _, body = trigger({"X-Api-Key": "k"}).partition("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head
    assert "X-Api-Key: k" in head
