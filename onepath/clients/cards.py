"""What a pipeline takes and gives: read from its card, or guessed from its tensors where a server has no card."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from onepath.clients.transport import ModelMetadata
from onepath.contract.deployment import CardModality, PipelineCard
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.tensors import PRESENCE, ROW_STATUS, status_name

UNKNOWN_KIND = "bytes"
"""The kind of a modality that a server without a card offers: its payloads are given as bytes or files."""

SCORES = "scores"
"""The output that holds a classification's probabilities."""


def card_from_json(text: str, model: str) -> PipelineCard:
    """Return the card that a front door's configuration holds; fields that a newer server adds are passed over.

    Raises:
        ServerUnavailableError: the text is not a card.
    """
    try:
        data = _known_fields(json.loads(text), PipelineCard)
        data["modalities"] = [_known_fields(modality, CardModality) for modality in data["modalities"]]
        return PipelineCard.model_validate(data)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ServerUnavailableError(
            f"the card of {model!r} cannot be read ({error}); deploy the pipeline again, or upgrade onepath here",
            model=model,
        ) from error


def card_from_metadata(metadata: ModelMetadata, max_batch_size: int = 0) -> PipelineCard:
    """Return a card for a model without one: its BYTES inputs are the modalities, and labels are left empty.

    Args:
        metadata: the model's tensors.
        max_batch_size: the most rows of one request, 0 where it is not known.
    """
    modalities = tuple(
        CardModality(name=name, kind=UNKNOWN_KIND) for name, dtype in metadata.inputs if dtype == "BYTES"
    )
    reserved = {PRESENCE, ROW_STATUS} | {status_name(modality.name) for modality in modalities}
    outputs = tuple(name for name in metadata.outputs if name not in reserved)
    return PipelineCard(
        bundle_id="",
        task="classification" if SCORES in outputs else "embedding",
        labels=(),
        modalities=modalities,
        outputs=outputs,
        max_batch_size=max_batch_size,
    )


def _known_fields(data: Any, kind: type[BaseModel]) -> dict[str, Any]:  # Any: JSON, validated right after
    if not isinstance(data, dict):
        raise TypeError(f"a {type(data).__name__} in place of an object")
    return {name: value for name, value in data.items() if name in kind.model_fields}
