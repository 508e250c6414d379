"""Compute, from the deployed configuration, what each expected alert promises."""

from __future__ import annotations

import contextlib

from chaos.domain import promql
from chaos.domain.routes import RouteTree, parse_routes
from chaos.domain.scenario import AlertSignal, Contract, Scenario, Variant
from chaos.domain.timing import Budget, FaultProfile, alert_route, detection_budget, resolve_budget
from chaos.domain.watching import (
    PrometheusTiming,
    RuleFile,
    UndefinedAlertError,
    find_alert,
    parse_prometheus,
    parse_rules,
)
from chaos.engine.plan import LEGS, AlertPlan, LegBudget, Plans
from chaos.faults.kinds import injector
from chaos.ports import Operators

SILENCE_SECONDS_MAX = 20.0
_PROCESSES = 4  # two APIs and two workers try the database, each once per probe interval


class Planner:
    """Reads the deployed texts once; plans for as many variants as asked."""

    def __init__(self, scenario: Scenario, operators: Operators) -> None:
        texts = operators.stack.deployed()
        self._scenario = scenario
        self._operators = operators
        self._rules: list[RuleFile] = [parse_rules(name, text) for name, text in texts.rules.items()]
        self._routes: RouteTree = parse_routes(texts.alertmanager)
        self._timing: PrometheusTiming = parse_prometheus(texts.prometheus)

    def __call__(self, contract: Contract, variant: Variant) -> Plans:
        """Return the plan of each expected alert, and how long the forbidden ones are to be watched."""
        loaded = self._operators.metrics.alert_names()
        expected = [item for item in contract.expect if isinstance(item, AlertSignal)]
        plans = {item.name: self._plan(item, variant, defined=item.name in loaded) for item in expected}
        return Plans(plans, self._silence_seconds(contract, variant))

    def _silence_seconds(self, contract: Contract, variant: Variant) -> float:
        ceilings = [0.0]
        for name in contract.forbid:
            with contextlib.suppress(UndefinedAlertError):  # what no rule defines cannot fire
                budget = detection_budget(
                    name,
                    rules=self._rules,
                    routes=self._routes,
                    prometheus=self._timing,
                    fault=self.profile(variant),
                )
                ceilings.append(budget.ceiling_seconds)
        return min(max(ceilings), SILENCE_SECONDS_MAX)

    def profile(self, variant: Variant, *, traffic: bool = False) -> FaultProfile:
        """Return how a variant shows: how often per second, and how long a client waits for it.

        Without traffic only the probes meet it, which makes the ceiling; with it every request
        does as well, which makes the floor.
        """
        settings = self._operators.stack.service_settings()
        hang = any(injector(fault).hangs for fault in variant.faults)
        probe_seconds = float(settings["DCS_PROBE_INTERVAL_SECONDS"])
        deadline_seconds = max(
            float(settings["DCS_DATABASE_CONNECT_TIMEOUT_SECONDS"]),
            float(settings["DCS_DATABASE_QUERY_DEADLINE_SECONDS"]),
        )
        probes_per_second = _PROCESSES / probe_seconds
        traffic_per_second = self._scenario.traffic.rate_per_second if traffic else 0.0
        return FaultProfile(
            rate_per_second=probes_per_second + traffic_per_second,
            signal_seconds_max=probe_seconds + (deadline_seconds if hang else 0.0),
            hang=hang,
        )

    def _plan(self, item: AlertSignal, variant: Variant, *, defined: bool) -> AlertPlan:
        if not defined:
            return _undefined(item)
        profile = self.profile(variant)
        try:
            rule = find_alert(item.name, self._rules)
            wanted = item.receiver
            soonest, latest = (
                detection_budget(
                    item.name,
                    rules=self._rules,
                    routes=self._routes,
                    prometheus=self._timing,
                    fault=fault,
                    receiver=wanted,
                )
                for fault in (self.profile(variant, traffic=True), profile)
            )
            resolve = resolve_budget(
                item.name,
                rules=self._rules,
                routes=self._routes,
                prometheus=self._timing,
                fault=profile,
                receiver=wanted,
            )
        except UndefinedAlertError:
            return _undefined(item)
        route = alert_route(rule, self._routes, wanted)
        return AlertPlan(
            name=item.name,
            receiver=wanted or latest.receiver,
            severity=item.severity,
            floor_seconds=soonest.floor_seconds,
            ceiling_seconds=latest.ceiling_seconds,
            resolve_ceiling_seconds=resolve.ceiling_seconds,
            group_wait_seconds=route.group_wait_seconds,
            legs=_legs(soonest, latest),
            selectors=tuple(str(s.prettify()) for s in promql.selectors(rule.tree)),
            within_seconds=item.within if item.within is not None else latest.ceiling_seconds,
            group_by=tuple(route.group_by),
        )


def _legs(soonest: Budget, latest: Budget) -> tuple[LegBudget, ...]:
    """Return the legs as they can be measured: what a client waits and the scrape end with one sample."""

    def between(*parts: str) -> tuple[float, float]:
        floor = sum(soonest.leg(part).floor_seconds for part in parts)
        return floor, sum(latest.leg(part).ceiling_seconds for part in parts)

    return tuple(
        LegBudget(name, *between(*(("signal", "scrape") if name == "scrape" else (name,)))) for name in LEGS
    )


def _undefined(item: AlertSignal) -> AlertPlan:
    return AlertPlan(
        name=item.name,
        receiver=item.receiver or "nobody",
        severity=item.severity,
        floor_seconds=0.0,
        ceiling_seconds=0.0,
        resolve_ceiling_seconds=0.0,
        group_wait_seconds=0.0,
        legs=(),
        selectors=(),
        within_seconds=0.0,
        group_by=(),
        defined=False,
    )
