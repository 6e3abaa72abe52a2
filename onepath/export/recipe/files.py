"""The files that a recipe names, which lie beside it or at a place that it gives."""

from __future__ import annotations

from pathlib import Path

from onepath.contract.nearest import did_you_mean
from onepath.export.recipe.merges import CrossModalMerge
from onepath.export.recipe.parts import RecipeParts


def missing_files(recipe: RecipeParts, folder: Path) -> list[tuple[str, str]]:
    """Return a problem for each file that a recipe names and that is not there.

    Args:
        recipe: the recipe.
        folder: the recipe's own.
    """
    named = {**_code_files(recipe), **_data_files(recipe)}
    beside = sorted(path.name for path in folder.iterdir())
    return [
        (path, f"{name} is not a file beside the recipe{did_you_mean(name, beside)}")
        for path, name in named.items()
        if not ((folder / name).is_file() or (path.endswith(".weights") and (folder / name).is_dir()))
    ]


def _code_files(recipe: RecipeParts) -> dict[str, str]:
    code = {"code": recipe.code} if recipe.code is not None else {}
    return code | {f"parents.{name}.build": parent.build.partition(":")[0] for name, parent in recipe.parents.items()}


def _data_files(recipe: RecipeParts) -> dict[str, str]:
    rows = {"rows": recipe.rows} if recipe.rows is not None else {}
    weights = {f"parents.{name}.weights": p.weights for name, p in recipe.parents.items() if p.weights is not None}
    scales = {
        f"merges.{name}.checkpoint": merge.checkpoint
        for name, merge in recipe.merges.items()
        if isinstance(merge, CrossModalMerge) and merge.checkpoint is not None
    }
    return rows | weights | scales
