"""Results shaped like real drills of the refused connection: passing, failing, unjudged and hostile."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from chaos.domain.run import Check, Detection, DrillResult, Event, LegTime, Recovered, VariantResult
from chaos.domain.verdict import Verdict

STARTED_UNIX = 1763797320.0  # 2025-11-22 07:42:00 UTC
HOSTILE = "<script>alert('x')</script>\"&[bold]\x1b[31m\x00\u202e{{ 7*7 }}"

# id, title, cause, alert, seconds of the signal's own leg
CAUSES = (
    ("proxy-down", "The network path is closed", "network-path-closed", "PostgresUnreachable", 0.0),
    ("wrong-host", "The service is told another host", "wrong-address", "PostgresUnreachable", 0.0),
    ("wrong-port", "The service is told another port", "wrong-address", "PostgresUnreachable", 0.0),
    ("socket-only", "The database listens on its socket only", "not-listening", "PostgresUnreachable", 0.0),
    ("restart-loop", "The database restarts in a loop", "crash-loop", "PostgresUnreachable", 0.0),
    (
        "connections-exhausted",
        "Another client keeps every connection",
        "connection-leak",
        "PostgresConnectionsExhausted",
        0.0,
    ),
    ("packets-swallowed", "Packets are swallowed on the way", "black-hole", "PostgresSlowOrSilent", 3.0),
)
IDS = tuple(cause[0] for cause in CAUSES)

_RUNBOOK = "https://runbooks.example.org/docs/runbooks/{}.md"
# name, floor, ceiling; seconds
_LEGS = (
    ("scrape", 0.0, 1.0),
    ("rule window", 0.8, 1.8),
    ("for", 1.0, 1.0),
    ("evaluation", 0.0, 1.0),
    ("group_wait", 1.2, 1.2),
    ("delivery", 0.0, 1.0),
)


def _legs(rng: random.Random, signal_seconds: float) -> tuple[LegTime, ...]:
    legs = [
        LegTime(name, floor + (ceiling - floor) * rng.uniform(0.05, 0.75), floor, ceiling)
        for name, floor, ceiling in _LEGS
    ]
    if signal_seconds:
        legs.insert(0, LegTime("signal", signal_seconds * 0.98, 0.0, signal_seconds))
    return tuple(legs)


def _notification(alert: str, receiver: str, status: str, at_unix: float, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "receiver": receiver,
        "received_unix": at_unix,
        "payload": {
            "version": "4",
            "status": status,
            "receiver": receiver,
            "groupLabels": {"alertname": alert, "service": "dcs"},
            "alerts": [
                {
                    "status": status,
                    "labels": {
                        "alertname": alert,
                        "severity": "critical",
                        "service": "dcs",
                        "component": "postgres",
                    },
                    "annotations": {
                        "summary": "The service cannot open connections to its database",
                        "description": "4 of 4 instances were refused in the last minute",
                        "runbook_url": _RUNBOOK.format(alert),
                    },
                }
            ],
        },
    }


def _checks(alert: str, detection: Detection, variant: str) -> tuple[Check, ...]:
    others = [other for other in IDS if other != variant]
    return (
        Check("steady", "alerts", Verdict.PASS, "no alert fires, the Watchdog arrives", 1.2),
        Check("steady", "traffic", Verdict.PASS, "19.8 requests/s pass through the proxies", 0.4),
        Check(
            "expect",
            f"alert {alert}",
            Verdict.PASS,
            "reached pager with severity critical, a runbook link and one group",
            detection.total_seconds,
            detection.ceiling_seconds,
        ),
        Check(
            "expect",
            'log {service_name="api"} | event="db_connect_failed"',
            Verdict.PASS,
            "12 lines since the fault",
            0.9,
            10.0,
        ),
        Check("evidence", variant, Verdict.PASS, f"true here, false for {len(others)} others", 2.1, 10.0),
        Check("forbid", "ApiDown", Verdict.PASS, "stayed silent"),
        Check("recover", f"alert_resolved {alert}", Verdict.PASS, "resolved at pager", 3.1, 5.6),
        Check("recover", "steady_state", Verdict.PASS, "holds again", 4.4, 60.0),
        Check(
            "baseline",
            "nothing differs",
            Verdict.PASS,
            "proxies, settings, processes and alerts as before",
            0.8,
        ),
    )


def variant_sample(number: int, seed: int = 7, late_seconds: float = 0.0) -> VariantResult:
    """Return variant ``number`` (from 0) as it passes, or with a delivery that takes longer."""
    name, title, cause, alert, signal_seconds = CAUSES[number]
    rng = random.Random(seed * 100 + number)  # noqa: S311 sample data
    started = STARTED_UNIX + number * 31.0
    fault = started + rng.uniform(6.0, 9.0)
    legs = _legs(rng, signal_seconds)
    legs = (
        *legs[:-1],
        dataclasses.replace(legs[-1], measured_seconds=legs[-1].measured_seconds + late_seconds),
    )
    total = sum(leg.measured_seconds for leg in legs)
    detection = Detection(
        alert,
        "pager",
        total,
        sum(leg.floor_seconds for leg in legs),
        sum(leg.ceiling_seconds for leg in legs),
        legs,
    )
    pending = fault + signal_seconds + legs[-6].measured_seconds + legs[-5].measured_seconds
    firing = fault + total - legs[-2].measured_seconds - legs[-1].measured_seconds
    notified = fault + total
    evidence = notified + rng.uniform(0.5, 1.5)
    remedy = evidence + 1.4
    resolved = remedy + rng.uniform(2.8, 3.5)
    ended = resolved + 2.6
    events = (
        Event(started + 1.2, "steady", "Alertmanager is connected and the Watchdog is delivered"),
        Event(fault - 0.4, "steady", "no alert fires, traffic flows, nothing is left over"),
        Event(fault, "fault", f"{title}: proven live through the data path"),
        Event(fault + 0.9, "signal", "api logs db_connect_failed"),
        Event(pending, "alert", f"{alert} is pending"),
        Event(firing, "alert", f"{alert} is firing"),
        Event(notified, "notification", f"{alert} reached pager"),
        Event(evidence, "evidence", f"true for {name} and for no other of {len(IDS)}"),
        Event(remedy, "remedy", "the operator's remedy is done"),
        Event(resolved, "resolved", f"{alert} resolved at pager"),
        Event(ended - 0.9, "baseline", "nothing differs from the baseline"),
        Event(ended, "verdict", "PASS"),
    )
    return VariantResult(
        variant=name,
        title=title,
        cause=cause,
        run_id=f"20251122T0742{number:02d}-{name}",
        started_unix=started,
        fault_unix=fault,
        remedy_unix=remedy,
        ended_unix=ended,
        timeline=events,
        checks=_checks(alert, detection, name),
        detections=(detection,),
        recoveries=(Recovered(alert, resolved - remedy, 5.6),),
        evidence_row={other: other == name for other in IDS},
        baseline_row=dict.fromkeys(IDS, False),
        notifications=(
            _notification(alert, "pager", "firing", notified, 1),
            _notification(alert, "pager", "resolved", resolved, 2),
        ),
    )


def drill(*variants: VariantResult, **changes: Any) -> DrillResult:
    """Return a drill of ``variants``."""
    result = DrillResult(
        scenario="03-connection-refused",
        title="The service cannot reach its database",
        symptom="psycopg2.OperationalError: connection to server failed: Connection refused, "
        "while the database is running and healthy",
        seed=7,
        lab_id="a1b2c3d4",
        started_unix=STARTED_UNIX,
        ended_unix=max((variant.ended_unix for variant in variants), default=STARTED_UNIX),
        versions={"prometheus": "3.13.5", "alertmanager": "0.31.1", "loki": "3.7.8", "postgres": "18.1"},
        clock={"k": 15.0, "scrape_seconds": 1.0, "evaluation_seconds": 1.0},
        variants=variants,
        all_variants=IDS,
    )
    return dataclasses.replace(result, **changes)


def passing() -> DrillResult:
    """Return all seven variants, passed."""
    return drill(*(variant_sample(number) for number in range(len(CAUSES))))


def mixed() -> DrillResult:
    """Return a late, a silent, an ambiguous, an unjudged and a passing variant."""
    return drill(late(), silent(), ambiguous(), unjudged(), variant_sample(6))


def late() -> VariantResult:
    """Return a variant whose alert came after its ceiling."""
    slow = variant_sample(0, late_seconds=6.3)
    total, ceiling = slow.detections[0].total_seconds, slow.detections[0].ceiling_seconds
    detail = f"arrived after {total:.1f} s, the ceiling is {ceiling:.1f} s"
    return dataclasses.replace(slow, checks=_failing(slow, "expect", detail))


def silent() -> VariantResult:
    """Return a variant that no alert told of, while another one fired."""
    good = variant_sample(1)
    fault = good.fault_unix or good.started_unix
    return dataclasses.replace(
        good,
        detections=(),
        recoveries=(),
        notifications=(),
        timeline=(
            *(event for event in good.timeline if event.kind not in {"alert", "notification", "resolved"}),
            Event(fault + 2.5, "alert", "ApiDown is firing"),
        ),
        checks=_failing(good, "expect", "the deployed rules define no alert PostgresUnreachable"),
    )


def ambiguous() -> VariantResult:
    """Return a variant under which another one's evidence was true and its own was not."""
    good = variant_sample(2)
    row = {**good.evidence_row, "wrong-host": True, "wrong-port": False}
    return dataclasses.replace(
        good, evidence_row=row, checks=_failing(good, "evidence", "also true: the evidence of wrong-host")
    )


