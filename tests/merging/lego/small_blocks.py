"""Small random blocks, of one and of many tokens; m and n have no encoder."""

from itertools import product

import torch
from torch import Tensor, nn

from onepath.merging.lego import LegoBlock, LegoSettings

INPUTS = {"a": (3,), "b": (4,), "c": (5,), "m": (5, 6), "n": (7,)}
TOKENS = {"a": 1, "b": 4, "c": 5, "m": 5, "n": 1}
FEATURES = {"a": 7, "b": 6, "c": 9, "m": 6, "n": 7}


class TokenEncoder(nn.Module):
    """`(rows, inputs) -> (rows, features)`, or tokens of them; counts its runs."""

    def __init__(self, inputs: int, features: int, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, features * tokens)
        self.features, self.tokens = features, tokens
        self.runs = 0

    def forward(self, values: Tensor) -> Tensor:
        self.runs += 1
        encoded = torch.tanh(self.linear(values))
        return encoded if self.tokens == 1 else encoded.reshape(-1, self.tokens, self.features)


def small_block(name: str, *, seed: int = 0, **form: float | bool | str | None) -> LegoBlock:
    torch.manual_seed(seed * 31 + ord(name))
    sizes = {"latents": 6, "width": 8, "heads": 2, "head_width": 4, "tokens": TOKENS[name], **form}
    settings = LegoSettings(feature_dim=FEATURES[name], classes=3, **sizes)
    encoder = None if name in "mn" else TokenEncoder(*INPUTS[name], FEATURES[name], TOKENS[name])
    block = LegoBlock(encoder, settings).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block.eval()


def small_blocks(names: str = "abc", **form: float | bool | str | None) -> dict[str, LegoBlock]:
    return {name: small_block(name, **form) for name in names}


def small_inputs(names: str = "abc", rows: int = 7, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, *INPUTS[name], generator=generator, dtype=torch.float64) for name in names}


def every_pattern(count: int) -> Tensor:
    """Presence of every non-empty pattern, bool `(2 ** count - 1, count)`."""
    return torch.tensor([bits for bits in product([False, True], repeat=count) if any(bits)])
