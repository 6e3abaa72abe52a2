"""The smallest auxiliary with real data: an image transformer and scikit-learn's scanned digits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from onepath.contract.errors import MissingExtraError
from onepath.merging.presets.pipelines import image_preset


def digit_auxiliary() -> tuple[nn.Module, Tensor, Tensor]:
    """Return an untrained image transformer of the size `micro`, and rows for it to learn from.

    Returns:
        The model, of ten classes; its values, uint8 `(1797, 1, 8, 8)`; the digits, int64 `(1797,)`.

    Raises:
        MissingExtraError: scikit-learn, which ships the scans, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "training", purpose="its scanned digits") from error
    scans = load_digits()
    pixels = torch.from_numpy(np.uint8(scans.images * 255 / 16)).unsqueeze(1)
    model = image_preset("micro", classes=10, side=8, patch=2, channels=1, drop_path=0.0).model
    return model, pixels, torch.from_numpy(scans.target.astype(np.int64))
