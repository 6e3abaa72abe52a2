"""A child process that cannot outlive this one, with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from onepath.contract.errors import ServerUnavailableError

_GUARD = Path(__file__).with_name("guarded.py")


class ServerProcess:
    """A running program and the thread that started it and waits for it.

    Linux reports the end of a parent when the *thread* that started the child ends, so that one thread lives exactly
    as long as the child.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        log: the file that gets both of its outputs.

    Raises:
        ServerUnavailableError: the program could not be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.command, self.environment, self.log = command, environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: OSError | None = None
        self._lock = threading.Lock()
        self._started, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._keep, name="tritonserver", daemon=True).start()
        self._started.wait()
        if self._problem is not None:
            raise ServerUnavailableError(f"cannot start {command[0]}: {self._problem}") from self._problem

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for the signal that ended it; None while it runs."""
        return self._child.returncode

    def wait(self, timeout_s: float) -> bool:
        """Return whether it ended within the time."""
        return self._ended.wait(timeout_s)

    def end(self, timeout_s: float) -> bool:
        """Ask it to end, and end it by force after the time; return whether asking was enough."""
        self._send(signal.SIGTERM)
        asked = self.wait(timeout_s)
        self._send(signal.SIGKILL)
        self._ended.wait()
        return asked

    @property
    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerUnavailableError(f"{self.command[0]} was not started")
        return self._process

    def _keep(self) -> None:
        guarded = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *self.command]
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    guarded,
                    env=dict(self.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in a terminal is for this process, which then drains the server
                )
        except OSError as error:
            self._problem = error
            self._started.set()
            return
        self._started.set()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            # Until it is reaped, its number is nobody else's, and that of the group of its own children.
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self._ended.set()

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            if self.running:
                os.kill(self.pid, number)
