from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.load.saturation import Use, used_up

CALM = Use(
    cores={"nginx": 0.1, "APIs": 0.5, "workers": 0.2, "PostgreSQL": 0.3, "client": 0.1},
    machine_cores=8,
    machine_busy=0.2,
    api_processes=2,
    pool_in_use=0.2,
    pool_wait_ms=0.1,
    postgres_waiting=0.1,
)


def test_nothing_is_used_up_while_there_is_room() -> None:
    assert used_up(CALM) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cores": {**CALM.cores, "APIs": 1.85}}, "the API processes"),
        ({"cores": {**CALM.cores, "nginx": 0.95}}, "nginx"),
        ({"machine_busy": 0.97}, "the machine's 8 cores"),
        ({"pool_in_use": 0.95, "pool_wait_ms": 12.0}, "the connection pools: requests wait 12.0 ms"),
        ({"postgres_waiting": 3.0}, "PostgreSQL: 3.0 connections wait"),
    ],
)
def test_what_is_used_up_is_told(changes: dict[str, Any], told: str) -> None:
    [found] = used_up(dataclasses.replace(CALM, **changes))
    assert found.startswith(told)


def test_of_a_busy_machine_it_is_told_by_whom() -> None:
    cores = {"nginx": 0.05, "APIs": 1.0, "workers": 0.0, "PostgreSQL": 0.5, "client": 0.0}
    [found] = used_up(dataclasses.replace(CALM, cores=cores, machine_cores=2, machine_busy=1.0))
    assert found == "the machine's 2 cores (APIs 50%, PostgreSQL 25%, others 22%)"
