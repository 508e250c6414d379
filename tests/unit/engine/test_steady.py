from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.domain.scenario import MetricSignal, QuietSignal, SteadyState
from chaos.errors import StackError
from chaos.ports import ActiveAlert, Sample
from chaos.signals import steady
from tests.support.fakes import START_UNIX
from tests.support.world import World, notification

SIGNALS: tuple[SteadyState, ...] = (
    QuietSignal(signal="alerts", firing=0, ignore=("Watchdog",)),
    MetricSignal(signal="metric", expr="own_signal == 1"),
)
FIRED = "2027-01-15T08:00:00Z"
RATE = 20.0


def well() -> World:
    world = World()
    world.metrics.answers = {
        "dcs_http_requests_total": [Sample({}, RATE, START_UNIX)],
        "own_signal": [Sample({"a": "b"}, 1.0, START_UNIX)],
    }
    world.pager.kept.append(notification(1, "Watchdog", receiver="deadman", received=0.5, starts=FIRED))
    return world


def wait(world: World) -> None:
    steady.wait(
        SIGNALS,
        world.operators,
        traffic_per_second=RATE,
        watchdog_since_unix=START_UNIX,
        seconds_max=5.0,
        hold_seconds=1.0,
    )


def test_a_stack_that_is_well_is_steady_once_it_has_held() -> None:
    world = well()
    wait(world)
    assert world.clock.now() - START_UNIX >= 1.0


def firing(world: World) -> None:
    world.metrics.alerts = [ActiveAlert("RedisDown", "firing", {}, START_UNIX)]


def held_at_alertmanager(world: World) -> None:
    world.alerts.labels = [{"alertname": "RedisDown"}]


def silenced(world: World) -> None:
    world.alerts.held = ["abc"]


def cut_off(world: World) -> None:
    world.metrics.connected = 0


def unscraped(world: World) -> None:
    world.metrics.down = ["api/api-1"]


def undelivered(world: World) -> None:
    world.pager.kept.clear()


def without_traffic(world: World) -> None:
    world.metrics.answers["dcs_http_requests_total"] = [Sample({}, 1.0, START_UNIX)]


def bypassing(world: World) -> None:
    world.proxies.bypassed = True


def unmet(world: World) -> None:
    del world.metrics.answers["own_signal"]


def toxic(world: World) -> None:
    world.proxies.toxics["redis"] = "timeout"


def toxic_to_the_monitoring(world: World) -> None:
    world.monitoring.closed.add("pager")


def without_loki(world: World) -> None:
    world.logs.gone = True


def crashing(world: World) -> None:
    world.stack.states["api-1"] = "BACKOFF"


def asleep(world: World) -> None:
    world.stack.details["api-1"] = "stopped by a signal"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (firing, "alert RedisDown is firing"),
        (held_at_alertmanager, "alert RedisDown is firing"),
        (silenced, "silence abc is active"),
        (cut_off, "connected to no alertmanager"),
        (unscraped, "target api/api-1 is not scraped"),
        (undelivered, "no Watchdog has arrived"),
        (without_traffic, "traffic flows at 1.0 requests/s where 20 are due"),
        (bypassing, "nothing goes through proxy postgres"),
        (unmet, "own_signal == 1 does not hold"),
        (toxic, "proxy redis"),
        (toxic_to_the_monitoring, "proxy pager"),
        (without_loki, "loki does not answer"),
        (crashing, "api-1 is BACKOFF"),
        (asleep, "api-1 is stopped by a signal"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[World], None], told: str) -> None:
    world = well()
    spoil(world)
    with pytest.raises(StackError, match="the steady state was not reached within 5 s") as caught:
        wait(world)
    assert told in str(caught.value)


def test_a_program_that_is_stopped_for_good_is_not_waited_for() -> None:
    world = well()
    world.stack.states["api-1"] = "STOPPED"
    with pytest.raises(StackError, match="api-1 does not run, so nothing can be judged"):
        wait(world)
    assert world.clock.now() == START_UNIX


def test_a_signal_must_hold_as_long_as_it_says() -> None:
    world = well()
    signals = (
        *SIGNALS,
        MetricSignal.model_validate({"signal": "metric", "expr": "own_signal == 1", "for": "3s"}),
    )
    steady.wait(
        signals,
        world.operators,
        traffic_per_second=RATE,
        watchdog_since_unix=START_UNIX,
        seconds_max=5.0,
        hold_seconds=1.0,
    )
    assert world.clock.now() - START_UNIX >= 3.0
