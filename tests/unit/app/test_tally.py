from __future__ import annotations

from bisect import bisect_left

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from app.telemetry import tally
from app.telemetry.metrics import REQUEST_BUCKETS
from app.telemetry.tally import TalliedHistogram, Tally


def test_what_was_counted_is_told_once_when_somebody_looks() -> None:
    told: list[tuple[tuple[str, int], int, float]] = []
    answered: Tally[tuple[str, int]] = Tally(lambda thing, number, total: told.append((thing, number, total)))
    for seconds in (0.25, 0.5, 0.0):
        answered.add(("/a", 200), seconds)
    answered.add(("/a", 500))
    assert told == []
    tally.settle()
    tally.settle()
    assert told == [(("/a", 200), 3, 0.75), (("/a", 500), 1, 0.0)]
    answered.add(("/a", 500))
    tally.settle()
    assert told[2:] == [(("/a", 500), 1, 0.0)]


def test_a_histogram_that_was_tallied_says_what_one_that_observed_says() -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    observed = Histogram("d", "D.", ["route"], buckets=REQUEST_BUCKETS, registry=registries[0])
    tallied = TalliedHistogram("d", "D.", ["route"], buckets=REQUEST_BUCKETS, registry=registries[1])
    counts: Tally[int] = Tally(tallied.labels("/a").add)
    for seconds in (0.0, 0.005, 0.0051, 0.25, 0.25, 9.0, 10.0, 11.0):
        observed.labels("/a").observe(seconds)
        counts.add(bisect_left(REQUEST_BUCKETS, seconds), seconds)
    counts.settle()
    assert generate_latest(registries[1]) == generate_latest(registries[0])
