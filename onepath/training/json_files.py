"""Result files: JSON that is there completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onepath.contract.digests import canonical_json
from onepath.contract.publication import publish_file
from onepath.training.errors import TrainingError


def write_json(path: Path, value: Any) -> None:  # value: anything that JSON can hold
    """Write a JSON file in one step, also if the machine stops meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_file(path, canonical_json(value))


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, or None where there is no file.

    Raises:
        TrainingError: the file is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TrainingError(f"the result file {path}", f"it is not JSON ({error})", "remove it") from error
