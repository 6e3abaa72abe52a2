"""Holding back Ctrl-C and SIGTERM while a process is started, so that none is started and forgotten."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """A context in which signals are noted; `release` lets them through, and so does the end of the context.

    Only the main thread may handle signals; in another one nothing is held back, and none arrives there.
    """

    def __init__(self) -> None:
        self._noted: list[int] = []
        self._usual: dict[int, signal.Handlers] = {}

    def __enter__(self) -> HeldSignals:
        """Begin to hold signals back."""
        if threading.current_thread() is threading.main_thread():
            self._usual = {number: signal.signal(number, self._note) for number in _HELD}  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        """Let them through, unless that was done."""
        self.release()

    def release(self) -> None:
        """Restore the usual handlers, and raise the signals that came in the meantime."""
        usual, self._usual = self._usual, {}
        for number, handler in usual.items():
            if handler is not None:  # one that was not set by Python, which cannot be set again by it
                signal.signal(number, handler)
        noted, self._noted = self._noted, []
        for number in dict.fromkeys(noted):
            signal.raise_signal(number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
