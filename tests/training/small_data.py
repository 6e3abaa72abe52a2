"""Small learnable rows of one and of two modalities, and models for them."""

import torch
from torch import Tensor, nn

from onepath.merging.lego import LegoBlock, LegoMerge, LegoSettings
from onepath.training import Rows, TrainerSettings, rows_from_tensors

CLASSES = 3
WIDTHS = {"a": 4, "b": 6}
QUICK = TrainerSettings(epochs=3, batch_size=16, learning_rate=1e-2, metric="accuracy", threads=1)


def class_rows(rows: int = 90, seed: int = 0, *, missing: float = 0.0) -> Rows:
    """Rows whose class shows in both modalities; some lack one, which then holds NaN."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(rows) % CLASSES
    values = {}
    for name, width in WIDTHS.items():
        centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(ord(name)))
        values[name] = centres[classes] + 0.8 * torch.randn(rows, width, generator=generator)
    present = torch.rand(rows, 2, generator=generator) >= missing
    present[:, 0] |= ~present[:, 1]
    for column, name in enumerate(WIDTHS):
        values[name][~present[:, column]] = torch.nan
    return rows_from_tensors(values, classes, present)


def linear(seed: int = 0, *, inputs: int = 4, outputs: int = CLASSES) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs)


def dropping_net(seed: int = 0) -> nn.Sequential:
    """A network with dropout, which draws from torch's global generator."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, CLASSES))


def block(name: str, seed: int = 0) -> LegoBlock:
    torch.manual_seed(seed)
    settings = LegoSettings(feature_dim=5, classes=CLASSES, latents=4, width=6, depth=1, heads=2, head_width=3)
    return LegoBlock(nn.Linear(WIDTHS[name], 5), settings)


def merged(seed: int = 0, method: str = "sum") -> LegoMerge:
    return LegoMerge({name: block(name, seed) for name in WIDTHS}, method=method)


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
