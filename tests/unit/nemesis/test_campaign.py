from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from chaos.engine.nemesis.campaign import ATTEMPTS_MAX, Campaign, Targets
from chaos.engine.nemesis.schedule import Lane, Step
from chaos.engine.nemesis.table import Cell
from chaos.errors import LabError

SECONDS_MAX = 20.0


def step(fault: str, target: str = "redis", *, required: bool = True) -> Step:
    return Step(Cell(fault, target), "", {}, 0.0, 0.0, required)


@dataclass
class Injector:
    """Injects by noting it. ``refused`` faults fail that many times, or always."""

    refused: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    crash: bool = False

    def inject(self, step: Step) -> None:
        if self.crash:
            raise ZeroDivisionError
        self.at_once[step.cell.target] += 1
        self.most_at_once = max(self.most_at_once, self.at_once[step.cell.target])
        time.sleep(0.001)
        self.at_once[step.cell.target] -= 1
        if self.refused.get(step.cell.fault, 0):
            self.refused[step.cell.fault] -= 1
            raise LabError(f"{step.cell.name} does not show")
        self.done.append(step.cell.name)


def forever(fault: str) -> Iterator[Step]:
    while True:
        yield step(fault, required=False)


def run(injector: Injector, *lanes: Lane, seconds_min: float = 0.0, enough: Sequence[bool] = ()) -> Campaign:
    campaign = Campaign(injector, lanes, threading.Event())
    answers = iter(enough)
    campaign.run(
        seconds_min=seconds_min,
        seconds_max=SECONDS_MAX,
        enough=lambda: next(answers, True),
        watch=lambda: None,
    )
    return campaign


def test_it_ends_when_all_that_is_owed_was_hit() -> None:
    injector = Injector()
    lanes = [Lane("a", [step("x"), step("y")], iter(())), Lane("b", [step("z", "api-1")], iter(()))]
    campaign = run(injector, *lanes)
    assert campaign.log.proven() == {"x:redis", "y:redis", "z:api-1"} == set(injector.done)
    assert campaign.owed == 0


def test_it_goes_on_with_others_until_there_are_jobs_enough() -> None:
    injector = Injector()
    campaign = run(injector, Lane("a", [step("x")], forever("more")), enough=[False])
    assert injector.done[0] == "x:redis"
    assert "more:redis" in injector.done
    assert {injection.required for injection in campaign.log.injections} == {True, False}


def test_what_is_owed_is_tried_again_and_what_never_shows_is_told() -> None:
    campaign = run(Injector({"x": 1, "y": 99}), Lane("a", [step("x"), step("y")], iter(())))
    assert campaign.log.proven() == {"x:redis"}
    whys = [injection.why for injection in campaign.log.injections if injection.cell == "y:redis"]
    assert whys == ["y:redis does not show"] * ATTEMPTS_MAX


def test_one_injection_at_a_time_touches_a_target() -> None:
    injector = Injector()
    lanes = [Lane(name, [step("x") for _ in range(30)], iter(())) for name in "abc"]
    run(injector, *lanes)
    assert injector.most_at_once == 1


def test_an_unexpected_error_of_a_lane_ends_the_campaign() -> None:
    with pytest.raises(ZeroDivisionError):
        run(Injector(crash=True), Lane("a", [step("x")], iter(())))


def test_whatever_watching_raises_ends_the_campaign_after_what_is_in_progress() -> None:
    injector = Injector()
    campaign = Campaign(injector, [Lane("a", [], forever("more"))], threading.Event())

    def watch() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        campaign.run(seconds_min=0, seconds_max=SECONDS_MAX, enough=lambda: False, watch=watch)
    assert campaign.unended() == []


def test_targets_are_taken_in_one_order() -> None:
    targets = Targets()
    taken = threading.Barrier(2)

    def take(names: frozenset[str]) -> None:
        taken.wait(5)
        for _ in range(200):
            with targets.taken(names):
                pass

    threads = [
        threading.Thread(target=take, args=(frozenset(names),))
        for names in (("a", "b", "c"), ("c", "b", "a"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
