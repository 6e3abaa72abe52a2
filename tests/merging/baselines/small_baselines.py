"""Small random baselines of two modalities: a has one token, b three."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from onepath.merging.baselines import (
    MCAT,
    Ensemble,
    HEALNet,
    LateFusion,
    LatentSettings,
    MultiModN,
    Perceiver,
    Source,
)

CLASSES = 3
INPUTS = {"a": 4, "b": 6}
TOKENS = {"a": 1, "b": 3}
FEATURES = {"a": 5, "b": 7}
SMALL = LatentSettings(latents=4, width=8, depth=2, latent_heads=2, head_width=4)
THINKING = LatentSettings(latents=4, width=8, depth=2, self_per_cross=1, latent_heads=2, head_width=4)


class Tokens(nn.Module):
    """`(rows, inputs)` of any dtype to `(rows, features)`, or to tokens of them."""

    def __init__(self, inputs: int, features: int, tokens: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, features * tokens)
        self.form = (features,) if tokens == 1 else (tokens, features)

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.linear(values.to(self.linear.weight.dtype))).reshape(-1, *self.form)


def sources(names: str = "ab") -> dict[str, Source]:
    return {
        name: Source(Tokens(INPUTS[name], FEATURES[name], TOKENS[name]), FEATURES[name], TOKENS[name]) for name in names
    }


def classifiers(names: str = "ab") -> dict[str, nn.Module]:
    return {name: nn.Sequential(Tokens(INPUTS[name], 8), nn.Linear(8, CLASSES)) for name in names}


MAKERS: dict[str, Callable[[str], nn.Module]] = {
    "concat": lambda names: LateFusion(sources(names), CLASSES, width=16),
    "bilinear": lambda names: LateFusion(sources(names), CLASSES, method="bilinear", width=16),
    "ensemble": lambda names: Ensemble(classifiers(names), CLASSES),
    "perceiver": lambda names: Perceiver(sources(names), CLASSES, SMALL),
    "healnet": lambda names: HEALNet(sources(names), CLASSES, THINKING),
    "multimodn": lambda names: MultiModN(sources(names), CLASSES, width=8, hidden=12),
    "mcat": lambda names: MCAT(sources(names), CLASSES, width=8, heads=2, depth=1),
    "mcat bilinear": lambda names: MCAT(sources(names), CLASSES, width=8, heads=2, depth=1, method="bilinear"),
}


def baseline(kind: str, names: str = "ab", *, seed: int = 0) -> nn.Module:
    """A baseline as it is before training, in float32 and in training mode."""
    torch.manual_seed(seed)
    return MAKERS[kind](names)


def settled(model: nn.Module, seed: int = 1) -> nn.Module:
    """A model in float64 and eval mode whose every parameter matters, also those that start at 0 or near it."""
    torch.manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def inputs(rows: int = 6, seed: int = 0, names: str = "ab") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(rows, INPUTS[name], generator=generator, dtype=torch.float64) for name in "ab"}
    return {name: values[name] for name in names}


def every_pattern(rows: int = 8) -> Tensor:
    """Presence in which every pattern of two modalities comes up, the empty one too; bool `(rows, 2)`."""
    return torch.tensor(list(product([True, False], repeat=2))).repeat(rows // 4 + 1, 1)[:rows]
