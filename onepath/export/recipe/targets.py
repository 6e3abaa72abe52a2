"""Whether a recipe's target profiles are known, and can read the versions that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.targets.profiles import targets_from_names
from onepath.export.targets.versions import versions_for


def target_problems(targets: Sequence[str], *, opset: int | None, ir_version: int | None) -> list[tuple[str, str]]:
    """Return what is wrong with the targets and versions of a recipe's `export`, each with its path in the recipe.

    >>> target_problems(["embedded"], opset=None, ir_version=None)
    []
    """
    try:
        profiles = targets_from_names(targets)
    except UnsupportedModuleError as error:
        return [("export.targets", str(error))]
    try:
        versions_for(profiles, opset=opset, ir_version=ir_version)
    except UnsupportedModuleError as error:
        field = "opset" if str(error).startswith("cannot use opset") else "ir_version"
        return [(f"export.{field}", str(error))]
    return []
