"""The ``lab`` command. Every module beside this one that has a ``command`` is a subcommand."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from pydantic import ValidationError

import chaos.cli
from chaos.config import LabConfig
from chaos.errors import ExitCode, LabError

_NOT_COMMANDS = frozenset({"main"})
CRASH_LOGS_KEPT_MAX = 20


class _Commands(click.Group):
    """Finds subcommands by their file. Only the one that is asked for is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        found = [
            module.name
            for module in pkgutil.iter_modules(chaos.cli.__path__)
            if not module.name.startswith("_") and module.name not in _NOT_COMMANDS
        ]
        return sorted(name.replace("_", "-") for name in found)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"chaos.cli.{cmd_name.replace('-', '_')}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else None


@click.group(name="lab", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """Break a real service on purpose, and judge whether the right person would have been told in time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        result = lab.main(args=arguments, prog_name="lab", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as error:
        return _code(error.code)
    except BaseException as error:  # noqa: BLE001 - the edge: whatever comes up has an exit code
        try:
            return _explain(error)
        except OSError:  # nobody is there to be told; Python's own 1 would say FAIL
            _be_quiet()
            return int(ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.ERROR)
    return _code(result)


def _be_quiet() -> None:
    """Let what is still buffered go nowhere, or flushing it at exit fails again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _explain(error: BaseException) -> int:
    """Tell the person what went wrong and return the exit code of it."""
    code = ExitCode.ERROR
    if isinstance(error, click.ClickException):
        error.show()
        code = ExitCode.USAGE
    elif isinstance(error, (KeyboardInterrupt, click.Abort)):
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    elif isinstance(error, LabError):
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    elif isinstance(error, ValidationError) and error.title == LabConfig.__name__:
        click.echo(_settings_message(error), err=True)
        code = ExitCode.USAGE
    elif isinstance(error, BrokenPipeError):
        # Whoever read the output has gone, so nobody has seen a verdict.
        _be_quiet()
    else:
        _crashed(error)
    return int(code)


def run() -> NoReturn:
    """Run as a program."""
    sys.exit(main())


def _code(result: object) -> int:
    return int(result) if isinstance(result, int) else int(ExitCode.PASS)


def _settings_message(error: ValidationError) -> str:
    lines = ["error: settings of the lab are wrong:"]
    for item in error.errors():
        name = "LAB_" + "_".join(str(part) for part in item["loc"]).upper()
        lines.append(f"  {name}={item['input']!r}: {item['msg']}")
    return "\n".join(lines)


def _crashed(error: BaseException) -> None:
    text = f"lab {' '.join(sys.argv[1:])}\npython {sys.version}\n\n" + "".join(
        traceback.format_exception(error)
    )
    try:
        path = _crash_log(text)
    except OSError:
        click.echo(text, err=True)
        path = None
    click.echo(f"error: unexpected {type(error).__name__}: {error}", err=True)
    if path is not None:
        click.echo(f"This is a defect of the lab. Its details, to paste into a report: {path}", err=True)


def _crash_log(text: str) -> Path:
    try:
        folder = LabConfig().state_dir / "logs"
    except ValidationError:
        folder = Path()
    if not folder.is_dir() or not os.access(folder, os.W_OK) or folder == Path():
        folder = Path(tempfile.gettempdir())
    descriptor, name = tempfile.mkstemp(prefix="lab-crash-", suffix=".log", dir=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    logs = sorted(folder.glob("lab-crash-*.log"), key=lambda log: log.stat().st_mtime)
    for old in logs[:-CRASH_LOGS_KEPT_MAX]:
        old.unlink(missing_ok=True)
    return Path(name)
