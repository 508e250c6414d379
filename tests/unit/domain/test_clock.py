from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
import yaml

from chaos.domain import promql
from chaos.domain.clock import (
    LabClock,
    check_rules,
    choose_clock,
    derive_alertmanager,
    derive_rules,
    resend_delay,
)
from chaos.domain.thresholds import UnmarkedThresholdsError
from chaos.stacks.rendering import lab_clock, read_rules

CLOCK = LabClock(k=30)
SHIPPED = read_rules()


def rule_file(expr: str, **fields: str) -> str:
    rule = {"alert": "Sample", "expr": expr, **fields}
    return yaml.safe_dump({"groups": [{"name": "sample", "rules": [rule]}]})


def derived(expr: str, clock: LabClock = CLOCK) -> str:
    return str(yaml.safe_load(derive_rules(rule_file(expr), clock))["groups"][0]["rules"][0]["expr"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", Fraction(90)),
        ("333ms", Fraction(333, 1000)),
        ("1d2h", Fraction(93600)),
        ("0s", Fraction(0)),
        ("1h1ms", Fraction(3600001, 1000)),
    ],
)
def test_durations_are_read_and_written_alike(text: str, seconds: Fraction) -> None:
    assert promql.parse_seconds(text) == seconds
    assert promql.parse_seconds(promql.format_seconds(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(promql.PromqlError):
        promql.parse_seconds(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(x_total[2m])", "rate(x_total[4s])"),
        ("rate(x_total[5m] offset 1m)", "rate(x_total[10s] offset 2s)"),
        ("x offset -90s", "x offset -3s"),
        ("max_over_time(rate(x_total[5m])[1h:5m])", "max_over_time(rate(x_total[10s])[2m:10s])"),
        ("max_over_time(x[1h:])", "max_over_time(x[2m:])"),
        ("rate(x_total[10s])", "rate(x_total[333ms])"),
        ("rate(x_total[300])", "rate(x_total[10s])"),
        ('x{path="[5m] offset 5m"} > 5 # not [5m]', 'x{path="[5m] offset 5m"} > 5 # not [5m]'),
        ("sum by (offset) (a5m:b)", "sum by (offset) (a5m:b)"),
        ("x @ 1700000000 > 14.4 * 0.001", "x @ 1700000000 > 14.4 * 0.001"),
    ],
)
def test_ranges_steps_and_offsets_are_divided_and_nothing_else(before: str, after: str) -> None:
    assert derived(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("time() - x_timestamp_seconds > 300 # lab-clock: scale", "> 10 # lab-clock: scale"),
        ("time() - x_timestamp_seconds > 5m # lab-clock: scale", "> 10 # lab-clock: scale"),
        ("300 < time() - x # lab-clock: scale", "10 < time()"),
        ("predict_linear(x[1h], 14400) < 0 # lab-clock: scale", "480) < 0 # lab-clock: scale"),
        ("x_age_seconds > 300 # lab-clock: keep", "> 300 # lab-clock: keep"),
    ],
)
def test_marked_thresholds_follow_their_marker(before: str, after: str) -> None:
    assert after in derived(before)


@pytest.mark.parametrize(
    "expr",
    [
        "time() - x > 300",
        "300 < time() - x",
        "time() > x_timestamp_seconds + 300",
        "max by (job) (lag_seconds) > 5",
        "predict_linear(x[1h], 14400) < 0",
        "timestamp(x) - timestamp(y) > 60",
        "(time() - max(x > 0)) / 60 > 5",
        "increase(errors_total[5m]) > 10",
        "clamp_max(time() - x, 600) > y",
        "avg_over_time(lag_seconds[5m]) > 5",
        "time() - x > 2 * 60 # lab-clock: scale",
        "rate(x_total[5m]) > 5 # lab-clock: scale",
        "time() - x > 300 # lab-clock: maybe",
    ],
)
def test_a_threshold_in_seconds_without_a_right_marker_is_refused(expr: str) -> None:
    with pytest.raises(UnmarkedThresholdsError):
        derive_rules(rule_file(expr), CLOCK)


@pytest.mark.parametrize(
    "expr",
    [
        "rate(x_total[5m]) > 5",
        "rate(x_seconds_sum[5m]) / rate(x_seconds_count[5m]) > 0.3",
        "histogram_quantile(0.99, sum by (le) (rate(x_seconds_bucket[5m]))) > 0.3",
        "max(x_timestamp_seconds > 0) == 0",
        "count(x_seconds) > 3",
        "max_over_time(up[2m]) == 0",
        "deriv(x_seconds[5m]) > 1",
        "increase(errors_total[5m]) > 0",
        "a_seconds / b_seconds > 0.5",
    ],
)
def test_what_means_the_same_on_every_clock_needs_no_marker(expr: str) -> None:
    assert check_rules({"f": rule_file(expr)}) == []


def test_every_unmarked_threshold_is_named_with_file_and_line() -> None:
    text = """groups:
  - name: g
    rules:
      - alert: One
        expr: time() - x > 300
      - alert: Two
        expr: |
          rate(y_total[2m]) > 0
          and
          z_seconds > 60
"""
    with pytest.raises(UnmarkedThresholdsError) as error:
        derive_rules(text, CLOCK, "two.alerts.yml")
    assert [(f.file, f.line, f.rule) for f in error.value.findings] == [
        ("two.alerts.yml", 5, "One"),
        ("two.alerts.yml", 10, "Two"),
    ]
    assert "two.alerts.yml:10: Two" in str(error.value)


