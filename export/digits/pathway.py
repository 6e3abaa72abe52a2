"""The pathway from audio to image (M2PT): the ViT's layers get a second path through the audio transformer's."""

from __future__ import annotations

from digit_encoders import DigitEncoder
from transformer_blocks import PooledTransformer

from onepath.merging.reparameterization import Plan, reparameterize, scales

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def attach_pathway(image: DigitEncoder, audio: DigitEncoder) -> Plan:
    """Give the image encoder's first blocks a second path through the audio encoder's, in place.

    The audio transformer has fewer blocks than the ViT; the blocks that have no counterpart stay as they are.
    """
    layers = {
        f"blocks.{block}.{layer}": f"blocks.{block}.{layer}" for block in range(_depth(audio)) for layer in LAYERS
    }
    return reparameterize(image.trunk, audio.trunk, layers=layers, name="audio")


def scales_of(image: DigitEncoder) -> dict[str, float]:
    """Return the trained scale λ of each layer with a pathway."""
    return {path.removesuffix(".weight"): values[0] for path, values in scales(image.trunk).items()}


def _depth(encoder: DigitEncoder) -> int:
    return len(encoder.trunk.blocks) if isinstance(encoder.trunk, PooledTransformer) else 0
