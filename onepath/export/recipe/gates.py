"""What a recipe says of how good a bundle must be with each presence pattern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from onepath.contract.tensors import Closed

ALL = "all"
"""The pattern of all the recipe's modalities."""
ANY = "any"
"""Each pattern that has no gate of its own."""

Share = Annotated[float, Field(gt=0, le=1)]
Loss = Annotated[float, Field(ge=0, lt=1)]
Gain = Annotated[float, Field(gt=-1, lt=1)]
GateName = Literal["min_accuracy", "max_loss_against_encoder", "min_gain_over_zero_filling", "min_agreement"]
GATES: tuple[GateName, ...] = get_args(GateName)


class Gates(Closed):
    """How good a bundle must be on the held-out rows; one that is not fails the build, and nothing of it is written.

    Each gate is one number for every presence pattern, or a mapping from pattern to number. A pattern is written as its
    modalities in any order, joined by `+`; `all` is that of all the recipe's modalities, and `any` is each one that the
    mapping does not name. A gate holds for every bundle that has its pattern: a bundle of one encoder skips those of
    several modalities, and also `all` where the recipe has more than its own.

    Attributes:
        min_accuracy: the least share of rows answered correctly; for embeddings, of rows whose nearest other row has
            the same target. The held-out rows must have targets.
        max_loss_against_encoder: how much worse than the modality's encoder alone a pattern of this one modality may
            be. The held-out rows must have targets.
        min_gain_over_zero_filling: how much better a pattern must be than the same model told that everything is
            present, with zeros for what is missing; below 0, how much worse it may be.
        min_agreement: the least agreement with the same model's answers to rows with every modality: the share of rows
            with the same highest score, or the mean cosine of embeddings.
        bundles: the bundles that must pass; all of them where none is named.
        confident: whether the worse end of the 95 % confidence interval must pass, instead of the figure itself.
    """

    min_accuracy: Share | dict[str, Share] = Field(default_factory=dict)
    max_loss_against_encoder: Loss | dict[str, Loss] = Field(default_factory=dict)
    min_gain_over_zero_filling: Gain | dict[str, Gain] = Field(default_factory=dict)
    min_agreement: Share | dict[str, Share] = Field(default_factory=dict)
    bundles: tuple[str, ...] = ()
    confident: bool = False

    def limits(self, gate: GateName) -> dict[str, float]:
        """Return a gate's number for each pattern as the recipe writes it; one number for all is that of `any`."""
        given: float | dict[str, float] = getattr(self, gate)
        return dict(given) if isinstance(given, Mapping) else {ANY: given}

    def limit(self, gate: GateName, present: Iterable[str], modalities: Sequence[str]) -> float | None:
        """Return what a gate asks of a pattern, the number of its own before that of `any`; None if nothing.

        Args:
            gate: its name.
            present: the pattern, in any order.
            modalities: the recipe's.
        """
        limits, wanted = self.limits(gate), {*present}
        own = [limit for key, limit in limits.items() if key != ANY and {*pattern_from_key(key, modalities)} == wanted]
        return own[0] if own else limits.get(ANY)


def pattern_from_key(key: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the modalities that a recipe names a pattern by.

    >>> pattern_from_key("audio + image", ["image", "audio", "text"]), pattern_from_key("all", ["image", "audio"])
    (('audio', 'image'), ('image', 'audio'))
    """
    return tuple(modalities) if key == ALL else tuple(part.strip() for part in key.split("+"))


def named_patterns(gates: Gates, modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the patterns that gates name, which must be measured even where others are sampled."""
    keys = dict.fromkeys(key for gate in GATES for key in gates.limits(gate) if key != ANY)
    return [pattern_from_key(key, modalities) for key in keys]
