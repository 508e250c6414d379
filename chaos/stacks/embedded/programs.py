"""The stack's programs as processes of this machine, each proven to be this lab's before it is touched."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from chaos.domain.journal import ProcessRef
from chaos.errors import StackError
from chaos.stacks.embedded import processes
from chaos.stacks.embedded.stack import EmbeddedStack


class Programs:
    """Processes by program name."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack = stack

    def _find(self, name: str) -> psutil.Process:
        return self._stack.supervisor.process(name, self._stack.config.id, self._stack.layout.root)

    def process(self, name: str) -> ProcessRef:
        """Return a program's process; raise when it does not run."""
        found = self._find(name)
        try:
            return ProcessRef(found.pid, found.create_time())
        except psutil.Error as error:
            raise StackError(f"{name} has just ended. Try again.") from error

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a program."""
        self._stack.signal(name, signum)

    def is_stopped(self, name: str) -> bool:
        """Return whether the kernel says that somebody stopped the program."""
        return processes.is_stopped(self._find(name))

    def usage(self, name: str) -> Mapping[str, int]:
        """Return open files and threads of a program."""
        found = self._find(name)
        try:
            return {"files": found.num_fds(), "threads": found.num_threads()}
        except psutil.Error as error:
            raise StackError(f"{name} cannot be looked at: {error}. Try again.") from error
