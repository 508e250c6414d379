"""``lab up``: start everything."""

from __future__ import annotations

import time

import click

from chaos.cli.running import bring_up, lab_with_room
from chaos.stacks.embedded.toolchain import console_report
from chaos.wiring import open_session

_SHOWN = {"Service": "nginx", "Prometheus": "prometheus", "Alertmanager": "alertmanager", "Loki": "loki"}


@click.command(name="up")
def command() -> None:
    """Start every daemon and wait until all of them serve. Harmless when they do already."""
    began = time.monotonic()
    lab = lab_with_room()
    stack = lab.stack
    lock_fd = lab.runs.acquire()  # a run that holds this lab is not pulled away under itself
    try:
        if bring_up(lab, open_session(lab, lock_fd, click.echo), click.echo):
            with console_report() as report:
                stack.up(click.echo, report)  # what was stopped is started again
    finally:
        lab.runs.release()
    for name, cost in stack.missing().items():
        click.echo(f"without {name}: {cost}")
    click.echo(f"lab {lab.config.id} is up after {time.monotonic() - began:.1f} s")
    for title, name in _SHOWN.items():
        click.echo(f"  {title:13} {stack.topology.address(name).url}")
