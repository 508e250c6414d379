"""``lab doctor``: what this machine has, what is missing, and what that costs."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from chaos.config import LabConfig
from chaos.errors import ExitCode, ToolchainError
from chaos.stacks.embedded.doctor import Check, DoctorReport, examine
from chaos.stacks.embedded.toolchain import ALL_TOOLS, ToolchainSettings, console_report, resolve_all
from chaos.stacks.embedded.toolchain.inspection import discard_spoiled

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--get", "get", is_flag=True, help="First get every program that is not here yet.")
def command(*, as_json: bool, get: bool) -> None:
    """Say what of the lab can run on this machine, and what to do about the rest."""
    config = LabConfig()
    if get:
        _get(config)
    report = examine(config)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)
    if report.status == "fail":
        raise SystemExit(int(ExitCode.ERROR))


def _get(config: LabConfig) -> None:
    # What could not be had a moment ago is worth another try when a person asks for it.
    settings = ToolchainSettings.load().model_copy(update={"missing_retry_seconds": 0.0})
    for name in discard_spoiled(config):
        click.echo(f"{name}: its program in the cache was not what was recorded; removed", err=True)
    with console_report() as report:
        try:
            resolve_all(ALL_TOOLS, config, report, settings)
        except ToolchainError as error:
            click.echo(str(error), err=True)


def _show(report: DoctorReport) -> None:
    console = Console()
    if not console.is_terminal:
        for check in report.checks:
            remedy = f" -> {check.remedy}" if check.remedy else ""
            click.echo(f"{check.status:4}  {check.name}: {check.detail}{remedy}")
        click.echo(_counts(report))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in report.checks:
        colour = _COLOURS[check.status]
        table.add_row(f"[{colour}]{check.status}[/]", check.name, _text(check))
    console.print(table)
    console.print(_counts(report), style=_COLOURS[report.status], highlight=False)


def _counts(report: DoctorReport) -> str:
    return ", ".join(
        f"{sum(check.status == status for check in report.checks)} {status}" for status in _COLOURS
    )


def _text(check: Check) -> str:
    detail = check.detail.replace("[", r"\[")
    return f"{detail}\n[bold]{check.remedy}[/]" if check.remedy else detail
