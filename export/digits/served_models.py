"""Which of the demo's pipelines can be asked about a row, and how rows of a presence pattern are sent to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paired_rows import Row

from onepath.clients import Client, Predictions


@dataclass(frozen=True)
class ServedModel:
    """One pipeline of the demo.

    Attributes:
        name: the front door.
        title: what tables and plots call it.
        modalities: those that it takes.
    """

    name: str
    title: str
    modalities: tuple[str, ...]

    def reads(self, pattern: Sequence[str]) -> tuple[str, ...]:
        """Return the modalities of a pattern that the model takes; none if the pattern has nothing for it."""
        return tuple(modality for modality in self.modalities if modality in pattern)


MERGED = ServedModel("digits", "merged", ("image", "audio", "text"))
MODELS = (
    ServedModel("digits-image", "image encoder", ("image",)),
    ServedModel("digits-audio", "audio encoder", ("audio",)),
    ServedModel("digits-text", "text encoder", ("text",)),
    MERGED,
    ServedModel("digits-stack", "fused, stack", MERGED.modalities),
    ServedModel("digits-weave", "fused, weave", MERGED.modalities),
)


def ask(client: Client, model: ServedModel, rows: Sequence[Row], pattern: Sequence[str]) -> Predictions:
    """Return a server's answers to rows of which only a pattern's modalities are sent."""
    columns = {modality: [_value(modality, row[modality]) for row in rows] for modality in model.reads(pattern)}
    answers: Predictions = client.predict(model.name, timeout_s=None, **columns)
    return answers


def _value(modality: str, payload: bytes) -> bytes | str:
    return payload.decode() if modality == "text" else payload
