"""The shell script that starts every program, and the overrides a fault may lay over its environment.

A shell starts in 2 ms; an interpreter per program would cost a second of a warm start.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import time
from collections.abc import Iterable, Mapping

from chaos.errors import StackError
from chaos.stacks.embedded.daemon import Daemon
from chaos.stacks.embedded.layout import (
    Layout,
    env_lines,
    parse_env_lines,
    sync_directory,
    write_durably,
)

DELAY = "LAUNCH_DELAY_SECONDS"
END_AFTER = "LAUNCH_END_AFTER_SECONDS"

_READ_ATTEMPTS_MAX = 20
_READ_PAUSE_SECONDS = 0.05

# `ps` shows the time limit of a restart loop. So would any real one (a job's limit, an OOM killer's log), and
# a shell that kills from beside could outlive its program and hit another; so it stays.
_SCRIPT = r"""#!/bin/sh
# launch.sh NAME: run one program of the lab with its environment and the overrides a fault laid over it.
# exec keeps the pid, so that the pid recorded here is the program's own.
set -eu
name=$1
state=${0%/conf/*}
. "$state/conf/programs/$name.sh"
json= delay= end_after=
if [ -r "$state/overrides/$name.env" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        key=${line%%=*} value=${line#*=}
        case $key in
            '' | *[!A-Za-z0-9_]* | [0-9]*) continue ;;
            LAUNCH_DELAY_SECONDS) delay=$value ;;
            LAUNCH_END_AFTER_SECONDS) end_after=$value ;;
            *) export "$key=$value" ;;
        esac
        escaped=$(printf '%s' "$value" | sed 's/[\\"]/\\&/g')
        json="$json${json:+, }\"$key\": \"$escaped\""
    done < "$state/overrides/$name.env"
fi
printf '{"pid": %s, "started_unix": %s, "overrides": {%s}}\n' "$$" "$(date +%s)" "$json" \
    > "$state/launched/$name.json"
if [ -n "$delay" ]; then sleep "$delay"; fi
if [ -n "$end_after" ]; then exec timeout -s QUIT "$end_after" "$@"; fi
exec "$@"
"""


def render(layout: Layout, daemons: Iterable[Daemon]) -> None:
    """Write the launcher and one script per program."""
    write_durably(layout.conf / "launch.sh", _SCRIPT)
    members = list(daemons)
    kept = {f"{daemon.name}.sh" for daemon in members}
    for stale in layout.programs.iterdir():
        if stale.name not in kept:
            stale.unlink()
    for daemon in members:
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(daemon.env.items()))
        command = "set -- " + " ".join(shlex.quote(str(part)) for part in daemon.command) + "\n"
        (layout.programs / f"{daemon.name}.sh").write_text(exports + command, "utf-8")
        _prepare(layout, daemon)


def _prepare(layout: Layout, daemon: Daemon) -> None:
    # A program that runs as another user can neither make its working directory nor its record.
    directory = layout.data / daemon.name
    record = layout.launched / f"{daemon.name}.json"
    directory.mkdir(exist_ok=True)
    record.touch()
    if daemon.user:
        owner = pwd.getpwnam(daemon.user)
        for path in (directory, record):
            os.chown(path, owner.pw_uid, owner.pw_gid)


def set_override(layout: Layout, program: str, env: Mapping[str, str]) -> None:
    """Lay ``env`` over a program's environment from its next start on. Nothing is restarted."""
    if not (layout.programs / f"{program}.sh").exists():
        raise StackError(f"this lab has no program {program!r}. Run `lab status` for their names.")
    if not env:
        raise StackError("an override needs at least one variable. Use clear_overrides to remove one.")
    write_durably(layout.overrides / f"{program}.env", env_lines(env))


def overrides(layout: Layout) -> dict[str, dict[str, str]]:
    """Return what lies over which program."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(layout.overrides.glob("*.env")):
            found[path.stem] = parse_env_lines(path.read_text("utf-8"))
    return found


def clear_overrides(layout: Layout) -> tuple[str, ...]:
    """Remove every override; return the programs that had one."""
    names = tuple(overrides(layout))
    if layout.overrides.is_dir():
        for leftover in layout.overrides.iterdir():
            leftover.unlink(missing_ok=True)
        sync_directory(layout.overrides)
    return names


def launched(layout: Layout, program: str) -> tuple[int | None, dict[str, str]]:
    """Return pid and overrides that the launcher recorded at the program's last start."""
    path = layout.launched / f"{program}.json"
    for _attempt in range(_READ_ATTEMPTS_MAX):
        try:
            text = path.read_text("utf-8")
            if not text:
                return None, {}
            record = json.loads(text)
            return int(record["pid"]), {str(k): str(v) for k, v in record["overrides"].items()}
        except FileNotFoundError:
            return None, {}
        except ValueError:  # caught in the middle of being written
            time.sleep(_READ_PAUSE_SECONDS)
    raise StackError(f"{path} is damaged. Restart {program} with `lab heal`.")
