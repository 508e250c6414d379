from __future__ import annotations

import pytest

from chaos.engine import baseline
from chaos.engine.heal import NotHealedError, heal, leftovers
from tests.support.world import World


def quiet(_: str) -> None:
    """Say nothing."""


def broken() -> World:
    world = World()
    world.proxies.closed.add("postgres")
    world.proxies.toxics["redis"] = "timeout"
    world.stack.written["api-1"] = {"DCS_DATABASE_PORT": "1"}
    world.stack.states.update({"api-1": "STOPPED", "reporting": "RUNNING"})
    world.database.settings["listen_addresses"] = ""
    world.database.roles["reporting"] = 40
    world.alerts.held.append("a-silence")
    return world


def test_healing_sets_the_baseline_of_everything_a_fault_can_break() -> None:
    well = baseline.take(World().operators)
    world = broken()
    assert baseline.differences(well, baseline.take(world.operators))
    heal(world.operators, quiet, 5.0)
    assert baseline.differences(well, baseline.take(world.operators)) == []


def test_healing_what_is_well_mends_nothing() -> None:
    assert heal(World().operators, quiet, 5.0).mended == []


def test_a_hung_proxy_is_restarted() -> None:
    world = World()
    world.proxies.hangs = True
    assert "restarted" in heal(world.operators, quiet, 5.0).mended


def test_a_step_that_needs_a_later_one_is_tried_again() -> None:
    world = broken()
    world.proxies.heals_refused = 1
    heal(world.operators, quiet, 5.0)
    assert world.proxies.closed == set()


def test_what_cannot_be_healed_is_said_after_all_the_rest_was() -> None:
    world = broken()
    world.stack.will_not_repair = True
    with pytest.raises(NotHealedError, match="processes: postgres does not start"):
        heal(world.operators, quiet, 5.0)
    assert world.proxies.closed == set()
    assert world.alerts.held == []


def test_an_api_that_answers_while_its_database_is_away_is_not_healed() -> None:
    world = World()
    world.proxies.closed.add("postgres")
    world.proxies.heal = list  # type: ignore[method-assign]
    with pytest.raises(NotHealedError, match="the way to the database: refused"):
        heal(world.operators, quiet, 1.0)


def test_leftovers_are_named() -> None:
    found = "; ".join(leftovers(broken().operators))
    for part in ("proxy postgres", "proxy redis", "override of api-1", "reporting is RUNNING", "settings"):
        assert part in found
    assert leftovers(World().operators) == []


def test_a_role_that_connects_anew_is_left_over_and_one_that_left_is_not() -> None:
    world = World()
    before = baseline.take(world.operators)
    world.database.roles = {"reporting": 1}
    (left,) = baseline.differences(before, baseline.take(world.operators))
    assert str(left) == "database roles_connected: expected no connection of reporting, found connected"


def test_a_database_without_this_labs_marker_is_left_alone() -> None:
    world = broken()
    world.database.marker = "another-lab"
    with pytest.raises(NotHealedError, match="does not carry the marker of lab test"):
        heal(world.operators, quiet, 5.0)
    assert world.database.settings == {"listen_addresses": ""}
    assert world.database.roles["reporting"] == 40
