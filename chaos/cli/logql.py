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
from chaos.ports import LogLine
from chaos.wiring import open_lab

LINES_MAX = 5000
_ORIGIN = ("service_", "deployment_", "telemetry_", "scope_", "observed_", "severity_", "log_file_")
_SAID = frozenset({"event", "timestamp", "detected_level", "flags", "service", "instance", "level", "msg"})


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
        rows = [{"at_unix": line.at_unix, "line": line.text, "labels": dict(line.labels)} for line in lines]
        click.echo(json.dumps(rows, indent=2, sort_keys=True))
        return
    for line in lines:
        stamp = dt.datetime.fromtimestamp(line.at_unix, dt.UTC).strftime("%H:%M:%S.%f")[:-3]
        say(f"{stamp}  {line.labels.get('service_instance_id', ''):<9} {line.text}  {_keys(line)}".rstrip())
    if not lines:
        say(f"(no line in the last {since})")


def _keys(line: LogLine) -> str:
    """Return what a line carries beside its text; what says where it came from is left out."""
    return "  ".join(
        f"{key}={value}"
        for key, value in sorted(line.labels.items())
        if not key.startswith(_ORIGIN) and key not in _SAID and value != line.text
    )
