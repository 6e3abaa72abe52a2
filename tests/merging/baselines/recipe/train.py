"""Baselines that were never trained: what is proved of them has nothing to do with how good they are."""

import json

import numpy as np

from onepath.export.trained import Trained
from tests.merging.baselines.small_baselines import INPUTS, MAKERS, baseline, classifiers, settled


def train(settings, *, seed, progress):
    generator = np.random.default_rng(seed)
    rows = [
        {
            name: json.dumps({f"{name}{column}": generator.normal() for column in range(width)}).encode()
            for name, width in INPUTS.items()
        }
        for _ in range(settings["rows"])
    ]
    return Trained(
        encoders={name: model.eval() for name, model in classifiers().items()},
        fused={kind: settled(baseline(kind)).float() for kind in MAKERS},
        rows=rows,
        targets=[index % 3 for index in range(len(rows))],
    )
