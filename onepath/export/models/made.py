"""The models that a recipe makes before anything is trained: parents, and merges of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from onepath.contract.errors import RecipeError
from onepath.contract.proofs import Measurement
from onepath.export.proofs import digest_from_model
from onepath.merging.reparameterization import collapsed_state_dict, scales
from onepath.merging.weight_space import Finding, lint_state_dict


@dataclass(frozen=True)
class MadeModel:
    """A parent or a merge.

    Attributes:
        model: in eval mode; training code may have trained it in place since.
        digest: of the model as it was made.
        parents: name and digest of every parent that went into it.
        measurements: the proofs of the merges that went into it.
        report: what a merge did, as JSON data; empty for a parent.
        findings: what the linter found in its weights.
        again: makes the merge once more from its parents; None for a parent.
    """

    model: nn.Module
    digest: str
    parents: Mapping[str, str]
    measurements: tuple[Measurement, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)  # JSON
    findings: tuple[Finding, ...] = ()
    again: Callable[[], nn.Module | None] | None = None

    @property
    def is_as_made(self) -> bool:
        """Whether nothing has changed the model since."""
        return digest_from_model(self.model) == self.digest


def made_again(*sources: MadeModel) -> list[nn.Module] | None:
    """Return parents as they were made and merges made once more, or None where one of them was trained since."""
    models = []
    for source in sources:
        model = source.model if source.again is None else source.again()
        if model is None or not source.is_as_made:
            return None
        models.append(model)
    return models


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state dict, of one path of weights where auxiliaries are attached; the model stays as it is."""
    return collapsed_state_dict(model)[0] if scales(model) else dict(model.state_dict())


def looked_over(name: str, model: nn.Module, *, reference: Mapping[str, nn.Module]) -> tuple[Finding, ...]:
    """Return what the linter warns of in a model's weights.

    Args:
        name: the model's.
        model: a parent or a merge.
        reference: the models that it was made of, by name.

    Raises:
        RecipeError: it found errors; naming their tensors.
    """
    states = {source: plain_state(each) for source, each in reference.items()}
    findings = tuple(lint_state_dict(plain_state(model), states))
    errors = [(finding.tensor, finding.message) for finding in findings if finding.level == "error"]
    if errors:
        raise RecipeError(name, errors)
    return findings


def merged_parents(*sources: MadeModel) -> dict[str, str]:
    """Return every parent of several models, with its digest."""
    return {name: digest for source in sources for name, digest in source.parents.items()}


def merged_measurements(*sources: MadeModel) -> tuple[Measurement, ...]:
    """Return the proofs of every merge that several models were made by, each once."""
    return tuple(dict.fromkeys(measured for source in sources for measured in source.measurements))


def stored_bytes(model: nn.Module) -> int:
    """Return how many bytes the model's state dict holds, tied tensors once."""
    tensors = {tensor.data_ptr(): tensor for tensor in model.state_dict(keep_vars=True).values() if tensor.numel()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
