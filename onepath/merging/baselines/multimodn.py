"""MultiModN: a state that each modality's encoder updates in turn, read by one decoder after any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from onepath.merging.baselines.tokens import Source, TokenEncoder, baseline_description, token_encoders
from onepath.merging.lego.rowwise import wide
from onepath.merging.multimodal import all_present, run_dense


class MultiModN(nn.Module):
    """A state updated by one modality after the other; an absent one leaves it as it is (arXiv 2309.14118).

    The decoder can be asked after every step, see `step_scores`, which is how the model is trained.

    Args:
        sources: modality to its encoder, in the order of the updates; tokens are averaged.
        classes: number of logits.
        width: of the state.
        hidden: width of an update's hidden layer.
        dropout: in training.
    """

    def __init__(
        self, sources: Mapping[str, Source], classes: int, *, width: int = 64, hidden: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoders = token_encoders(sources)
        self.modalities = tuple(sources)
        self.state = nn.Parameter(0.02 * torch.randn(width))
        self.updates = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(width + source.feature_dim, hidden),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden, width),
                )
                for name, source in sources.items()
            }
        )
        self.decoder = nn.Linear(width, classes)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("multimodn", self.modalities)

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(tokens, feature_dim)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)` after the last step; see `MultimodalModel.fuse`."""
        return {"scores": self.decoder(self.states(features, present)[:, -1])}

    def states(self, features: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return the state before and after every step, `(rows, modalities + 1, width)`."""
        states = [self.state.expand(present.shape[0], -1)]
        for column, name in enumerate(self.modalities):
            updated = self.updates[name](torch.cat([states[-1], features[name].mean(1)], dim=1))
            states.append(torch.where(wide(present[:, column], updated), updated, states[-1]))
        return torch.stack(states, dim=1)

    def step_scores(self, features: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Return logits after every step, `(rows, modalities + 1, classes)`, the first of the empty state."""
        return cast(Tensor, self.decoder(self.states(features, present)))

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]


def state_change_penalty(states: Tensor) -> Tensor:
    """Return the mean squared change of the state between steps, a scalar to add to a loss.

    Args:
        states: `(rows, steps, width)`, as `MultiModN.states` returns them.
    """
    return states.diff(dim=1).square().sum(-1).mean()
