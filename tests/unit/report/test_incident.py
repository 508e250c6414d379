from __future__ import annotations

import dataclasses

import pytest

from chaos.domain.run import Event
from chaos.engine.report.incident import alert_rows, axis_of, marks
from chaos.engine.report.svg import element, ticks
from chaos.engine.report.timeline_svg import draw_timeline
from chaos.engine.report.wording import clean, offset, scenario_number, seconds, span
from tests.support import report_samples as samples


def test_legs_become_moments_in_order() -> None:
    variant = samples.variant_sample(0)
    (row,) = alert_rows(variant)
    fault, legs = (
        variant.fault_unix or 0.0,
        {leg.name: leg.measured_seconds for leg in variant.detections[0].legs},
    )
    assert row.pending_unix == pytest.approx(fault + legs["scrape"] + legs["rule window"])
    assert row.firing_unix == pytest.approx((row.pending_unix or 0) + legs["for"] + legs["evaluation"])
    assert row.sent_unix == pytest.approx(row.firing_unix + legs["group_wait"])
    assert row.notified_unix == pytest.approx(fault + variant.detections[0].total_seconds)
    assert row.resolved_unix == pytest.approx(
        (variant.remedy_unix or 0) + variant.recoveries[0].total_seconds
    )


def test_a_detection_without_legs_fires_when_it_is_notified() -> None:
    good = samples.variant_sample(0)
    bare = dataclasses.replace(good, detections=(dataclasses.replace(good.detections[0], legs=()),))
    (row,) = alert_rows(bare)
    assert row.pending_unix is None
    assert row.firing_unix == row.sent_unix == row.notified_unix
    assert "PostgresUnreachable" in draw_timeline(bare, "k").svg


def test_the_axis_leaves_a_long_wait_before_the_fault_out() -> None:
    good = samples.variant_sample(0)
    patient = dataclasses.replace(good, started_unix=good.started_unix - 300)
    axis = axis_of(patient)
    assert axis.zero_unix - axis.start_unix < 10
    assert axis.percent(axis.start_unix - 50) == 0.0
    assert axis.percent(axis.end_unix) == 100.0


def test_the_receivers_own_record_beats_the_log() -> None:
    variant = samples.variant_sample(0)
    own = [mark.kind for mark in marks(variant, axis_of(variant)) if mark.lane == "receiver"]
    assert own == ["notification", "resolved"]
    bare = dataclasses.replace(variant, notifications=())
    assert [m.kind for m in marks(bare, axis_of(bare)) if m.lane == "receiver"] == own


def test_the_dead_mans_heartbeat_is_not_part_of_the_incident() -> None:
    good = samples.variant_sample(0)
    beat = {
        "receiver": "deadman",
        "received_unix": (good.fault_unix or 0) + 2,
        "payload": {"status": "firing"},
    }
    variant = dataclasses.replace(good, notifications=(beat, *good.notifications))
    assert len([mark for mark in marks(variant, axis_of(variant)) if mark.lane == "receiver"]) == 2


def test_marks_at_one_moment_merge_by_kind_and_stack_across_kinds() -> None:
    good = samples.variant_sample(0)
    at = (good.fault_unix or 0) + 3
    events = tuple(
        Event(at, kind, text) for kind, text in [("evidence", "a"), ("evidence", "b"), ("signal", "c")]
    )
    variant = dataclasses.replace(good, timeline=events)
    lab = [mark for mark in marks(variant, axis_of(variant)) if mark.lane == "lab"]
    assert [(mark.kind, mark.level) for mark in lab] == [("evidence", 0), ("signal", 1)]
    assert lab[0].text == "a; +3.0 s b"


def test_an_unexpected_alert_is_drawn_and_named() -> None:
    silent = samples.silent()
    timeline = draw_timeline(silent, "k")
    assert "ApiDown is firing" in timeline.svg
    assert "ApiDown is firing" in [entry.words for entry in timeline.key]


def test_two_alerts_have_a_row_and_a_name_each() -> None:
    good = samples.variant_sample(0)
    second = dataclasses.replace(good.detections[0], alert="ApiErrorBudgetBurn")
    drawn = draw_timeline(dataclasses.replace(good, detections=(*good.detections, second)), "k")
    assert drawn.svg.count("ApiErrorBudgetBurn</text>") == 2
    assert "ApiErrorBudgetBurn firing" in [entry.words for entry in drawn.key]


def test_elements_escape_what_they_are_given() -> None:
    assert (
        element("text", "<&\x00", x=1.50, class_='"') == '<text x="1.5" class="&#34;">&lt;&amp;\ufffd</text>'
    )


def test_ticks_are_round_few_and_include_zero() -> None:
    assert ticks(-2.3, 12.4) == [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert 0.0 in ticks(-40.0, 100_000.0)
    assert len(ticks(0, 100_000.0)) <= 10


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0 s"), (-0.01, "0.0 s"), (4.14, "4.1 s"), (119.94, "119.9 s"), (125.4, "2 min 05 s")],
)
def test_lengths_in_words(value: float, words: str) -> None:
    assert seconds(value) == words


def test_moments_and_ranges_in_words() -> None:
    assert offset(4.14) == "+4.1 s"
    assert offset(-0.4) == "\u22120.4 s"
    assert offset(-0.01) == "0.0 s"
    assert span(3, 5.1) == "3.0 to 5.1 s"


def test_a_scenario_is_called_by_its_number_if_it_has_one() -> None:
    assert scenario_number("03-connection-refused") == "3"
    assert scenario_number("3") == "3"
    assert scenario_number("10-x") == "10"
    assert scenario_number("odd") == "odd"


def test_text_is_freed_of_what_steers_a_terminal_or_breaks_a_file() -> None:
    assert clean("a\tb\nc é ✓ 日本") == "a\tb\nc é ✓ 日本"
    assert clean("\x1b[0m\x00\x9b\u202e\ud800\uffff") == "\ufffd[0m" + "\ufffd" * 5