def unjudged() -> VariantResult:
    """Return a variant the lab could not judge: nothing was reached."""
    good = variant_sample(3)
    return dataclasses.replace(
        good,
        fault_unix=None,
        remedy_unix=None,
        timeline=good.timeline[:1],
        checks=good.checks[:1],
        detections=(),
        recoveries=(),
        evidence_row={},
        baseline_row={},
        notifications=(),
        error="Loki does not answer at 127.0.0.1:18310. Run `lab logs loki`.",
    )


def hostile() -> DrillResult:
    """Return a drill in which every text tries to be something else."""
    good = variant_sample(0)
    payload: Mapping[str, Any] = {
        "status": HOSTILE,
        "alerts": [
            {
                "labels": {"alertname": HOSTILE},
                "annotations": {"summary": HOSTILE, "runbook_url": "javascript:alert(1)"},
            },
            "no alert",
        ],
    }
    slow = good.detections[0]
    leg = dataclasses.replace(slow.legs[0], name=HOSTILE)
    variant = dataclasses.replace(
        good,
        variant=HOSTILE,
        title=HOSTILE,
        cause=HOSTILE,
        run_id=HOSTILE,
        timeline=(
            *(dataclasses.replace(event, text=HOSTILE) for event in good.timeline),
            Event(0.0, HOSTILE, HOSTILE),
        ),
        checks=(Check(HOSTILE, HOSTILE, Verdict.FAIL, HOSTILE), Check("expect", "", Verdict.ERROR, "")),
        detections=(dataclasses.replace(slow, alert=HOSTILE, receiver=HOSTILE, legs=(leg, *slow.legs[1:])),),
        evidence_row={HOSTILE: True},
        baseline_row={HOSTILE: False},
        notifications=(
            {"receiver": HOSTILE, "received_unix": good.started_unix + 9, "payload": payload},
            {"receiver": 5, "received_unix": "later", "payload": None},
        ),
        error=HOSTILE,
    )
    return drill(
        variant, scenario=HOSTILE, title=HOSTILE, symptom=HOSTILE, lab_id=HOSTILE, versions={HOSTILE: HOSTILE}
    )


def _failing(good: VariantResult, group: str, detail: str) -> tuple[Check, ...]:
    position = next(number for number, check in enumerate(good.checks) if check.group == group)
    checks = list(good.checks)
    checks[position] = dataclasses.replace(checks[position], verdict=Verdict.FAIL, detail=detail)
    return tuple(checks)
