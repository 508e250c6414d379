from __future__ import annotations

import pytest
import yaml

from chaos.domain.routes import parse_routes
from chaos.domain.timing import FaultProfile, detection_budget, resolve_budget
from chaos.domain.watching import (
    PrometheusTiming,
    RuleFile,
    UndefinedAlertError,
    add_runbook_urls,
    parse_prometheus,
    parse_rules,
)
from chaos.domain.windows import Span, WindowReader

PROMETHEUS = PrometheusTiming(scrape_seconds=5, scrape_timeout_seconds=5, evaluation_seconds=5)
ROUTES = parse_routes(
    """
route:
  receiver: tickets
  group_by: [service]
  group_wait: 30s
  group_interval: 5m
  routes:
    - receiver: pager
      matchers: ['severity="critical"']
      group_wait: 5s
      group_interval: 10s
"""
)


def rules(expr: str, **fields: object) -> list[RuleFile]:
    alert = {"alert": "Sample", "expr": expr, "labels": {"severity": "critical"}, **fields}
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [alert]}]})
    return [parse_rules("sample.yml", text)]


def onset(expr: str, fault: FaultProfile | None = None) -> Span:
    files = rules(expr)
    return WindowReader(fault or FaultProfile(), files, 5).onset(files[0].rules[0].tree)


def release(expr: str, fault: FaultProfile | None = None) -> Span:
    files = rules(expr)
    return WindowReader(fault or FaultProfile(), files, 5).release(files[0].rules[0].tree)


def test_a_gauge_is_detected_between_the_floor_and_the_ceiling_once_measured_on_real_daemons() -> None:
    # Prometheus 3.5 with S = E = 5 s, for 10 s, group_wait 5 s: measured 19.4 to 23.8 s.
    budget = detection_budget(
        "Sample",
        rules=rules("up == 0", **{"for": "10s"}),
        routes=ROUTES,
        prometheus=PROMETHEUS,
        fault=FaultProfile(),
    )
    assert budget.floor_seconds == 15
    assert budget.ceiling_seconds == 15 + 5 + 5 + 1
    assert budget.receiver == "pager"
    assert [leg.name for leg in budget.legs] == [
        "signal",
        "scrape",
        "rule_window",
        "for",
        "evaluation",
        "group_wait",
        "delivery",
    ]


def test_for_is_rounded_up_to_whole_evaluations() -> None:
    budget = detection_budget(
        "Sample",
        rules=rules("up == 0", **{"for": "11s"}),
        routes=ROUTES,
        prometheus=PROMETHEUS,
        fault=FaultProfile(),
    )
    assert budget.leg("for").floor_seconds == 15


def test_the_ceiling_adds_the_signal_the_hanging_scrape_and_each_recording_rule() -> None:
    files = [
        *rules("a:ratio > 0.5"),
        parse_rules(
            "r.yml",
            "groups: [{name: r, rules: [{record: 'a:ratio', expr: 'b:c'}, {record: 'b:c', expr: 'x'}]}]",
        ),
    ]
    fault = FaultProfile(signal_seconds_max=3, hang=True)
    budget = detection_budget("Sample", rules=files, routes=ROUTES, prometheus=PROMETHEUS, fault=fault)
    assert budget.leg("signal").ceiling_seconds == 3
    assert budget.leg("scrape").ceiling_seconds == 10
    assert budget.leg("evaluation").ceiling_seconds == 15
    assert budget.floor_seconds == 5


def test_a_group_that_exists_waits_for_its_interval_instead() -> None:
    budget = detection_budget(
        "Sample",
        rules=rules("up == 0"),
        routes=ROUTES,
        prometheus=PROMETHEUS,
        fault=FaultProfile(),
        group_exists=True,
    )
    assert (budget.leg("group_wait").floor_seconds, budget.leg("group_wait").ceiling_seconds) == (0, 10)


BURN = """
(sum(rate(r_total{code=~"5.."}[5m])) / sum(rate(r_total[5m]))) > 14.4 * 0.001
and (sum(rate(r_total{code=~"5.."}[1h])) / sum(rate(r_total[1h]))) > 14.4 * 0.001
and sum(rate(r_total[5m])) > 0.1
"""


@pytest.mark.parametrize(("ratio", "seconds"), [(1.0, 51.84), (0.05, 1036.8), (0.0144, 3600), (0.001, 3600)])
def test_the_burn_rate_pair_takes_what_the_workbook_says(ratio: float, seconds: float) -> None:
    span = onset(BURN, FaultProfile(rate_per_second=1, ratio=ratio))
    assert span.floor == pytest.approx(seconds)
    assert span.ceiling == pytest.approx(seconds)


def test_the_burn_rate_pair_resets_with_its_short_window() -> None:
    assert release(BURN, FaultProfile(ratio=1)).floor == pytest.approx(295.68)  # 4 min 56 s in the workbook
    assert release(BURN, FaultProfile(ratio=1)).ceiling == 300


