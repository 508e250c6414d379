"""The report on a terminal. Without one it is plain text: no colour, no control characters."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.domain.run import DrillResult, VariantResult
from chaos.domain.verdict import Verdict
from chaos.engine.report.crosstable import Cell, CrossTable, cross_table
from chaos.engine.report.wording import advice, headline, one_line, placing, scenario_number, seconds, span

STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.ERROR: "bold magenta"}
# Words rather than colours: a log file must say the same as a terminal.
CELLS = {
    Cell.TRUE: ("true", "green"),
    Cell.QUIET: ("-", "dim"),
    Cell.MISSING: ("FALSE!", "bold red"),
    Cell.STRAY: ("TRUE!", "bold red"),
    Cell.UNKNOWN: ("?", "yellow"),
}


def render_text(result: DrillResult, console: Console) -> None:
    """Print the whole report; the last line is the verdict."""
    console.print()
    console.print(
        _words(f"Scenario {scenario_number(result.scenario)}: {result.title}", "bold"),
        soft_wrap=False,
    )
    console.print()
    console.print(_summary(result))
    legs = _legs(result)
    if legs.row_count:
        console.print(legs)
    table = cross_table(result)
    if table.judged:
        _print_crosstable(table, console)
    _print_failures(result, console)
    console.print(_words(headline(result), STYLES[result.verdict]), soft_wrap=True)


def _words(text: str, style: str = "") -> Text:
    # Text, not markup: a title may hold square brackets.
    return Text(one_line(text), style=style, overflow="fold")


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Variant", overflow="fold", min_width=12)
    return table


def _summary(result: DrillResult) -> Table:
    table = _table("Detection, from the fault being live to the notification")
    table.add_column("Alert", overflow="fold", min_width=10)
    for name in ("Measured", "Floor", "Ceiling"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for variant in result.variants:
        _summarise(variant, table)
    return table


def _summarise(variant: VariantResult, table: Table) -> None:
    verdict = _words(str(variant.verdict), STYLES[variant.verdict])
    if not variant.detections:
        words = "the fault was never live" if variant.fault_unix is None else "none reached a receiver"
        table.add_row(_words(variant.variant), _words(words), "-", "-", "-", verdict)
        return
    for number, detection in enumerate(variant.detections):
        place = placing(detection)
        measured = seconds(detection.total_seconds) + ("" if place == "in range" else f" {place}!")
        table.add_row(
            _words(variant.variant if number == 0 else ""),
            _words(detection.alert),
            _words(measured, "" if place == "in range" else "bold red"),
            seconds(detection.floor_seconds),
            seconds(detection.ceiling_seconds),
            verdict if number == 0 else "",
        )


def _legs(result: DrillResult) -> Table:
    table = _table("Legs of each detection")
    table.add_column("Leg", overflow="fold", min_width=10)
    table.add_column("Measured", justify="right", no_wrap=True)
    table.add_column("Floor to ceiling", justify="right", no_wrap=True)
    for variant in result.variants:
        for detection in variant.detections:
            several = len(variant.detections) > 1
            label = f"{variant.variant} ({detection.alert})" if several else variant.variant
            for number, leg in enumerate(detection.legs):
                table.add_row(
                    _words(label if number == 0 else ""),
                    _words(leg.name),
                    seconds(leg.measured_seconds),
                    span(leg.floor_seconds, leg.ceiling_seconds),
                )
            table.add_section()
    return table


def _print_crosstable(cross: CrossTable, console: Console) -> None:
    table = _table("Evidence: rows are what was broken, columns whose evidence was true")
    for number in range(1, len(cross.columns) + 1):
        table.add_column(str(number), justify="center", no_wrap=True)
    for row in cross.rows:
        label = row.label if row.index is None else f"{row.index + 1} {row.label}"
        table.add_row(_words(label), *(Text(*CELLS[cell]) for cell in row.cells))
    console.print(table)
    absent = [
        f"{number} {name}"
        for number, name in enumerate(cross.columns, 1)
        if name not in {row.label for row in cross.rows}
    ]
    if absent:
        console.print(_words(f"Columns of variants that did not run: {', '.join(absent)}", "dim"))
    if cross.wrong:
        console.print(
            _words(f"{cross.wrong} wrong: evidence is true where it must not be, or not where it must.")
        )
    if absent or cross.wrong:
        console.print()


def _print_failures(result: DrillResult, console: Console) -> None:
    for variant in result.variants:
        failed = [check for check in variant.checks if check.verdict is not Verdict.PASS]
        if variant.error is None and not failed:
            continue
        console.print(_words(f"{variant.variant}: {variant.verdict}", STYLES[variant.verdict]))
        if variant.error is not None:
            console.print(_indent(f"ERROR {variant.error}"))
        for check in failed:
            console.print(_indent(f"{check.verdict} {check.group}: {check.name}: {check.detail}"))
            console.print(_indent(f"What to do: {advice(check)}", width=4))
        console.print()


def _indent(text: str, width: int = 2) -> Table:
    # A grid keeps the indentation on wrapped lines too.
    grid = Table.grid(padding=0)
    grid.add_column(width=width)
    grid.add_column(overflow="fold")
    grid.add_row("", _words(text))
    return grid
