"""``lab report``: draw a kept report again."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from chaos.config import LabConfig
from chaos.engine.report import find_report, read_report, render_text, to_html, to_json, write_atomically
from chaos.errors import LabError

PLAIN_WIDTH = 100  # a pipe or a file has no width of its own


@click.command("report")
@click.argument("report", required=False, metavar="[FILE_OR_RUN_ID]")
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path, dir_okay=False), help="Also write the page here."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(report: str | None, html_path: Path | None, as_json: bool) -> None:  # noqa: FBT001 click names it
    """Draw the newest report again, or the one of a file, a folder or a run id.

    The exit code says whether there was a report to draw, not what its verdict was:
    0 drawn, 2 no such report, 3 not readable.
    """
    try:
        result = read_report(find_report(LabConfig().state_dir, report))
        if html_path is not None:
            _write_page(html_path, to_html(result))
    except LabError as error:
        click.echo(f"error: {error}", err=True)
        raise click.exceptions.Exit(int(error.exit_code)) from error
    if as_json:
        click.echo(to_json(result), nl=False)
        return
    console = Console()
    render_text(result, console if console.is_terminal else Console(width=PLAIN_WIDTH))


def _write_page(path: Path, page: str) -> None:
    try:
        write_atomically(path, page)
    except OSError as error:
        raise LabError(
            f"{path} cannot be written: {error.strerror}. Name a file in a folder that exists."
        ) from error
