"""What the bundles of a recipe are made of: the models that it makes, and what its training code made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from torch import nn

from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.proofs import ProofStep
from onepath.export.models.made import MadeModel, made_again, merged_measurements, merged_parents
from onepath.export.proofs import digest_from_model
from onepath.export.recipe import Recipe
from onepath.export.recipe.merges import sources_of
from onepath.export.trained import Trained
from onepath.merging.multimodal import MultimodalModel

LINT_REPORT = "reports/lint.json"
MERGE_REPORT = "reports/merges.json"


@dataclass(frozen=True)
class Sources:
    """The models that bundles are made of.

    Attributes:
        trained: what the training code returned, or a file of held-out rows.
        made: the recipe's parents and merges, by name.
    """

    trained: Trained
    made: Mapping[str, MadeModel] = field(default_factory=dict)

    def encoder(self, source: str) -> nn.Module:
        """Return a parent or merge, or else the encoder that was trained under this name."""
        return self.made[source].model if source in self.made else self.trained.encoders[source]

    def fused(self, source: str) -> MultimodalModel:
        """Return a parent or merge, or else the fused model that was trained under this name."""
        return cast(MultimodalModel, self.made[source].model) if source in self.made else self.trained.fused[source]

    def block(self, modality: str, blocks: Mapping[str, str]) -> nn.Module:
        """Return the block of a modality: the parent or merge that a bundle names for it, or the one trained."""
        return self.made[blocks[modality]].model if modality in blocks else self.trained.blocks[modality]

    def merge_step(self, names: Sequence[str], model: nn.Module, after: ProofStep | None = None) -> list[ProofStep]:
        """Return the proof of the merges that a bundle's model was made by; none if there was none.

        A merge that training changed in place is not what was proved any more, and its proof is left out.

        Args:
            names: those that the bundle names; others than parents and merges are ignored.
            model: the bundle's, made of them.
            after: the proof of a merge of them, which this one then leads to.
        """
        used = [self.made[name] for name in self._merges(names)]
        if not used:
            return [after] if after else []
        parents = merged_parents(*used)
        digests = [*parents.values(), *([after.reads] if after else [])]
        step = ProofStep(
            step="merge",
            subject="+".join([*parents, *([after.subject] if after else [])]),
            reads=sha256_from_bytes("".join(digests).encode()),
            writes=digest_from_model(model),
            measurements=merged_measurements(*used) + (after.measurements if after else ()),
            notes={f"parent {name}": digest for name, digest in parents.items()},
        )
        return [step]

    def with_merges_made_again(self, names: Sequence[str]) -> Sources | None:
        """Return sources in which the merges that a bundle names are made once more from their parents.

        Args:
            names: those that the bundle names; others than merges stay as they are.

        Returns:
            None where training changed a parent in place, so that the merge cannot be made again.
        """
        models = {name: made_again(self.made[name]) for name in self._merges(names)}
        if None in models.values():
            return None
        again = {name: replace(self.made[name], model=found[0]) for name, found in models.items() if found}
        return replace(self, made={**self.made, **again})

    def _merges(self, names: Sequence[str]) -> list[str]:
        """Return the proved merges among some names that are as they were made."""
        known = [name for name in dict.fromkeys(names) if name in self.made]
        return [name for name in known if self.made[name].measurements and self.made[name].is_as_made]

    def reports(self, names: Sequence[str], recipe: Recipe) -> dict[str, bytes]:
        """Return the files that say what merges did and what the linter found; none without parents.

        Args:
            names: the parents and merges that a bundle names. Training code may have used any, and gets all reported.
            recipe: the recipe.
        """
        if not self.made:
            return {}
        used = list(self.made) if recipe.code is not None else self._behind(names, recipe)
        merges = {name: self.made[name].report for name in used if self.made[name].report}
        found = {name: [asdict(finding) for finding in self.made[name].findings] for name in used}
        return {MERGE_REPORT: canonical_json(finite(merges)), LINT_REPORT: canonical_json(finite(found))}

    def _behind(self, names: Sequence[str], recipe: Recipe) -> list[str]:
        """Return the parents and merges that went into some of them, in the recipe's order."""
        behind = {*merges_behind(names, recipe), *merged_parents(*(self.made[name] for name in names))}
        return [name for name in self.made if name in behind]

    def details(self, names: Sequence[str], recipe: Recipe) -> dict[str, Any]:  # JSON
        """Return how the parents and merges that a bundle names were made, for people."""
        used = [name for name in dict.fromkeys(names) if name in self.made]
        if not used:
            return {}
        parents = merged_parents(*(self.made[name] for name in used))
        changed = [name for name in used if not self.made[name].is_as_made]
        made = {
            "parents": {
                name: recipe.parents[name].model_dump(mode="json") | {"sha256": digest}
                for name, digest in parents.items()
            },
            "merges": {name: recipe.merges[name].model_dump(mode="json") for name in merges_behind(used, recipe)},
        }
        return made | ({"trained_further": changed} if changed else {})


def merges_behind(names: Sequence[str], recipe: Recipe) -> list[str]:
    """Return the merges among some models and all that they are made of, in the recipe's order."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in recipe.merges and name not in found:
            found.add(name)
            waiting += [source for _, source in sources_of(recipe.merges[name])]
    return [name for name in recipe.merges if name in found]


def finite(value: Any) -> Any:  # JSON but for numbers that it cannot hold
    """Return data in which numbers that JSON cannot hold, such as an infinite ratio, are words.

    >>> finite({"change": [0.5, float("inf")]})
    {'change': [0.5, 'inf']}
    """
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
