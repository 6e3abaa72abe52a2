"""What a recipe says of its modalities, and whether their plug-ins accept it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from onepath.contract.manifest import BadPayloadRule
from onepath.contract.plugins import known_plugins
from onepath.contract.tensors import Closed
from onepath.modalities import settings_in_full
from onepath.modalities.setup_errors import SettingsError


class ModalityRecipe(Closed):
    """How a modality is decoded and whether a row may lack it; see `onepath.contract.manifest.ModalityEntry`.

    Attributes:
        kind: the plug-in that decodes it, of the group `onepath.modalities`: `audio`, `image`, `point_cloud`,
            `tabular`, `text`, `video`, or an installed one.
        settings: the plug-in's settings, such as sizes and rates.
        limits: what a payload may cost (bytes, pixels, seconds, characters); the plug-in's defaults where not given.
        absent: `required` fails a row that lacks the modality; otherwise the model says what its absence means, which
            the manifest records as `remerge` or `skip`.
        on_bad_payload: what a payload that cannot be decoded does: count as `absent`, or `fail` its row.
    """

    kind: str
    settings: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's settings_type
    limits: dict[str, Any] = Field(default_factory=dict)  # validated by the plug-in's limits_type
    absent: Literal["allowed", "required"] = "allowed"
    on_bad_payload: BadPayloadRule = "absent"


def settings_problems(modalities: Mapping[str, ModalityRecipe]) -> Iterator[tuple[str, str]]:
    """Yield what plug-ins do not accept in the settings and limits of modalities, each with its path in the recipe."""
    for name, modality in modalities.items():
        if modality.kind in known_plugins("onepath.modalities"):
            yield from _refused(name, modality)


def _refused(name: str, modality: ModalityRecipe) -> list[tuple[str, str]]:
    try:
        settings_in_full(name, modality.kind, modality.settings, modality.limits)
    except SettingsError as error:
        return [(f"modalities.{name}.{place}", problem) for place, problem in error.problems]
    return []
