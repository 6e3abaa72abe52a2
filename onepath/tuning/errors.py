"""The error of tuning."""

from __future__ import annotations

from onepath.contract.errors import OnepathError


class TuningError(OnepathError):
    """A tuning run that cannot start or go on, or that found no settings to choose; nothing was written to a bundle."""
