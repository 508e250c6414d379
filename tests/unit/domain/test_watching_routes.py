from __future__ import annotations

import pytest

from chaos.domain.routes import RoutesError, parse_routes

TREE = parse_routes(
    r"""
route:
  receiver: default
  group_by: [service]
  group_wait: 30s
  routes:
    - receiver: log
      continue: true
    - receiver: pager
      matchers: ['severity="critical"', 'team=~"a|b", ', 'name!="x\"y"']
      group_wait: 10s
      routes:
        - receiver: night
          matchers: [hour!~"9|1.", 'hour!=""']
    - receiver: legacy
      match: {old: "1"}
      match_re: {older: "2.*"}
inhibit_rules:
  - name: first
    source_matchers: [alertname="Down"]
    target_matchers: [severity="warning"]
    equal: [service, cluster]
""".replace('"a|b", ', '"a|b"')
)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({}, ["log"]),
        ({"severity": "critical", "team": "a"}, ["log", "pager"]),
        ({"severity": "critical", "team": "ab"}, ["log"]),  # anchored
        ({"severity": "critical", "team": "a", "name": 'x"y'}, ["log"]),
        ({"severity": "critical", "team": "b", "hour": "23"}, ["log", "night"]),
        ({"severity": "critical", "team": "b", "hour": "12"}, ["log", "pager"]),
        ({"old": "1", "older": "22"}, ["log", "legacy"]),
    ],
)
def test_an_alert_goes_where_alertmanager_would_send_it(labels: dict[str, str], receivers: list[str]) -> None:
    assert TREE.receivers_for(labels) == receivers


def test_nothing_matching_falls_to_the_root() -> None:
    tree = parse_routes("route: {receiver: root, routes: [{receiver: a, matchers: ['x=\"1\"']}]}")
    assert tree.receivers_for({"x": "2"}) == ["root"]


def test_children_inherit_all_but_their_matchers() -> None:
    night = TREE.routes_for({"severity": "critical", "team": "b", "hour": "23"})[-1]
    assert night.group_wait_seconds == 10
    assert night.group_interval_seconds == 300  # Alertmanager's default
    assert night.group_by == ("service",)


def test_inhibition_needs_source_target_and_equal_labels() -> None:
    down = {"alertname": "Down", "service": "dcs"}
    slow = {"alertname": "Slow", "severity": "warning", "service": "dcs"}
    assert TREE.muted_by(slow, [down]) == "first"  # a label missing on both sides counts as equal
    assert TREE.muted_by(slow, [{**down, "service": "other"}]) is None
    assert TREE.muted_by({**slow, "severity": "critical"}, [down]) is None
    assert TREE.muted_by(slow, []) is None


def test_two_alerts_that_are_both_source_and_target_do_not_silence_each_other() -> None:
    both = {"alertname": "Down", "severity": "warning", "service": "dcs"}
    assert TREE.muted_by(both, [both]) is None


@pytest.mark.parametrize("text", ["receivers: []", "route: {receiver: a, matchers: ['nonsense']}"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(RoutesError):
        parse_routes(text)
