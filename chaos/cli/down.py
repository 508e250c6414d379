"""``lab down``: stop everything."""

from __future__ import annotations

import time

import click

from chaos.adapters.runstore import RunStore
from chaos.config import LabConfig
from chaos.stacks.embedded.stack import EmbeddedStack


@click.command(name="down")
def command() -> None:
    """Stop every daemon of this lab. Its data stays."""
    began = time.monotonic()
    config = LabConfig()
    if not config.state_dir.exists():
        click.echo(f"lab {config.id} was never started")
        return
    runs = RunStore(config.state_dir)
    runs.acquire()
    try:
        EmbeddedStack(config).down(click.echo)
    finally:
        runs.release()
    click.echo(f"lab {config.id} is down after {time.monotonic() - began:.1f} s")
