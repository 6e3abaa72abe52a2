"""A small multimodal model whose answers can be written down with numpy."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from onepath.contract.tensors import TensorSpec

SPECS = [
    TensorSpec(name="image", dtype="uint8", shape=(2, 3)),
    TensorSpec(name="audio", dtype="int16", shape=(4,)),
]


class CountingEncoder(nn.Module):
    """Flatten, scale, multiply; remembers how many rows each run had."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)
        self.rows_seen: list[int] = []

    def forward(self, values: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            self.rows_seen.append(values.shape[0])
        return torch.tanh(self.linear(values.to(self.linear.weight.dtype).flatten(1) / 100))


class SumModel(nn.Module):
    """Scores are the sum of the present encoders' features."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.modalities = ("image", "audio")
        self.encoders = nn.ModuleDict({"image": CountingEncoder(6, classes), "audio": CountingEncoder(4, classes)})
        self.classes = classes

    def absent(self, modality: str) -> Tensor:
        return torch.full((self.classes,), 7.0)  # must never reach an output

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        weights = present.to(features["image"].dtype)
        return {"scores": sum(features[name] * weights[:, i, None] for i, name in enumerate(self.modalities))}


def seeded_model(seed: int = 0) -> SumModel:
    torch.manual_seed(seed)
    return SumModel().eval()


def inputs(rows: int, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random values, and states that mix absent, present and failed."""
    generator = np.random.default_rng(seed)
    values = {
        "image": torch.from_numpy(generator.integers(0, 256, (rows, 2, 3)).astype(np.uint8)),
        "audio": torch.from_numpy(generator.integers(-500, 500, (rows, 4)).astype(np.int16)),
    }
    states = {name: torch.from_numpy(generator.integers(0, 3, (rows, 1)).astype(np.uint8)) for name in values}
    return values, states


def numpy_scores(model: SumModel, values: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> np.ndarray:
    """The probabilities, written down row by row with numpy."""
    rows = len(states["image"])
    scores = np.zeros((rows, model.classes))
    for row in range(rows):
        row_states = {name: int(states[name][row, 0]) for name in model.modalities}
        if 2 in row_states.values() or 1 not in row_states.values():
            continue
        total = np.zeros(model.classes)
        for name, state in row_states.items():
            linear = model.encoders[name].linear
            if state == 1:
                flat = values[name][row].numpy().astype(np.float64).ravel() / 100
                total += np.tanh(linear.weight.detach().double().numpy() @ flat + linear.bias.detach().double().numpy())
        exponents = np.exp(total - total.max())
        scores[row] = exponents / exponents.sum()
    return scores
