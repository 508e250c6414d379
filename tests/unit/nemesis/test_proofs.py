"""A proof must be true under its fault and false on a healthy path: both, or it proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chaos.engine.nemesis.ports import Exchange
from chaos.engine.nemesis.proofs import PROOFS
from tests.support.nemesis import CUT, HEALTHY, NOTHING, REFUSED

HUNG_UP = replace(NOTHING, error="closed", seconds=0.5)

CASES: Mapping[str, tuple[Mapping[str, int], Exchange]] = {
    "down": ({}, REFUSED),
    "latency": ({"latency": 600, "jitter": 100}, replace(HEALTHY, seconds=0.56, first_byte_seconds=0.55)),
    "bandwidth": ({"rate": 8}, replace(HEALTHY, seconds=0.98, first_byte_seconds=0.2)),
    "slow_close": ({"delay": 1_000}, replace(HEALTHY, close_seconds=1.0)),
    "timeout": ({"timeout": 0}, replace(NOTHING, error="timeout", seconds=4.0)),
    "reset_peer": ({"timeout": 0}, replace(NOTHING, error="reset")),
    "slicer": ({"average_size": 256, "size_variation": 32, "delay": 20_000}, replace(HEALTHY, seconds=0.6)),
    "limit_data": ({"bytes": 1_500}, CUT),
}


@pytest.mark.parametrize("fault", PROOFS)
def test_a_proof_tells_its_fault_from_health(fault: str) -> None:
    attributes, live = CASES[fault]
    assert PROOFS[fault](live, attributes)
    assert not PROOFS[fault](HEALTHY, attributes)


@pytest.mark.parametrize("fault", PROOFS)
def test_a_path_that_is_down_proves_nothing_but_that(fault: str) -> None:
    assert PROOFS[fault](REFUSED, CASES[fault][0]) is (fault == "down")


def test_a_toxic_that_hangs_up_after_its_silence_is_silence() -> None:
    assert PROOFS["timeout"](HUNG_UP, {"timeout": 500})
    assert not PROOFS["timeout"](CUT, {"timeout": 500})
