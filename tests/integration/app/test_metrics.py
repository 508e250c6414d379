"""What a process that has just started exposes: rates are computed from its first sample on."""

from __future__ import annotations

import re

import pytest

from tests.support.service import Start

BY_CLIENT = {"dcs_client_requests", "dcs_client_jobs"}
"""They begin with the first request of each client."""
BY_ROUTE = {"dcs_http_requests", "dcs_http_request_duration_seconds"}
"""A worker has no routes."""
BY_DEPRECATED_ROUTE = {"dcs_deprecated_requests"}
"""There is none now."""


def families_without_samples(text: str) -> set[str]:
    """Return the counters and histograms that have no sample at all."""
    declared = set(re.findall(r"^# TYPE (dcs_\w+) (?:counter|histogram)$", text, re.MULTILINE))
    sampled = set(re.findall(r"^(dcs_\w+?)(?:_bucket)?(?:\{| )", text, re.MULTILINE))
    return {name.removesuffix("_total") for name in declared - sampled}


@pytest.mark.parametrize(
    ("module", "later"),
    [
        ("app.main", BY_CLIENT | BY_DEPRECATED_ROUTE),
        ("app.worker", BY_CLIENT | BY_DEPRECATED_ROUTE | BY_ROUTE),
    ],
)
def test_every_counter_and_histogram_is_there_before_anything_has_happened(
    start: Start, module: str, later: set[str]
) -> None:
    text = start(module).get("/metrics", client=None).text
    assert len(re.findall("^# TYPE dcs_", text, re.MULTILINE)) > 20
    assert families_without_samples(text) <= later
