from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.domain.scenario import AlertSignal, Contract, LogSignal, MetricSignal, Variant
from chaos.domain.verdict import Verdict
from chaos.engine.judge import Judge
from chaos.engine.load import find, load
from chaos.engine.plan import LEGS, AlertPlan, LegBudget
from chaos.engine.timeline import Timeline
from chaos.errors import AdapterError
from chaos.ports import ActiveAlert, Sample
from chaos.signals.truth import Ranges
from tests.support.fakes import START_UNIX
from tests.support.world import World, notification

ALERT = "PostgresUnreachable"
PLAN = AlertPlan(
    name=ALERT,
    receiver="pager",
    severity="critical",
    floor_seconds=5.0,
    ceiling_seconds=9.0,
    resolve_ceiling_seconds=9.0,
    group_wait_seconds=0.3,
    legs=tuple(LegBudget(name, 5.0 if name == "for" else 0.0, 5.0) for name in LEGS),
    selectors=("x",),
    within_seconds=9.0,
    group_by=("service", "alertname"),
)
EXPECT = (AlertSignal(signal="alert", name=ALERT, severity="critical", receiver="pager"),)
# The clock starts at 2027-01-15T08:00:00Z; the fault is live at once, the alert fires 6 s later.
FIRED = "2027-01-15T08:00:06.000000000Z"
BEFORE = "2027-01-15T07:59:30Z"


def judge(world: World, plan: AlertPlan = PLAN) -> Judge:
    timeline = Timeline(world.clock, lambda _: None)
    ranges = Ranges(START_UNIX, START_UNIX)
    return Judge(world.operators, timeline, {ALERT: plan}, START_UNIX, ranges)


def told_at(world: World, seconds: float, **kwargs: object) -> None:
    item = notification(1, ALERT, received=seconds, starts=FIRED, **kwargs)  # type: ignore[arg-type]
    world.clock.at(seconds, lambda: world.pager.kept.append(item))


def test_an_alert_in_time_at_the_right_receiver_passes_and_its_legs_add_up() -> None:
    world = World()
    world.metrics.series = [[(START_UNIX - 1, 0.0), (START_UNIX + 0.4, 3.0)]]
    told_at(world, 6.5)
    judged = judge(world)
    (check,) = judged.expectations(EXPECT)
    assert check.verdict is Verdict.PASS, check
    (detection,) = judged.detections
    assert detection.total_seconds == pytest.approx(6.5)
    legs = {leg.name: leg.measured_seconds for leg in detection.legs}
    assert legs["scrape"] == pytest.approx(0.4)
    assert legs["for"] == pytest.approx(5.0)
    assert legs["group_wait"] == pytest.approx(0.3)
    assert sum(legs.values()) == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("seconds", "changed", "told"),
    [
        (9.5, {}, "late: 9.5 s where 9.0 s is the limit"),
        (6.5, {"severity": "warning"}, "severity is warning, not critical"),
        (6.5, {"runbook": "file:///docs/runbooks/Other.md"}, "no runbook link"),
        (6.5, {"runbook": ""}, "no runbook link"),
        (6.5, {"grouped": ("service",)}, "grouped by"),
        (6.5, {"receiver": "tickets"}, "it reached tickets instead"),
    ],
)
def test_what_fails_an_alert(seconds: float, changed: dict[str, object], told: str) -> None:
    world = World()
    told_at(world, seconds, **changed)
    (check,) = judge(world).expectations(EXPECT)
    assert check.verdict is Verdict.FAIL
    assert told in check.detail


def test_an_alert_that_was_already_firing_is_no_evidence() -> None:
    world = World()
    world.pager.kept.append(notification(1, ALERT, received=2.0, starts=BEFORE))
    (check,) = judge(world).expectations(EXPECT)
    assert check.verdict is Verdict.FAIL
    assert "did not even become pending" in check.detail


def test_an_alert_that_stays_pending_is_said_to_be_pending() -> None:
    world = World()
    world.metrics.alerts = [ActiveAlert(ALERT, "pending", {}, START_UNIX)]
    (check,) = judge(world).expectations(EXPECT)
    assert "is pending" in check.detail


def test_each_expectation_has_its_own_deadline() -> None:
    world = World()
    told_at(world, 6.5)
    world.logs.written["late_line"] = 5.0
    checks = judge(world).expectations(
        (*EXPECT, LogSignal(signal="log", query='{a="b"} |= "late_line"', within="2s"))
    )
    assert [check.verdict for check in checks] == [Verdict.PASS, Verdict.FAIL]


def test_loki_gone_is_an_error_never_a_fail() -> None:
    world = World()
    world.logs.gone = True
    log = LogSignal(signal="log", query='{a="b"}', within="2s")
    with pytest.raises(AdapterError):
        judge(world).expectations((log,))


def variants() -> tuple[Variant, Variant]:
    scenario = load(find("3")).scenario
    one, two = scenario.variants[0], scenario.variants[1]
    return (
        replace_evidence(one, "own_series"),
        replace_evidence(two, "other_series"),
    )


def replace_evidence(variant: Variant, expr: str) -> Variant:
    return variant.model_copy(update={"evidence": (MetricSignal(signal="metric", expr=expr),)})


@pytest.mark.parametrize(
    ("true", "verdicts"),
    [
        ({"own_series"}, [Verdict.PASS, Verdict.PASS]),
        ({"own_series", "other_series"}, [Verdict.PASS, Verdict.FAIL]),
        (set(), [Verdict.FAIL, Verdict.PASS]),
    ],
)
def test_evidence_must_be_true_of_its_own_variant_only(true: set[str], verdicts: list[Verdict]) -> None:
    world = World()
    world.metrics.answers = {name: [Sample({"a": "b"}, 1.0, START_UNIX)] for name in true}
    own, other = variants()
    checks, row = judge(world).evidence(own, (own, other))
    assert [check.verdict for check in checks] == verdicts
    assert row == {own.id: "own_series" in true, other.id: "other_series" in true}


def test_a_forbidden_alert_fails() -> None:
    world = World()
    world.pager.kept.append(notification(1, "ApiDown", received=3.0, starts=FIRED))
    contract = Contract(expect=EXPECT, forbid=("ApiDown", "RedisDown"))
    checks = judge(world).forbidden(contract)
    assert {check.name: check.verdict for check in checks} == {
        "alert ApiDown stays silent": Verdict.FAIL,
        "alert RedisDown stays silent": Verdict.PASS,
        "no other notification": Verdict.PASS,
    }


def test_a_notification_nobody_named_fails() -> None:
    world = World()
    world.pager.kept.append(notification(1, "DiskFull", receiver="tickets", received=3.0, starts=FIRED))
    (check,) = judge(world).forbidden(Contract(expect=EXPECT))
    assert check.verdict is Verdict.FAIL
    assert check.detail == "DiskFull"


def test_an_allowed_notification_passes() -> None:
    world = World()
    world.pager.kept.append(notification(1, "ApiErrorBudgetBurn", received=3.0, starts=FIRED))
    contract = Contract(expect=EXPECT, allow=("ApiErrorBudgetBurn",))
    (check,) = judge(world).forbidden(contract)
    assert check.verdict is Verdict.PASS


def test_a_plan_may_set_a_tighter_deadline() -> None:
    world = World()
    told_at(world, 6.5)
    (check,) = judge(world, replace(PLAN, within_seconds=6.0)).expectations(EXPECT)
    assert check.verdict is Verdict.FAIL
