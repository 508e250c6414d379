"""Clients as label values."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from app.telemetry import clients, metrics


@pytest.fixture(autouse=True)
def nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_known", set())
    metrics.initialise("", host="", port=0, database="")


def requests(client: str, outcome: str) -> float | None:
    return REGISTRY.get_sample_value("dcs_client_requests_total", {"client": client, "outcome": outcome})


def test_the_first_fifty_have_their_own_label_and_the_rest_share_one() -> None:
    labels = [clients.client_label(f"bounded-{number}") for number in range(200)]
    assert labels[:50] == [f"bounded-{number}" for number in range(50)]
    assert set(labels[50:]) == {"other"}
    assert clients.client_label("bounded-0") == "bounded-0"
    assert requests("bounded-50", "ok") is None


def test_a_client_that_is_known_starts_at_zero_for_every_outcome() -> None:
    clients.client_label("fresh")
    assert [requests("fresh", outcome) for outcome in ("ok", "refused", "limited", "failed")] == [0] * 4


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (202, "ok"),
        (304, "ok"),
        (404, "refused"),
        (422, "refused"),
        (429, "limited"),
        (503, "failed"),
    ],
)
def test_answers_are_counted_by_what_they_mean(status: int, outcome: str) -> None:
    before = requests("counted", outcome) or 0
    clients.count_request("counted", status)
    assert requests("counted", outcome) == before + 1
