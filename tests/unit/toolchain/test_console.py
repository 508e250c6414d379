from __future__ import annotations

import io
import re

from rich.console import Console

from chaos.stacks.embedded.toolchain import Progress, console_report


def shown(*steps: Progress, terminal: bool = False) -> str:
    stream = io.StringIO()
    with console_report(Console(file=stream, force_terminal=terminal, width=200)) as report:
        for step in steps:
            report(step)
    return stream.getvalue()


def test_plain_lines_show_each_step_once_and_a_sign_of_life() -> None:
    building = "building with Go (first time, 2 to 8 min)"
    steps = [Progress(3, 6, "loki", building, 0)]
    steps += [Progress(3, 6, "loki", f"{building} … {second} s", second) for second in range(1, 46)]
    steps.append(Progress(3, 6, "loki", "3.7.8 from go, now cached", 46, "done"))
    assert shown(*steps).splitlines() == [
        f"[3/6] loki: {building}",
        f"[3/6] loki: {building} … 15 s",
        f"[3/6] loki: {building} … 30 s",
        f"[3/6] loki: {building} … 45 s",
        "[3/6] loki: 3.7.8 from go, now cached (done after 46 s)",
    ]


def test_what_was_in_place_already_is_not_worth_a_line() -> None:
    assert shown(Progress(1, 6, "nginx", "1.31.3 from wheel", 0, "done")) == ""


def test_what_is_missing_is_always_shown() -> None:
    line = shown(Progress(6, 6, "redis_exporter", "apt: closed", 3, "missing"))
    assert line == "[6/6] redis_exporter: apt: closed (missing after 3 s)\n"


def test_a_terminal_gets_bars_and_a_mark_at_the_end() -> None:
    output = shown(
        Progress(1, 1, "loki", "building", 0),
        Progress(1, 1, "loki", "3.7.8 from go", 9, "done"),
        terminal=True,
    )
    assert "✓" in output
    assert "[1/1] loki: 3.7.8 from go" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)
