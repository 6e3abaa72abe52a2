"""Parents that were never trained: what is proved of them has nothing to do with how good they are."""

import io
import json

import numpy as np
import torch
from PIL import Image
from torch import nn

from onepath.export.trained import Trained
from onepath.merging.lego import LegoBlock, LegoFuse, LegoSettings
from onepath.merging.reparameterization import reparameterize

WIDTHS = {"picture": (36, 12), "word": (8, 10), "cells": (2, 6)}


class Encoder(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        x = values.to(self.first.weight.dtype).flatten(1) / 64
        return torch.tanh(self.second(torch.tanh(self.first(x))))


def row(index: int, generator: np.random.Generator) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (6, 6), np.uint8)).save(buffer, "PNG")
    cells = {"corners": float(index % 5), "area": None if index % 4 == 0 else float(index)}
    return {"picture": buffer.getvalue(), "word": f"shape {index}".encode(), "cells": json.dumps(cells).encode()}


def blocks() -> dict[str, LegoBlock]:
    torch.manual_seed(0)
    encoders = {name: Encoder(*widths) for name, widths in WIDTHS.items()}
    auxiliary = Encoder(*WIDTHS["picture"])
    reparameterize(encoders["picture"], auxiliary, layers=["first", "second"], name="strokes")
    for name, parameter in encoders["picture"].named_parameters():
        if parameter.shape == (1,):
            parameter.data.fill_(0.25 if "first" in name else -0.5)
    return {
        name: LegoBlock(encoder, LegoSettings(WIDTHS[name][1], 3, latents=6, width=8, heads=2, head_width=4)).eval()
        for name, encoder in encoders.items()
    }


def train(settings, *, seed, progress):
    generator = np.random.default_rng(seed)
    rows = [row(index, generator) for index in range(settings["rows"])]
    torch.manual_seed(seed)
    classifiers = {"word": nn.Sequential(Encoder(*WIDTHS["word"]), nn.Linear(10, 3)).eval()}
    return Trained(
        encoders=classifiers,
        blocks=blocks(),
        fused={"stack": LegoFuse(blocks(), order="stack").eval()},
        rows=rows,
        targets=[index % 3 for index in range(len(rows))],
        details={"trained": False},
    )
