"""The recipe: one YAML file that says what to train, how to merge it, and which bundles to make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from onepath.contract.errors import RecipeError
from onepath.contract.manifest import BadPayloadRule, BundleName, Name, reserved_names
from onepath.contract.plugins import known_plugins
from onepath.contract.tensors import Closed
from onepath.export.tolerances import Tolerances


class ModalityRecipe(Closed):
    """How a modality is decoded and whether a row may lack it; see `onepath.contract.manifest.ModalityEntry`.

    Attributes:
        absent: `required` fails a row that lacks the modality; otherwise the model says what its absence means, which
            the manifest records as `remerge` or `skip`.
    """

    kind: str
    settings: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's settings_type
    limits: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's limits_type
    absent: Literal["allowed", "required"] = "allowed"
    on_bad_payload: BadPayloadRule = "absent"


class MergedBundle(Closed):
    """A bundle of blocks merged without training.

    Attributes:
        method: a plug-in of the group `onepath.merge_methods`.
        head: how the blocks' heads are merged.
        weights: modality to its weight; equal where not given.
    """

    model: Literal["merged"]
    method: str = "harmonic"
    head: Literal["slerp", "linear"] = "slerp"
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)


class FusedBundle(Closed):
    """A bundle of a fused and fine-tuned model: `source` names one of those that the training code hands over."""

    model: Literal["fused"]
    source: str


class EncoderBundle(Closed):
    """A bundle of one single-modality encoder: `source` is the modality."""

    model: Literal["encoder"]
    source: str


BundleRecipe = Annotated[MergedBundle | FusedBundle | EncoderBundle, Field(discriminator="model")]


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
    """A recipe, from the training of the parents to the bundles.

    Attributes:
        name: what the recipe is called.
        description: one line for a person.
        task: what the models answer.
        labels: one per class.
        seed: the seed of everything random.
        code: the Python file beside the recipe whose `train` function makes the parents.
        settings: free-form settings that are passed to that function.
        modalities: in the order of the presence columns.
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
    code: str
    settings: dict[str, Any] = Field(default_factory=dict)  # the training code's own
    modalities: dict[Annotated[str, Field(pattern=Name)], ModalityRecipe] = Field(min_length=1)
    bundles: dict[Annotated[str, Field(pattern=BundleName)], BundleRecipe] = Field(min_length=1)
    export: ExportRecipe = ExportRecipe()
    tolerances: Tolerances = Tolerances()
    licence: str = "Apache-2.0"

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        kinds, methods = known_plugins("onepath.modalities"), known_plugins("onepath.merge_methods")
        problems = [
            f"modalities.{name}.kind: {modality.kind!r} is not installed; known: {', '.join(kinds)}"
            for name, modality in self.modalities.items()
            if modality.kind not in kinds
        ]
        for name in reserved_names(self.modalities) & set(self.modalities):
            problems.append(f"modalities.{name}: the name is taken by a tensor or model of every pipeline")
        for name, bundle in self.bundles.items():
            if isinstance(bundle, MergedBundle):
                problems += [
                    f"bundles.{name}.method: {bundle.method!r} is not installed; known: {', '.join(methods)}"
                ] * (bundle.method not in methods)
                problems += [
                    f"bundles.{name}.weights.{modality}: is not one of the modalities"
                    for modality in set(bundle.weights) - set(self.modalities)
                ]
            if isinstance(bundle, EncoderBundle) and bundle.source not in self.modalities:
                problems.append(f"bundles.{name}.source: {bundle.source!r} is not one of the modalities")
        if self.task == "classification" and not self.labels:
            problems.append("labels: a classification needs its labels")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def recipe_from_file(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Args:
        path: the file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or is not a recipe; every problem is listed with its path.
    """
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
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(str(path), _problems(error)) from error
    if not (path.parent / recipe.code).is_file():
        raise RecipeError(str(path), [("code", f"{recipe.code} is not a file beside the recipe")])
    return recipe


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    for entry in error.errors():
        message = entry["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in entry["loc"])
        for line in message.splitlines():
            path, _, text = line.partition(": ") if not where else (where, "", line)
            problems.append((path, text) if text else ("", path))
    return problems
