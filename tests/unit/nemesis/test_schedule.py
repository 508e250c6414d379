from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.domain.topology import DIRECT_PORTS, SERVICE_PROXIES
from chaos.engine.nemesis.proofs import MISHAP_PROOFS, PROOFS
from chaos.engine.nemesis.schedule import SEEDS_FOR_ALL, owed, plan
from chaos.engine.nemesis.table import DOWN, KILL, MISHAPS, PAUSE, TOXICS, Cell, not_possible, table
from chaos.errors import UsageError

LEASE_SECONDS = 5.0
CELLS = table(list(SERVICE_PROXIES), list(DIRECT_PORTS))
TOXIPROXY_KNOWS = {"latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"}
SEEDS = st.integers(min_value=0, max_value=2**31 - 1 - SEEDS_FOR_ALL)


def test_the_table_has_every_toxic_and_down_on_every_path_of_the_service() -> None:
    wanted = {Cell(fault, path) for fault in (DOWN, *TOXIPROXY_KNOWS) for path in SERVICE_PROXIES}
    assert wanted <= set(CELLS)
    assert set(TOXICS) == TOXIPROXY_KNOWS
    assert len(set(CELLS)) == len(CELLS)


def test_the_table_kills_and_pauses_whatever_the_issue_names() -> None:
    names = {cell.name for cell in CELLS}
    assert {
        f"kill:{name}" for name in ("worker-1", "worker-2", "api-1", "api-2", "redis", "postgres")
    } <= names
    assert {"pause:worker-1", "pause:worker-2", "flushall:redis", "rolling-restart:service"} <= names
    assert {"kill:seaweedfs", "pause:seaweedfs", "kill:s3-events"} <= names
    assert {f"events-{how}:s3-events" for how in ("duplicated", "reordered", "lost")} <= names


def test_what_is_not_possible_does_not_name_what_the_table_has() -> None:
    assert "duplicate S3 events" not in {one.fault for one in not_possible(list(SERVICE_PROXIES))}
    assert "duplicate S3 events" in {one.fault for one in not_possible(["postgres"])}


def test_every_fault_of_a_path_has_a_proof() -> None:
    assert set(PROOFS) == {cell.fault for cell in CELLS if cell.is_network}
    assert set(MISHAP_PROOFS) == set(MISHAPS)


@given(SEEDS)
@settings(deadline=None, max_examples=50)
def test_any_three_seeds_in_a_row_owe_every_cell_once(seed: int) -> None:
    thirds = [owed(CELLS, seed + offset) for offset in range(SEEDS_FOR_ALL)]
    assert set(itertools.chain(*thirds)) == set(CELLS)
    assert sum(len(third) for third in thirds) == len(CELLS)
    assert max(map(len, thirds)) - min(map(len, thirds)) <= 1


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_what_a_seed_owes_is_in_its_lanes_and_in_no_other_order_the_next_time(seed: int) -> None:
    lanes, again = plan(CELLS, seed, LEASE_SECONDS), plan(CELLS, seed, LEASE_SECONDS)
    required = [step for lane in lanes for step in lane.required]
    assert {step.cell for step in required} == set(owed(CELLS, seed))
    assert required == [step for lane in again for step in lane.required]
    more = [list(itertools.islice(lane.more, 5)) for lane in lanes]
    assert more == [list(itertools.islice(lane.more, 5)) for lane in again]
    assert all(step.cell.is_network == (lane.name == "paths") for lane in lanes for step in lane.required)


def test_seeds_differ() -> None:
    first, second = (plan(CELLS, seed, LEASE_SECONDS)[0].required for seed in (1, 1 + SEEDS_FOR_ALL))
    assert {step.cell for step in first} == {step.cell for step in second}
    assert [step.cell for step in first] != [step.cell for step in second]


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_a_paused_worker_sleeps_past_its_lease_and_every_toxic_is_one_that_toxiproxy_takes(seed: int) -> None:
    for lane in plan(CELLS, seed, LEASE_SECONDS):
        for step in [*lane.required, *itertools.islice(lane.more, 20)]:
            assert step.stream in (step.cell.streams() if step.cell.is_network else ("",))
            assert all(value >= 0 for value in step.attributes.values())
            if step.cell.fault == PAUSE and step.cell.target.startswith("worker"):
                assert step.hold_seconds > LEASE_SECONDS
            if step.cell.fault == KILL:
                assert step.hold_seconds == 0
            if step.cell.fault == "slicer":
                assert step.attributes["size_variation"] < step.attributes["average_size"]


def test_both_databases_paths_lead_to_one_target_and_a_rolling_restart_takes_the_whole_service() -> None:
    steps = {
        step.cell.name: step
        for seed in range(SEEDS_FOR_ALL)
        for lane in plan(CELLS, seed, LEASE_SECONDS)
        for step in lane.required
    }
    assert steps["latency:client-postgres"].uses == steps["kill:postgres"].uses == {"postgres"}
    assert steps["latency:s3"].uses == steps["kill:seaweedfs"].uses == {"seaweedfs"}
    assert steps["events-lost:s3-events"].uses == {"s3-events", "seaweedfs"}
    assert steps["rolling-restart:service"].uses == {"api-1", "api-2", "worker-1", "worker-2"}


def test_one_cell_alone() -> None:
    lanes = plan(CELLS, 1, LEASE_SECONDS, ["kill:redis"])
    assert [step.cell.name for lane in lanes for step in lane.required] == ["kill:redis"]
    assert next(lanes[0].more, None) is None
    with pytest.raises(UsageError, match=r"no cell kill:nobody; there are .*kill:redis"):
        plan(CELLS, 1, LEASE_SECONDS, ["kill:nobody"])
