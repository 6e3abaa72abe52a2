"""The settings that the demo's recipe may have."""

from __future__ import annotations

from pydantic import Field

from onepath.contract.tensors import Closed


class DigitsSettings(Closed):
    """How much the demo trains.

    Attributes:
        renderings: how often each scan is rendered for training.
        image_epochs: of the image encoder alone.
        pathway_epochs: of the image encoder with the audio transformer's weights attached, and of a copy without them.
        audio_epochs: of the audio encoder.
        text_epochs: of the text encoder.
        block_epochs: of each block.
        fuse_steps: batches of each fused chain.
    """

    renderings: int = Field(default=8, ge=1)
    image_epochs: int = Field(default=6, ge=1)
    pathway_epochs: int = Field(default=3, ge=1)
    audio_epochs: int = Field(default=8, ge=1)
    text_epochs: int = Field(default=8, ge=1)
    block_epochs: int = Field(default=2, ge=1)
    fuse_steps: int = Field(default=100, ge=1)
