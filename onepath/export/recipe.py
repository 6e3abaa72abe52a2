"""The recipe: one YAML file that says what to build or train, how to merge it, and which bundles to make of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from onepath.contract.errors import RecipeError
from onepath.contract.manifest import BadPayloadRule, BundleName, Name
from onepath.contract.tensors import Closed
from onepath.export.recipe_bundles import BundleRecipe
from onepath.export.recipe_files import missing_files
from onepath.export.recipe_merges import MergeRecipe, ParentRecipe
from onepath.export.recipe_names import name_problems
from onepath.export.tolerances import Tolerances


class ModalityRecipe(Closed):
    """How a modality is decoded and whether a row may lack it; see `onepath.contract.manifest.ModalityEntry`.

    Attributes:
        kind: the plug-in that decodes it, of the group `onepath.modalities`: `audio`, `image`, `point_cloud`,
            `tabular`, `text`, `video`, or an installed one.
        settings: the plug-in's settings, such as sizes and rates.
        limits: what a payload may cost (bytes, pixels, seconds, characters); the plug-in's defaults where not given.
        absent: `required` fails a row that lacks the modality; otherwise the model says what its absence means, which
            the manifest records as `remerge` or `skip`.
        on_bad_payload: what a payload that cannot be decoded does: count as `absent`, or `fail` its row.
    """

    kind: str
    settings: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's settings_type
    limits: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's limits_type
    absent: Literal["allowed", "required"] = "allowed"
    on_bad_payload: BadPayloadRule = "absent"


class ExportRecipe(Closed):
    """How the graphs are exported.

    Attributes:
        max_batch_size: the most rows of one run.
        opset: ONNX operator set version.
        ir_version: ONNX file format version.
        probes_per_pattern: golden rows for each presence pattern.
    """

    max_batch_size: int = Field(default=32, ge=1, le=4096)
    opset: int = Field(default=20, ge=18, le=23)
    ir_version: int = Field(default=10, ge=8, le=12)
    probes_per_pattern: int = Field(default=2, ge=1, le=64)


class Recipe(Closed):
    """A recipe, from parents that are built or trained to the bundles.

    Attributes:
        name: what the recipe is called.
        description: one line for a person.
        task: what the models answer: `scores` of the labels, or an `embedding`.
        labels: one per class.
        seed: the seed of everything random.
        code: the Python file beside the recipe whose `train` function makes or trains models; it returns the held-out
            rows too.
        settings: free-form settings that are passed to that function.
        rows: without `code`, a Parquet or JSON Lines file of held-out rows to prove the bundles on, relative to the
            recipe: a column for each modality, and `target`, a label or its index.
        modalities: in the order of the presence columns.
        parents: name and how each model that is merged, or trained further, is built.
        merges: name and how each is made of parents and of merges above it, in this order.
        bundles: name of each bundle and how its model is made; the first is the recipe's main one.
        export: how the graphs are exported.
        tolerances: what each proof step may change, chosen before measuring.
        licence: SPDX expression of the weights' licence.
    """

    name: str = Field(pattern=BundleName)
    description: str = ""
    task: Literal["classification", "embedding"]
    labels: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)
    code: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)  # the training code's own
    rows: str | None = None
    modalities: dict[Annotated[str, Field(pattern=Name)], ModalityRecipe] = Field(min_length=1)
    parents: dict[Annotated[str, Field(pattern=Name)], ParentRecipe] = Field(default_factory=dict)
    merges: dict[Annotated[str, Field(pattern=Name)], MergeRecipe] = Field(default_factory=dict)
    bundles: dict[Annotated[str, Field(pattern=BundleName)], BundleRecipe] = Field(min_length=1)
    export: ExportRecipe = ExportRecipe()
    tolerances: Tolerances = Tolerances()
    licence: str = "Apache-2.0"

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        problems = name_problems(self)
        if problems:
            raise ValueError("\n".join(f"{path}: {problem}" for path, problem in problems))
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The names of parents and merges."""
        return (*self.parents, *self.merges)


def recipe_from_file(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Args:
        path: the file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or is not a recipe; every problem is listed with its path.
    """
    raw = _raw_from_file(path)
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(str(path), _problems(error, raw)) from error
    problems = missing_files(recipe, path.parent)
    if problems:
        raise RecipeError(str(path), problems)
    return recipe


def _raw_from_file(path: Path) -> dict[Any, Any]:  # YAML
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            str(path), [("", f"cannot be read ({error.strerror}); give the path of a recipe.yaml")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), [("", f"is not YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(raw, dict):
        raise RecipeError(str(path), [("", "is not a mapping with name, task, code, modalities and bundles")])
    return raw


def _problems(error: ValidationError, raw: dict[Any, Any]) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    for entry in error.errors():
        message = entry["msg"].removeprefix("Value error, ")
        where = _path(entry["loc"], raw)
        for line in message.splitlines():
            path, _, text = line.partition(": ") if not where else (where, "", line)
            problems.append((path, text) if text else ("", path))
    return list(dict.fromkeys(problems))


def _path(location: Sequence[int | str], raw: Any) -> str:  # raw: YAML
    """Return the path in the file; pydantic also names the alternative that it tried, which the file does not have."""
    parts: list[str] = []
    for index, part in enumerate(location):
        here = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and part in range(len(raw)))
        if here:
            raw = raw[part]
        if here or (index == len(location) - 1 and isinstance(raw, dict)):
            parts.append(str(part))
    return ".".join(parts)
