from __future__ import annotations

from pathlib import Path

import pytest

from chaos.engine.load import ScenarioInvalidError, find, load, load_all
from chaos.errors import UsageError

GOOD = """\
schema: firedrill/v1
title: It does not work
symptom: nothing works
steady_state:
  - {signal: alerts, firing: 0}
traffic: {profile: steady, clients: 20, rate_per_second_each: 1}
expect:
  - {signal: alert, name: PostgresUnreachable, receiver: pager}
variants:
  - id: one
    cause: a-cause
    title: One cause
    faults: [{kind: proxy_down, proxy: postgres}]
    reasons: [refused]
    evidence: [{signal: metric, expr: up == 0}]
    remedy: [restore_network_path postgres]
recover: [{signal: alert_resolved}]
limits: {max_duration: 3m}
"""


def folder(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "09-nothing-works"
    path.mkdir(exist_ok=True)
    (path / "scenario.yml").write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioInvalidError) as caught:
        load(folder(tmp_path, text))
    return [problem.removeprefix(f"{tmp_path}/09-nothing-works/") for problem in caught.value.problems]


def test_a_good_file_is_read(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path, GOOD))
    assert loaded.number == 9
    assert loaded.scenario.limits.max_duration == 180
    assert loaded.variant(None).id == "one"


def test_all_errors_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    bad = (
        GOOD.replace("limits: {max_duration: 3m}", "limits: {max_duration: 180}\nsurprise: 1")
        .replace("clients: 20", "clients: 0")
        .replace("kind: proxy_down", "kind: earthquake")
    )
    found = problems(tmp_path, bad)
    assert [line.split(": ")[0] for line in found] == [
        "scenario.yml:6", "scenario.yml:13", "scenario.yml:18", "scenario.yml:19",
    ]  # fmt: skip
    text = "\n".join(found)
    assert "traffic.clients" in text
    assert "earthquake" in text
    assert "180 has no unit" in text
    assert "surprise: Extra inputs are not permitted" in text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("expr: up == 0", "expr: lab_fault_active == 1", "lab_fault_active is the lab's own knowledge"),
        ("expr: up == 0", "expr: toxiproxy_proxy_enabled == 0", "the lab's own knowledge"),
        ("restore_network_path postgres", "toxiproxy reset", "no remedy 'toxiproxy'"),
        ("title: It does", "title: Twice\ntitle: It does", "title is given twice"),
        ("receiver: pager}\n", "receiver: pager}\nforbid: [PostgresUnreachable]\n", "expected and forbidden"),
        ("  - {signal: alert, name: PostgresUnreachable, receiver: pager}", "  - {signal: metric, expr: up}",
         "expects no alert"),
        ("schema: firedrill/v1", "schema: firedrill/v9", "schema"),
        ("title: It does", "title: [", "no valid YAML"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in "\n".join(problems(tmp_path, GOOD.replace(old, new, 1)))


def test_two_variants_of_one_id_are_refused(tmp_path: Path) -> None:
    start = GOOD.index("  - id: one")
    end = GOOD.index("recover:")
    twice = GOOD[:end] + GOOD[start:end] + GOOD[end:]
    assert "given twice: one" in "\n".join(problems(tmp_path, twice))


def test_an_unknown_scenario_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"there is no scenario '77'; there are: .*3 \(connection-refused\)"):
        find("77")


def test_an_unknown_variant_lists_those_there_are() -> None:
    loaded = load(find("3"))
    with pytest.raises(UsageError, match="path-closed, wrong-host"):
        loaded.variant("nonsense")


def test_every_scenario_of_the_repository_is_valid() -> None:
    assert [loaded.number for loaded in load_all()] == [3]
