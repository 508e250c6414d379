from __future__ import annotations

import io

import pytest
from rich.console import Console

from chaos.domain.run import DrillResult
from chaos.engine.report import render_text
from tests.support import report_samples as samples


def rendered(result: DrillResult, width: int = 100, *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else "auto"
    )
    render_text(result, console)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "result", [samples.passing(), samples.mixed(), samples.hostile()], ids=["passing", "mixed", "hostile"]
)
def test_no_line_but_the_verdict_is_wider_than_the_console(result: DrillResult, width: int) -> None:
    lines = rendered(result, width).splitlines()
    assert max(len(line) for line in lines[:-1]) <= width


def test_at_100_columns_no_name_is_folded() -> None:
    text = rendered(samples.passing())
    for variant in samples.passing().variants:
        assert variant.variant in text
        assert variant.detections[0].alert in text


@pytest.mark.parametrize("width", [80, 100])
def test_every_figure_and_leg_survives_wrapping(width: int) -> None:
    text = rendered(samples.passing(), width)
    for variant in samples.passing().variants:
        assert f"{variant.detections[0].total_seconds:.1f} s" in text
    for leg in ("scrape", "rule window", "for", "evaluation", "group_wait", "delivery"):
        assert leg in text


def test_the_last_line_is_the_verdict_alone() -> None:
    assert (
        rendered(samples.passing())
        .splitlines()[-1]
        .startswith("PASS scenario 3: 7 of 7 variants passed; seed 7")
    )
    last = rendered(samples.mixed(), 80).splitlines()[-1]
    assert last.startswith("ERROR scenario 3: 1 of 5 variants passed, 3 failed, 1 could not be judged")


def test_a_file_gets_no_control_characters_and_a_terminal_gets_colour() -> None:
    for result in (samples.mixed(), samples.hostile()):
        plain = rendered(result)
        assert not [char for char in plain if ord(char) < 32 and char != "\n"]
    assert "\x1b[" in rendered(samples.mixed(), terminal=True)


def test_hostile_text_neither_steers_the_terminal_nor_becomes_markup() -> None:
    text = rendered(samples.hostile(), 200, terminal=True)
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "[bold]" in text
    # The only red is ours: the hostile escape lost its first character.
    assert "\ufffd[31m" in text


def test_the_diagonal_is_true_and_what_is_wrong_shouts() -> None:
    good = [line.split() for line in rendered(samples.passing()).splitlines() if " true " in f"{line} "]
    rows = [words for words in good if words[0].isdigit()]
    assert [words.index("true") - 1 for words in rows] == [1, 2, 3, 4, 5, 6, 7]
    wrong = rendered(samples.mixed())
    (row,) = [line.split() for line in wrong.splitlines() if line.strip().startswith("3 wrong-port")]
    assert row[2:5] == ["-", "TRUE!", "FALSE!"]
    assert "2 wrong" in wrong
    assert "TRUE!" not in rendered(samples.passing())


def test_a_failed_check_says_what_to_do() -> None:
    text = rendered(samples.drill(samples.silent()))
    assert "FAIL expect: alert PostgresUnreachable: the deployed rules define no alert" in text
    assert "What to do: Open the alert's rule and its route" in text
    assert "none reached a receiver" in text


def test_an_unjudged_variant_says_why_and_has_no_evidence_table() -> None:
    text = rendered(samples.drill(samples.unjudged()))
    assert "the fault was never live" in text
    assert "ERROR Loki does not answer" in text
    assert "Evidence:" not in text
    assert "Legs of" not in text


def test_a_late_detection_is_named() -> None:
    assert "10.6 s late!" in rendered(samples.drill(samples.late()))
    assert "late!" not in rendered(samples.passing())


def test_nothing_judged_is_an_error() -> None:
    assert rendered(samples.drill()).splitlines()[-1].startswith("ERROR scenario 3: 0 of 0 variants passed")
