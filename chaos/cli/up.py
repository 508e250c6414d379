"""``lab up``: start everything."""

from __future__ import annotations

import time

import click

from chaos.adapters.runstore import RunStore
from chaos.config import LabConfig
from chaos.stacks.embedded.stack import EmbeddedStack
from chaos.stacks.embedded.toolchain import console_report

_SHOWN = {"Service": "nginx", "Prometheus": "prometheus", "Alertmanager": "alertmanager", "Loki": "loki"}


@click.command(name="up")
def command() -> None:
    """Start every daemon and wait until all of them serve. Harmless when they do already."""
    began = time.monotonic()
    config = LabConfig()
    stack = EmbeddedStack(config)
    runs = RunStore(config.state_dir)
    runs.acquire()  # a run that holds this lab is not pulled away under itself
    try:
        with console_report() as report:
            stack.up(click.echo, report)
    finally:
        runs.release()
    for name, cost in stack.missing().items():
        click.echo(f"without {name}: {cost}")
    click.echo(f"lab {config.id} is up after {time.monotonic() - began:.1f} s")
    for title, name in _SHOWN.items():
        click.echo(f"  {title:13} {stack.topology.address(name).url}")
