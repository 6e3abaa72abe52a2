"""The golden arrays of SEMI, see tests/golden/README.md, and its projector and hypernetwork."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from onepath.merging.adapters import LowRankAdapter, generated_adapter
from tests.merging.golden import FOLDER

LAYERS = ("0", "3")
INPUTS, OUTPUTS, RANK = (8, 12), (12, 12), 2


@lru_cache
def semi() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "semi.npz") as file:
        return dict(file)


def tensor(name: str) -> Tensor:
    return torch.from_numpy(semi()[name].copy())


def projector(prefix: str = "proj/net.", inputs: int = 8) -> nn.Sequential:
    """The published projector; of a narrower encoder it has the first inputs alone."""
    model = nn.Sequential(nn.Linear(8, 12), nn.GELU("tanh"), nn.Dropout(0.1), nn.Linear(12, 12)).eval()
    state = {name.removeprefix(prefix): tensor(name) for name in semi() if name.startswith(prefix)}
    model.load_state_dict(state, strict=True)
    if inputs < 8:
        model[0] = nn.Linear(inputs, 12)
        model[0].load_state_dict({"weight": state["0.weight"][:, :inputs], "bias": state["0.bias"]})
    return model.eval()


def adapters(case: str, inputs: int = 8) -> dict[str, LowRankAdapter]:
    """The adapters that the published hypernetwork generated."""
    found = {}
    for index, (layer, width) in enumerate(zip(LAYERS, (inputs, 12), strict=True)):
        names = [f"gen_att_{case}/A{index}_flat", f"gen_att_{case}/B{index}_flat", f"gen_att_{case}/bias{index}"]
        values = torch.cat([tensor(name) for name in names if name in semi()])
        found[layer] = generated_adapter(values, inputs=width, outputs=12, rank=RANK)
    return found


def generated_values(sequence: str) -> list[np.ndarray]:
    """What the published attention hypernetwork generates for each layer, by its formulas in numpy (float64)."""
    weights = {name: array.astype(np.float64) for name, array in semi().items()}

    def mapped(name: str, values: np.ndarray) -> np.ndarray:
        return values @ weights[f"hn_att/{name}.weight"].T + weights[f"hn_att/{name}.bias"]

    tokens = np.concatenate([weights["hn_att/prefix_tokens"], weights[sequence]])
    tokens = tokens + weights["pe_table_len11_d8_scaled"][0]
    query, key, value = (mapped(f"hypnet.{name}", tokens) for name in "qkv")
    logits = query @ key.T / np.sqrt(8)
    attention = np.exp(logits - logits.max(1, keepdims=True))
    read = attention / attention.sum(1, keepdims=True) @ value
    return [mapped(f"generators.{index}", read[index]) for index in range(2)]
