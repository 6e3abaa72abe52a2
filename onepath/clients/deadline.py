"""The time that a whole call may take, however many requests it makes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from onepath.contract.errors import DeadlineExceededError, RequestError


@dataclass(frozen=True)
class Deadline:
    """The moment by which an answer must have come.

    Attributes:
        address: whom the caller waits for, for the error's text.
        timeout_s: how long the caller was willing to wait.
        ends_at_s: the moment, on the clock of `time.monotonic`.
    """

    address: str
    timeout_s: float
    ends_at_s: float

    def left_s(self) -> float:
        """Return the seconds that are left, more than 0.

        Raises:
            DeadlineExceededError: none are left.
        """
        left = self.ends_at_s - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self) -> DeadlineExceededError:
        """Return the error that says that the answer did not come in time."""
        return DeadlineExceededError(self.address, self.timeout_s)


def deadline_from_timeout(address: str, timeout_s: float) -> Deadline:
    """Return the deadline that lies `timeout_s` seconds ahead.

    Raises:
        RequestError: the timeout is not a positive, finite number.
    """
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise RequestError(f"timeout_s is {timeout_s}; it must be a positive number of seconds", timeout_s=timeout_s)
    return Deadline(address=address, timeout_s=timeout_s, ends_at_s=time.monotonic() + timeout_s)
