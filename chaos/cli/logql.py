"""``lab logql``: ask the lab's Loki, as a person on call would."""

from __future__ import annotations

import datetime as dt
import json
import time

import click

from chaos.adapters.loki import Loki
from chaos.cli.output import say
from chaos.domain.durations import parse_duration_seconds
from chaos.errors import UsageError
from chaos.wiring import open_lab

LINES_MAX = 5000


@click.command()
@click.argument("query")
@click.option("--since", default="5m", show_default=True, help="How far back: 30s, 5m, 1h.")
@click.option("--limit", type=click.IntRange(1, LINES_MAX), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print times and lines as JSON.")
def command(query: str, since: str, limit: int, *, as_json: bool) -> None:
    """Print the newest lines QUERY finds; of a metric query, whether it is true now."""
    try:
        start = time.time() - parse_duration_seconds(since)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error
    loki = Loki(open_lab().stack.topology.address("loki").url)
    if not query.lstrip().startswith("{"):
        true = loki.truth(query, start)
        click.echo(json.dumps({"true": true}) if as_json else ("true" if true else "not true"))
        return
    lines = loki.lines(query, start, limit)
    if as_json:
        click.echo(json.dumps([{"at_unix": at, "line": line} for at, line in lines], indent=2))
        return
    for at, line in lines:
        say(f"{dt.datetime.fromtimestamp(at, dt.UTC).strftime('%H:%M:%S.%f')[:-3]}  {line}")
    if not lines:
        say(f"(no line in the last {since})")
