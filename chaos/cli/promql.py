"""``lab promql``: ask the lab's Prometheus, as a person on call would."""

from __future__ import annotations

import json

import click
from rich.table import Table

from chaos.adapters.prometheus import Prometheus
from chaos.cli.output import console, say
from chaos.wiring import open_lab

_NAME = "__name__"


@click.command()
@click.argument("expr")
@click.option("--json", "as_json", is_flag=True, help="Print labels, values and times as JSON.")
def command(expr: str, *, as_json: bool) -> None:
    """Evaluate EXPR now and print each series."""
    samples = Prometheus(open_lab().stack.topology.address("prometheus").url).query(expr)
    if as_json:
        rows = [{"labels": dict(s.labels), "value": s.value, "at_unix": s.at_unix} for s in samples]
        click.echo(json.dumps(rows, indent=2, sort_keys=True))
        return
    if not samples:
        say("(no series: the expression is not true of anything now)")
        return
    table = Table("series", "value", box=None, pad_edge=False, header_style="bold")
    for sample in sorted(samples, key=lambda s: sorted(s.labels.items())):
        pairs = ", ".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()) if k != _NAME)
        table.add_row(f"{sample.labels.get(_NAME, '')}{{{pairs}}}", f"{sample.value:.6g}")
    console().print(table)
