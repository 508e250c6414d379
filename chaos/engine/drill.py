"""Run one variant end to end: steady state, fault, judgement, remedy, recovery, baseline."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.domain.journal import Phase
from chaos.domain.run import Check, Detection, Recovered, VariantResult
from chaos.domain.scenario import AlertSignal, Contract, ResolvedSignal, Scenario, SteadySignal, Variant
from chaos.domain.verdict import Verdict
from chaos.domain.waiting import (
    POLL_SECONDS,
    RECOVER_SECONDS_MAX,
    STEADY_STATE_SECONDS_MAX,
)
from chaos.engine import baseline
from chaos.engine.heal import require_own_database
from chaos.engine.judge import LATE_SECONDS_MAX, Judge
from chaos.engine.plan import AlertPlan, Plans
from chaos.engine.prober import Prober
from chaos.engine.timeline import Timeline
from chaos.errors import LabError
from chaos.faults.kinds import injector
from chaos.faults.remedies import apply_remedy
from chaos.ports import Guardian, Journal, Operators
from chaos.signals import steady
from chaos.signals.truth import Ranges

STEADY_HOLD_SECONDS = 2.0
BASELINE_SECONDS_MAX = 15.0
_BASELINE_RANGE_SECONDS = 10.0

Planning = Callable[[Contract, Variant], Plans]


@dataclass(frozen=True)
class Injected:
    """A live fault: when the path first failed, and where the ranges of evidence begin."""

    fault_unix: float
    reason: str
    ranges: Ranges


@dataclass
class _Findings:
    checks: list[Check] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)
    recoveries: list[Recovered] = field(default_factory=list)
    evidence_row: dict[str, bool] = field(default_factory=dict)
    baseline_row: dict[str, bool] = field(default_factory=dict)
    notifications: tuple[Mapping[str, Any], ...] = ()
    fault_unix: float | None = None
    remedy_started_unix: float = 0.0
    remedy_unix: float | None = None


class Drill:
    """One variant of one scenario, on a stack that runs."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        variant: Variant,
        seed: int,
        run_id: str,
        operators: Operators,
        journal: Journal,
        guardian: Guardian,
        planner: Planning,
        timeline: Timeline,
    ) -> None:
        self._scenario = scenario
        self._variant = variant
        self._seed = seed
        self._run_id = run_id
        self._ops = operators
        self._journal = journal
        self._guardian = guardian
        self._planner = planner
        self._timeline = timeline
        self._started = operators.clock.now()
        self._found = _Findings()
        self.quiet = False  # whoever practises must find out for themselves

    # ---- the whole ---------------------------------------------------------------------------

    def run(self) -> VariantResult:
        """Break, judge and mend; return what was found. An error of the lab becomes the result's."""
        error: str | None = None
        try:
            self._judge_all()
        except LabError as failure:
            error = str(failure)
            self._timeline.add("verdict", f"the lab could not judge: {error}")
        return self._result(error)

    def _judge_all(self) -> None:
        contract = self._scenario.contract(self._variant)
        self.reach_steady_state()
        plans = self._planner(contract, self._variant)
        undefined = [plan.name for plan in plans.expected.values() if not plan.defined]
        if undefined:
            self._found.checks += [
                Check(
                    "expect", f"alert {name} is defined", Verdict.FAIL, "the deployed rules do not define it"
                )
                for name in undefined
            ]
            self._timeline.add("verdict", f"not defined by the deployed rules: {', '.join(undefined)}")
            return
        before = baseline.take(self._ops)
        self._evidence_at_baseline()
        injected = self.inject()
        judge = Judge(self._ops, self._timeline, plans.expected, injected.fault_unix, injected.ranges)
        self._phase(Phase.JUDGING, "judge")
        self._found.checks += judge.expectations(contract.expect)
        self._found.detections = judge.detections
        checks, self._found.evidence_row = judge.evidence(self._variant, self._scenario.variants)
        self._found.checks += checks
        judge.watch_until(injected.fault_unix + plans.silence_seconds)
        self.remedy()
        self._recover(contract, plans.expected, judge)
        self._found.checks += judge.forbidden(contract)
        self._found.notifications = judge.notifications()
        self._compare(before)

    # ---- the steps ---------------------------------------------------------------------------

    def _phase(self, phase: Phase, act: str, **detail: Any) -> None:
        self._guardian.beat()
        self._journal.write(phase, act, **detail)

    def reach_steady_state(self) -> None:
        """Wait until nothing is wrong, or raise naming what is."""
        self._phase(Phase.STEADY, "wait for the steady state")
        since = self._ops.clock.now() - _BASELINE_RANGE_SECONDS
        self._wait_steady(STEADY_STATE_SECONDS_MAX, since)
        waited = self._ops.clock.now() - self._started
        self._found.checks.append(Check("steady", "steady state", Verdict.PASS, "reached", waited))
        self._timeline.add("steady", "steady state: all is well, traffic flows, Watchdog arrives")

    def _wait_steady(self, seconds_max: float, watchdog_since_unix: float) -> None:
        steady.wait(
            self._scenario.steady_state,
            self._ops,
            traffic_per_second=self._scenario.traffic.rate_per_second,
            watchdog_since_unix=watchdog_since_unix,
            seconds_max=seconds_max,
            hold_seconds=STEADY_HOLD_SECONDS,
        )

    def _evidence_at_baseline(self) -> None:
        since = self._ops.clock.now() - _BASELINE_RANGE_SECONDS
        row = Judge(self._ops, self._timeline, {}, since, Ranges(since, since)).row(self._scenario.variants)
        self._found.baseline_row = row
        self._found.checks += [
            Check(
                "evidence",
                f"evidence of {name} is false at the baseline",
                Verdict.FAIL if true else Verdict.PASS,
                "it is true: it proves nothing" if true else "it is false",
            )
            for name, true in row.items()
        ]

    def inject(self) -> Injected:
        """Break it and prove, through the data path, that it is broken."""
        require_own_database(self._ops)
        deployed = self._ops.stack.deployed_timing()
        # Scrapes and evaluations sit at constant offsets: a random start makes trials independent.
        delay = random.Random(f"{self._seed}:{self._variant.id}").uniform(0, max(deployed))  # noqa: S311
        self._ops.clock.sleep(delay)
        act = self._ops.clock.now()
        with Prober(self._ops.data_path, self._ops.clock) as prober:
            for fault in self._variant.faults:
                ready = injector(fault)
                self._phase(Phase.INJECTING, ready.describe(), fault=fault.model_dump())
                ready.inject(self._ops)
            failure = prober.wait_live(act, self._variant.reasons, intermittent=self._variant.intermittent)
        self._found.fault_unix = failure.at_unix
        if not self.quiet:
            text = f"the fault is live: a client is told {failure.reason}"
            self._timeline.add("fault", text, failure.at_unix)
        return Injected(failure.at_unix, failure.reason, Ranges(self._ops.clock.now(), act))

    def remedy(self) -> None:
        """Do what an operator would do about this cause."""
        self._found.remedy_started_unix = self._ops.clock.now()
        for text in self._variant.remedy:
            self._phase(Phase.REMEDYING, text)
            self._timeline.add("remedy", text)
            apply_remedy(text, self._ops)
        self._found.remedy_unix = self._ops.clock.now()

    def _recover(self, contract: Contract, plans: Mapping[str, AlertPlan], judge: Judge) -> None:
        self._phase(Phase.RECOVERING, "wait for recovery")
        since = self._found.remedy_unix or self._ops.clock.now()
        for item in self._scenario.recover:
            if isinstance(item, ResolvedSignal):
                names = [e.name for e in contract.expect if isinstance(e, AlertSignal)]
                self._found.checks += [self._resolved(plans[name], item, since, judge) for name in names]
            elif isinstance(item, SteadySignal):
                started = self._ops.clock.now()
                self._wait_steady(min(item.within, RECOVER_SECONDS_MAX), since)
                waited = self._ops.clock.now() - started
                self._timeline.add("resolved", "the steady state is back")
                self._found.checks.append(
                    Check("recover", "steady state again", Verdict.PASS, "reached", waited, item.within)
                )

    def _resolved(self, plan: AlertPlan, item: ResolvedSignal, since_unix: float, judge: Judge) -> Check:
        limit = plan.resolve_ceiling_seconds if item.within is None else item.within
        name = f"alert {plan.name} resolves at {plan.receiver}"
        if all(detection.alert != plan.name for detection in self._found.detections):
            return Check("recover", name, Verdict.FAIL, "it never arrived, so it cannot resolve", None, limit)
        while True:
            arrived = judge.resolved_unix(plan, self._found.remedy_started_unix)
            if arrived is not None:
                seconds = max(0.0, arrived - since_unix)
                self._timeline.add("resolved", f"{plan.receiver}: {plan.name} resolved", arrived)
                self._found.recoveries.append(Recovered(plan.name, seconds, plan.resolve_ceiling_seconds))
                verdict = Verdict.PASS if seconds <= limit else Verdict.FAIL
                return Check("recover", name, verdict, f"after {seconds:.1f} s", seconds, limit)
            if self._ops.clock.now() - since_unix > limit + LATE_SECONDS_MAX:
                return Check("recover", name, Verdict.FAIL, "no resolved notification", None, limit)
            self._ops.clock.sleep(POLL_SECONDS)

    def _compare(self, before: Mapping[str, Any]) -> None:
        left = baseline.wait_equal(before, self._ops, BASELINE_SECONDS_MAX)
        verdict = Verdict.ERROR if left else Verdict.PASS
        detail = "; ".join(map(str, left)) or "nothing differs from the baseline"
        self._found.checks.append(Check("baseline", "nothing is left over", verdict, detail))
        self._timeline.add("baseline", detail)

    def _result(self, error: str | None) -> VariantResult:
        return VariantResult(
            variant=self._variant.id,
            title=self._variant.title,
            cause=self._variant.cause,
            run_id=self._run_id,
            started_unix=self._started,
            fault_unix=self._found.fault_unix,
            remedy_unix=self._found.remedy_unix,
            ended_unix=self._ops.clock.now(),
            timeline=self._timeline.events(),
            checks=tuple(self._found.checks),
            detections=tuple(self._found.detections),
            recoveries=tuple(self._found.recoveries),
            evidence_row=self._found.evidence_row,
            baseline_row=self._found.baseline_row,
            notifications=self._found.notifications,
            error=error,
        )


def run_id(started_unix: float, scenario: str) -> str:
    """Return an id that sorts by time and names the scenario, and tells nothing of the cause."""
    stamp = f"{started_unix:.3f}".replace(".", "")
    return f"{stamp}-{scenario[:2]}-{secrets.token_hex(2)}"
