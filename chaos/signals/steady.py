"""The steady state: what must hold before anything is broken, and again after it was mended."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.domain.scenario import MetricSignal, QuietSignal, SteadyState
from chaos.domain.waiting import POLL_SECONDS
from chaos.errors import AdapterError, StackError
from chaos.ports import Operators
from chaos.signals.truth import Ranges, expand, metric_is_true

WATCHDOG = "Watchdog"
_TRAFFIC_SECONDS = 5
_RATE_SHARE_MIN = 0.5  # of the traffic the scenario asks for


def missing(
    signals: Sequence[SteadyState],
    operators: Operators,
    traffic_per_second: float,
    watchdog_since_unix: float,
) -> list[str]:
    """Return what keeps the stack from its steady state, as sentences. Empty means steady."""
    found = [
        f"{view.name} is {view.detail or view.state}: start it with `lab up`, or see `lab logs {view.name}`"
        for view in operators.stack.views()
        if view.expected_state == "RUNNING" and (view.state != "RUNNING" or view.detail)
    ]
    try:
        found += _watching(operators, watchdog_since_unix)
        found += _flowing(operators, traffic_per_second)
        for signal in signals:
            found += _unmet(signal, operators)
        found += [
            f"nothing goes through proxy {name}: a fault there would change nothing"
            for name in operators.service_proxies.idle()
        ]
        found += [str(left) for left in operators.service_proxies.leftovers()]
        found += [str(left) for left in operators.monitoring_proxies.leftovers()]
        operators.logs.ready()
    except AdapterError as error:
        found.append(str(error))
    return found


def _watching(operators: Operators, watchdog_since_unix: float) -> list[str]:
    found: list[str] = []
    if operators.metrics.alertmanagers() < 1:
        found.append("prometheus is connected to no alertmanager")
    found += [f"target {name} is not scraped" for name in operators.metrics.targets_down()]
    delivered = [n for n in operators.notifications.since(watchdog_since_unix) if WATCHDOG in n.names]
    if not delivered:
        found.append("no Watchdog has arrived at the deadman receiver: alerts are not delivered")
    return found


def _flowing(operators: Operators, traffic_per_second: float) -> list[str]:
    expr = f"sum(rate(dcs_http_requests_total[{_TRAFFIC_SECONDS}s]))"
    samples = operators.metrics.query(expr)
    rate = samples[0].value if samples else 0.0
    if rate < traffic_per_second * _RATE_SHARE_MIN:
        return [f"traffic flows at {rate:.1f} requests/s where {traffic_per_second:g} are due"]
    return []


def _unmet(signal: SteadyState, operators: Operators) -> list[str]:
    if isinstance(signal, QuietSignal):
        names = {a.name for a in operators.metrics.active_alerts() if a.state == "firing"}
        names |= {labels["alertname"] for labels in operators.alerts.firing()}
        names -= set(signal.ignore)
        silenced = operators.alerts.silences()
        return [f"alert {name} is firing" for name in sorted(names)] + [
            f"silence {silence} is active: it hides alerts" for silence in silenced
        ]
    if not isinstance(signal, MetricSignal):  # pragma: no cover - the schema has no other kind
        raise TypeError(signal)
    now = operators.clock.now()
    expr = expand(signal.expr, Ranges(now, now), now, operators.stack.service_settings())
    return [] if metric_is_true(expr, operators) else [f"{signal.expr} does not hold"]


def _refuse_stopped(operators: Operators) -> None:
    """Raise at once when a program is stopped for good: no waiting brings it back."""
    stopped = [
        view.name
        for view in operators.stack.views()
        if view.expected_state == "RUNNING" and view.state in {"STOPPED", "FATAL"}
    ]
    if stopped:
        raise StackError(
            f"{', '.join(stopped)} does not run, so nothing can be judged: `lab up` starts it; "
            f"if that does not help, see `lab logs {stopped[0]}`"
        )


def wait(
    signals: Sequence[SteadyState],
    operators: Operators,
    *,
    traffic_per_second: float,
    watchdog_since_unix: float,
    seconds_max: float,
    hold_seconds: float,
) -> None:
    """Return once the steady state has held for ``hold_seconds``.

    Raises:
        StackError: it did not within ``seconds_max``; the message says what was missing last.
    """
    _refuse_stopped(operators)
    holds = [signal.hold for signal in signals if isinstance(signal, MetricSignal)]
    hold_seconds = max([hold_seconds, *holds])
    deadline = operators.clock.now() + seconds_max
    steady_since: float | None = None
    while True:
        left = missing(signals, operators, traffic_per_second, watchdog_since_unix)
        now = operators.clock.now()
        if left:
            steady_since = None
        elif steady_since is None:
            steady_since = now
        if steady_since is not None and now - steady_since >= hold_seconds:
            return
        if now > deadline:
            raise StackError(
                f"the steady state was not reached within {seconds_max:g} s: "
                + "; ".join(left or ["flapping"])
            )
        operators.clock.sleep(POLL_SECONDS)
