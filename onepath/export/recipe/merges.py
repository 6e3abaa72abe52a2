"""What a recipe says of parents and merges: models built beside it, pathways between them, sums of their weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag

from onepath.contract.tensors import Closed
from onepath.merging.reparameterization import Depth, PairingOptions, Role, ScalePer

CROSS_MODAL = "cross_modal"
Coefficient = Annotated[float, Field(allow_inf_nan=False)]


class ParentRecipe(Closed):
    """A model to merge: a function beside the recipe builds it, and a file may hold its weights.

    Attributes:
        build: `file.py:function`, with the file beside the recipe. The function is called with `settings` and returns
            the model; what torch draws in it depends on the recipe's seed and the parent's name.
        settings: free-form settings that are passed to that function.
        weights: a safetensors file, or a folder of them with an index as Hugging Face writes it, relative to the
            recipe. It must fit the model exactly. Without it, the model stays as it was built.
    """

    build: str = Field(pattern=r"^[A-Za-z_]\w*\.py:[A-Za-z_]\w*$")
    settings: dict[str, Any] = Field(default_factory=dict)  # the builder's own
    weights: str | None = None


class AuxiliaryRecipe(Closed):
    """One auxiliary model of a cross-modal merge.

    Attributes:
        model: a parent, or a merge above this one.
        layers: which layers get its weights: names of the target's, where `*` stands for anything, or a mapping from
            target layer to auxiliary layer, where `{i}` stands for every block index. Without it, every linear layer
            of the blocks, paired by what it does there.
        roles: of the blocks' layers, only these; the models' families must be known.
        depth: how blocks are paired where the two models have a different number of them: refused (`same`), or by one
            of the policies, or a mapping from the target's block to the auxiliary's.
        target_blocks: path of the target's list of blocks, where it has several.
        auxiliary_blocks: path of the auxiliary's list of blocks, where it has several.
        biases: whether biases are merged too, by the scale of their layer's weight.
        scale_per: how many λ the queries, keys and values of a block have.
        strict: refuse what is otherwise warned of, such as attention with another number of heads.
        scales: λ: one number, or a mapping from layer pattern to number, the first match counting. Without it, λ is 0
            until the training code trains it.
    """

    model: str
    layers: tuple[str, ...] | dict[str, str] | None = None
    roles: tuple[Role, ...] | None = None
    depth: Depth = "same"
    target_blocks: str | None = None
    auxiliary_blocks: str | None = None
    biases: bool = False
    scale_per: ScalePer = "layer"
    strict: bool = False
    scales: Coefficient | dict[str, Coefficient] | None = None

    @property
    def pairing(self) -> PairingOptions:
        """What the recipe says of the pairing besides the layers."""
        given = self.model_fields_set & set(PairingOptions.__annotations__)
        return cast(PairingOptions, {name: getattr(self, name) for name in sorted(given)})


class CrossModalMerge(Closed):
    """A model whose weights get a second path through the weights of others (M2PT), collapsed by the build.

    Attributes:
        method: `cross_modal`.
        target: the parent, or the merge above this one, that is extended. It stays as it is; the merge is a copy.
        auxiliaries: the models whose weights are added, attached one after the other.
        checkpoint: a light checkpoint (safetensors, relative to the recipe) of trained scales; it holds the layers too,
            so that the auxiliaries are only named.
        training: whether training code trains the auxiliaries' weights too, or the scales alone.
    """

    method: Literal["cross_modal"]
    target: str
    auxiliaries: tuple[AuxiliaryRecipe, ...] = Field(min_length=1)
    checkpoint: str | None = None
    training: Literal["trainable", "frozen"] = "trainable"


class ScopeRecipe(Closed):
    """What is different for some of the tensors.

    Attributes:
        pattern: tensor names, where `*` stands for anything; the first scope that matches a tensor counts.
        method: another method for them, or `keep:<model>` to take one model's tensors as they are.
        weights: other weights for them.
        options: other options for them.
    """

    pattern: str = Field(min_length=1)
    method: str | None = None
    weights: dict[str, Coefficient] | None = None
    options: dict[str, Any] | None = None  # the method's own


class WeightMerge(Closed):
    """A model whose weights are made of those of models of the same form; nothing is trained.

    Attributes:
        method: a plug-in of the group `onepath.weight_merges`: `linear`, `slerp`, `task_arithmetic`, `ties`,
            `dare_linear`, `dare_ties`, or an installed one.
        models: parents, or merges above this one, and their weights.
        base: the model that the others were fine-tuned from, for methods that merge differences.
        options: the method's own, such as `density`.
        scope: exceptions for some tensors.
    """

    method: str = Field(json_schema_extra={"not": {"const": CROSS_MODAL}})
    models: dict[str, Coefficient] = Field(min_length=1)
    base: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)  # the method's own
    scope: tuple[ScopeRecipe, ...] = ()


def _form(raw: Any) -> str:  # raw: a mapping as read, or a model
    method = raw.get("method") if isinstance(raw, dict) else getattr(raw, "method", None)
    return CROSS_MODAL if method == CROSS_MODAL else "weights"


MergeRecipe = Annotated[
    Annotated[CrossModalMerge, Tag(CROSS_MODAL)] | Annotated[WeightMerge, Tag("weights")], Discriminator(_form)
]


def sources_of(merge: CrossModalMerge | WeightMerge) -> list[tuple[str, str]]:
    """Return the models that a merge is made of, each once, with the place in the recipe that names it."""
    if isinstance(merge, CrossModalMerge):
        named = [("target", merge.target)]
        return named + [(f"auxiliaries.{i}.model", auxiliary.model) for i, auxiliary in enumerate(merge.auxiliaries)]
    named = [("base", merge.base)] if merge.base is not None else []
    return named + [(f"models.{name}", name) for name in merge.models if name != merge.base]
