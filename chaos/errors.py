"""Errors of the lab. A class docstring is the default message and ends with what to do."""

from __future__ import annotations

import enum
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """Exit codes of ``lab``. GNU make turns every failure into 2, so targets print them."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    ERROR = 3
    INTERRUPTED = 130


class LabError(Exception):
    """The lab could not do what was asked. Run `lab doctor` to see what is missing."""

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class UsageError(LabError):
    """The command was not understood. Run `lab --help`."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class LabBusyError(LabError):
    """Another run holds this lab. Wait for it, or end it with `lab heal`."""


class StackError(LabError):
    """The stack is not in the state this needs. Run `lab status`, then `lab logs NAME`."""


class ToolchainError(LabError):
    """A daemon's program could not be had. Run `lab doctor` to see what was tried."""


class PortTakenError(LabError):
    """A port of this lab is taken. End its owner, or choose another block with LAB_PORT_BASE."""


class DiskFullError(LabError):
    """Too little disk space is left. Free some, or move the state with LAB_STATE_ROOT."""


class AdapterError(LabError):
    """A daemon did not answer as its API promises. Run `lab status`."""


class RunTooLongError(LabError):
    """The run passed its limit and was ended. Look at what it waited for, or raise limits.max_duration."""


class RunInterruptedError(KeyboardInterrupt):
    """The run was interrupted, and what it broke was healed. No ``except Exception`` swallows it."""