def test_the_shortest_window_holds_four_scrapes() -> None:
    assert lab_clock().k == 30
    assert choose_clock([rule_file("rate(x_total[5m])")], scrape_seconds=2).k == 37
    assert choose_clock([rule_file("rate(x_total[3s])")]).k == 1
    assert choose_clock([rule_file("up == 0")]).k == 1
    shortest = min(
        window
        for text in SHIPPED.values()
        for group in yaml.safe_load(derive_rules(text, lab_clock()))["groups"]
        for rule in group["rules"]
        for window in promql.windows_seconds(promql.parse(rule["expr"]))
    )
    assert shortest >= 4 * lab_clock().scrape_seconds


def test_a_groups_interval_is_set_not_divided() -> None:
    text = "groups:\n- {name: g, interval: 1m, query_offset: 1m, rules: [{record: a:b, expr: sum(x)}]}\n"
    group = yaml.safe_load(derive_rules(text, LabClock(30, evaluation_seconds=2)))["groups"][0]
    assert (group["interval"], group["query_offset"]) == ("2s", "2s")


def test_the_resend_delay_is_prometheus_default_on_the_lab_clock() -> None:
    assert resend_delay(CLOCK) == "2s"
    assert CLOCK.resend_delay == "2s"


def _shape(node: promql.Expr, k: int) -> Any:
    """Return the whole tree as data, durations multiplied by k."""
    held = {
        name: getattr(node, name)
        for name in dir(node)
        if not name.startswith("_") and not callable(getattr(node, name))
    }
    return type(node).__name__, {name: _value(value, k) for name, value in sorted(held.items())}


def _value(value: Any, k: int) -> Any:
    if isinstance(value, promql.Expr):
        return _shape(value, k)
    if hasattr(value, "total_seconds"):
        return round(value.total_seconds() * k, 3)
    if isinstance(value, list):
        return [_value(item, k) for item in value]
    if value is None or isinstance(value, str | float | int | bool):
        return value
    held = {name: getattr(value, name) for name in dir(value) if not name.startswith("_")}
    if any(isinstance(member, type(value)) for member in held.values()):
        return repr(value)  # an enumeration: its members know each other
    inner = {name: _value(member, k) for name, member in held.items() if not callable(member)}
    return inner or str(value)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_derivation_changes_durations_and_marked_numbers_only(name: str) -> None:
    clock = lab_clock()
    before = yaml.safe_load(SHIPPED[name])
    after = yaml.safe_load(derive_rules(SHIPPED[name], clock, name))
    for group in after["groups"]:
        for rule in group["rules"]:
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = promql.parse_seconds(rule[key]) * clock.k
            # Marked numbers are multiplied back; what is left must be the same tree but for the durations.
            rule["expr"] = _shape(promql.parse(_multiplied_back(rule["expr"], clock.k)), clock.k)
    for group in before["groups"]:
        for rule in group["rules"]:
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = promql.parse_seconds(rule[key])
            rule["expr"] = _shape(promql.parse(rule["expr"]), 1)
    assert after == before


def _multiplied_back(expr: str, k: int) -> str:
    def line(text: str) -> str:
        if "# lab-clock: scale" not in text:
            return text
        return re.sub(r"(?<= )\d+(?= #)", lambda match: str(int(match.group()) * k), text)

    return "\n".join(map(line, expr.split("\n")))


def test_the_proof_would_notice_a_changed_matcher_operator_or_number() -> None:
    base = _shape(promql.parse('sum by (a) (rate(x{r="1"}[2m])) > 0.4'), 1)
    for other in (
        'sum by (a) (rate(x{r="2"}[2m])) > 0.4',
        'sum by (b) (rate(x{r="1"}[2m])) > 0.4',
        'sum by (a) (rate(x{r="1"}[2m])) > 0.5',
        'sum by (a) (rate(x{r="1"}[2m])) < 0.4',
        'sum by (a) (rate(x{r="1"}[3m])) > 0.4',
        'sum by (a) (irate(x{r="1"}[2m])) > 0.4',
        'sum by (a) (rate(x{r=~"1"}[2m])) > 0.4',
    ):
        assert _shape(promql.parse(other), 1) != base, other


def test_routes_are_divided_and_nothing_else_is_touched() -> None:
    text = """
global: {resolve_timeout: 5m}
route:
  receiver: a
  group_wait: 30s
  routes: [{receiver: b, group_interval: 1m, repeat_interval: 1h, group_wait: 0s}]
receivers: [{name: a}, {name: b}]
"""
    after = yaml.safe_load(derive_alertmanager(text, CLOCK))
    assert after["route"]["group_wait"] == "1s"
    child = after["route"]["routes"][0]
    assert child == {"receiver": "b", "group_interval": "2s", "repeat_interval": "2m", "group_wait": "0s"}
    assert after["global"] == {"resolve_timeout": "5m"}


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="k >= 1"):
        LabClock(k=0)
