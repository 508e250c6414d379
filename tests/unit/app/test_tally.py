from __future__ import annotations

from app.telemetry import tally
from app.telemetry.tally import Tally


def test_what_was_counted_is_told_once_when_somebody_looks() -> None:
    told: list[tuple[tuple[str, int], int]] = []
    answered: Tally[tuple[str, int]] = Tally(lambda thing, number: told.append((thing, number)))
    for _ in range(3):
        answered.add(("/a", 200))
    answered.add(("/a", 500))
    assert told == []
    tally.settle()
    tally.settle()
    assert told == [(("/a", 200), 3), (("/a", 500), 1)]
    answered.add(("/a", 500))
    tally.settle()
    assert told[2:] == [(("/a", 500), 1)]
