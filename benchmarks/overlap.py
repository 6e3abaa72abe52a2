"""How many paired rows merging needs: none to all shared, LegoMerge against the mean of the blocks' logits.

The two modalities are the upper and the lower half of scikit-learn's 1,797 scanned digits, which neither tells a digit
by alone. A block per modality is trained on 700 rows (70 % training, 15 % validation, 15 % not used), of which a
fraction is shared; all are measured on the same 397 paired rows, which no training saw, and nothing is trained after
merging. Figures are accuracies, mean and standard deviation over seeds.
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from sklearn.datasets import load_digits
from torch import nn

from onepath.merging.lego import LegoBlock, LegoSettings
from onepath.training import OverlapSettings, Rows, TrainerSettings, measure_overlap, rows_from_tensors
from paired import save

_INK_LEVELS = 16.0  # scikit-learn's scans hold 0 (paper) to 16 (ink)
_WIDTH = 48
SETTINGS = OverlapSettings(
    rows=700,
    evaluation_rows=397,
    methods=("harmonic", "sum", "product"),
    trainer=TrainerSettings(
        epochs=30,
        batch_size=35,
        learning_rate=3e-3,
        weight_decay=0.05,
        label_smoothing=0.05,
        metric="accuracy",
        threads=1,
    ),
)


def half_digits() -> Rows:
    """Return all digits as two modalities, `upper` and `lower`, float32 `(rows, 32)` of 0 to 1."""
    digits = load_digits()
    pixels = torch.from_numpy(digits.images / _INK_LEVELS).float()
    halves = {"upper": pixels[:, :4].flatten(1), "lower": pixels[:, 4:].flatten(1)}
    return rows_from_tensors(halves, torch.from_numpy(digits.target).long())


def half_block(modality: str, seed: int) -> LegoBlock:
    """Return a block around a small perceptron; blocks of one seed start from the same latent, layers and head."""
    encoder = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, _WIDTH))
    sizes = LegoSettings(feature_dim=_WIDTH, classes=10, latents=8, width=32, depth=2, heads=4, head_width=8)
    return LegoBlock(encoder, sizes)


def main() -> None:
    """Run the experiment and write its figures."""
    results = measure_overlap(half_digits(), half_block, SETTINGS)
    save("overlap", {"settings": SETTINGS.model_dump(mode="json"), "results": [asdict(result) for result in results]})


if __name__ == "__main__":
    main()
