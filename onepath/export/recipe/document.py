"""What a recipe may say: its sections, and the modalities and export settings in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from onepath.contract.manifest import BundleName, Name
from onepath.contract.tensors import Closed
from onepath.export.recipe.bundles import BundleRecipe
from onepath.export.recipe.collapse_rules import opt_in_problems
from onepath.export.recipe.files import missing_files
from onepath.export.recipe.gate_problems import gates_problems
from onepath.export.recipe.gates import Gates
from onepath.export.recipe.merges import MergeRecipe, ParentRecipe
from onepath.export.recipe.modalities import ModalityRecipe, settings_problems
from onepath.export.recipe.names import name_problems
from onepath.export.recipe.precision import PrecisionPlan, precision_problems
from onepath.export.recipe.targets import target_problems
from onepath.export.targets.profiles import DEFAULT_TARGETS
from onepath.export.tolerances import Tolerances


class ExportRecipe(Closed):
    """How the graphs are exported.

    Attributes:
        max_batch_size: the most rows of one run.
        targets: profiles of the servers that must be able to load the graphs, such as `triton-25.08`, or `embedded`.
        opset: ONNX operator set version; the highest that every target reads unless given.
        ir_version: ONNX file format version; the highest that every target reads unless given.
        also_collapse: names of exact collapse rules to apply besides those that always are, such as
            `norm_into_linear`.
        precision: the graphs that are wanted beside the float32 one: a word (`int8`, `fp16`, `bf16`), or a list of
            words and mappings. Each must pass its gate, and is deployed only where it pays.
        probes_per_pattern: golden rows for each presence pattern.
        report_rows: the most held-out rows that the robustness report is made of.
    """

    max_batch_size: int = Field(default=32, ge=1, le=4096)
    targets: tuple[str, ...] = Field(default=DEFAULT_TARGETS, min_length=1)
    opset: int | None = Field(default=None, ge=18)
    ir_version: int | None = Field(default=None, ge=8)
    also_collapse: tuple[str, ...] = ()
    precision: PrecisionPlan = "fp32"
    probes_per_pattern: int = Field(default=2, ge=1, le=64)
    report_rows: int = Field(default=1000, ge=1, le=1_000_000)


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
        gates: how good the bundles must be with each presence pattern, chosen before measuring.
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
    gates: Gates = Gates()
    licence: str = "Apache-2.0"

    @model_validator(mode="after")
    def _holds_together(self, info: ValidationInfo) -> Recipe:
        problems = name_problems(self)
        problems += opt_in_problems(self.export.also_collapse)
        problems += precision_problems(self.export.precision, [*self.modalities])
        problems += target_problems(self.export.targets, opset=self.export.opset, ir_version=self.export.ir_version)
        if not problems:
            problems = gates_problems(self.gates, self)
        if info.context is not None:  # the folder of a recipe that is a file
            problems += [*missing_files(self, info.context), *settings_problems(self.modalities)]
        if problems:
            raise ValueError("\n".join(f"{path}: {problem}" for path, problem in problems))
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The names of parents and merges."""
        return (*self.parents, *self.merges)