@pytest.mark.parametrize(
    ("expr", "fault", "expected"),
    [
        ("sum(rate(e_total[2m])) > 0.5", FaultProfile(rate_per_second=4), Span(15, 15)),
        ("0.5 < sum(rate(e_total[2m]))", FaultProfile(rate_per_second=4), Span(15, 15)),
        ("sum(rate(e_total[2m])) > 0.5", FaultProfile(rate_per_second=0.1), Span(120, 120)),
        ("sum(rate(e_total[2m])) > 0.5", FaultProfile(), Span(0, 120)),
        ("increase(e_total[2m]) > 8", FaultProfile(rate_per_second=4), Span(2, 2)),
        ("60 * rate(e_total[2m]) > 30", FaultProfile(rate_per_second=4), Span(15, 15)),
        ("100 * rate(e_total[2m]) / rate(t_total[2m]) > 50", FaultProfile(), Span(60, 60)),
        ("rate(e_total[1h]) / rate(t_total[1h]) > 0.5", FaultProfile(history_seconds=60), Span(30, 30)),
        ("max(max_over_time(pg_up[2m])) == 0", FaultProfile(), Span(115, 120)),
        ("min_over_time(pg_up[2m]) == 0", FaultProfile(), Span(0, 0)),
        ("absent_over_time(pg_up[2m])", FaultProfile(), Span(115, 120)),
        ("avg_over_time(pg_up[2m]) < 0.5", FaultProfile(), Span(0, 120)),
        ("rate(t_total[2m]) < 1", FaultProfile(rate_per_second=4), Span(0, 120)),
        ("time() - max(x_timestamp_seconds > 0) > 300", FaultProfile(), Span(300, 300)),
        ("100 * count by (job) (up == 0) / count by (job) (up) > 10", FaultProfile(), Span(0, 0)),
        ("up == 0 or max_over_time(pg_up[2m]) == 0", FaultProfile(), Span(0, 0)),
        ("up == 0 unless max_over_time(pg_up[2m]) == 0", FaultProfile(), Span(0, 0)),
        ("vector(1)", FaultProfile(), Span(0, 0)),
        ("rate(a_total[2m]) > rate(b_total[2m])", FaultProfile(), Span(0, 120)),
    ],
)
def test_what_a_window_costs_depends_on_what_is_done_with_it(
    expr: str, fault: FaultProfile, expected: Span
) -> None:
    span = onset(expr, fault)
    assert [span.floor, span.ceiling] == pytest.approx([expected.floor, expected.ceiling])


@pytest.mark.parametrize(
    ("expr", "fault", "expected"),
    [
        ("sum(rate(e_total[2m])) > 0.5", FaultProfile(rate_per_second=4), Span(105, 120)),
        ("sum(rate(e_total[2m])) > 0.5", FaultProfile(), Span(0, 120)),
        ("max_over_time(pg_up[2m]) == 0", FaultProfile(), Span(0, 0)),
        ("min_over_time(pg_up[2m]) == 0", FaultProfile(), Span(0, 120)),
        ("up == 0", FaultProfile(), Span(0, 0)),
    ],
)
def test_what_a_window_costs_on_the_way_back(expr: str, fault: FaultProfile, expected: Span) -> None:
    span = release(expr, fault)
    assert [span.floor, span.ceiling] == pytest.approx([expected.floor, expected.ceiling])


def test_resolving_takes_the_window_keep_firing_for_and_the_groups_interval() -> None:
    budget = resolve_budget(
        "Sample",
        rules=rules("rate(e_total[20s]) > 0.5", keep_firing_for="12s"),
        routes=ROUTES,
        prometheus=PROMETHEUS,
        fault=FaultProfile(rate_per_second=5, signal_seconds_max=2),
    )
    assert budget.floor_seconds == pytest.approx(18 + 15)
    assert budget.ceiling_seconds == pytest.approx(2 + 5 + 20 + 15 + 5 + 10 + 1)


def test_an_alert_the_rules_do_not_define_is_an_error_of_its_own() -> None:
    with pytest.raises(UndefinedAlertError, match="Missing is not defined by the deployed rules"):
        detection_budget(
            "Missing", rules=rules("up"), routes=ROUTES, prometheus=PROMETHEUS, fault=FaultProfile()
        )


def test_a_recording_rule_is_no_alert() -> None:
    files = [parse_rules("r.yml", "groups: [{name: r, rules: [{record: Sample, expr: x}]}]")]
    with pytest.raises(UndefinedAlertError):
        detection_budget("Sample", rules=files, routes=ROUTES, prometheus=PROMETHEUS, fault=FaultProfile())


def test_a_scrape_time_out_is_never_longer_than_the_scrape() -> None:
    timing = parse_prometheus("global: {scrape_interval: 1s, evaluation_interval: 2s}")
    assert timing == PrometheusTiming(1, 1, 2)


def test_the_runbook_link_is_made_from_the_name() -> None:
    text = "groups: [{name: g, rules: [{alert: Sample, expr: up}, {record: 'a:b', expr: up}]}]"
    found = yaml.safe_load(add_runbook_urls(text, "https://example.org/base/"))["groups"][0]["rules"]
    assert found[0]["annotations"] == {"runbook_url": "https://example.org/base/docs/runbooks/Sample.md"}
    assert "annotations" not in found[1]
