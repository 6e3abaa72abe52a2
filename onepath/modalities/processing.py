"""Processors from what a manifest or a recipe says: the plug-in is looked up, its settings and limits are validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from onepath.contract.manifest import ModalityEntry
from onepath.contract.modality import Processor
from onepath.contract.plugins import load_plugin
from onepath.contract.tensors import TensorSpec
from onepath.modalities.setup_errors import SettingsError, TensorMismatchError

Options = Mapping[str, Any]
"""Settings or limits as read from YAML or JSON; the plug-in's own pydantic model validates them."""


def processor_from_entry(entry: ModalityEntry, assets: Path) -> Processor:
    """Return the processor of a manifest's modality, after checking that it makes the tensor that the graph takes.

    Args:
        entry: the modality, as the manifest has it.
        assets: the folder that file names in the settings are relative to.

    Raises:
        UnknownPluginError: no installed plug-in has the entry's kind.
        SettingsError: the plug-in does not accept the settings or the limits.
        TensorMismatchError: the processor's dtype or shape, or the tensor's name, are not those of the entry.
        MissingExtraError: the plug-in's decoder is not installed.
    """
    processor = processor_from_settings(entry.name, entry.kind, entry.settings, entry.limits, assets)
    made = _tensor_from_processor(entry.name, processor)
    if made != entry.tensor:
        raise TensorMismatchError(entry.name, made=made, declared=entry.tensor)
    return processor


def processor_from_settings(name: str, kind: str, settings: Options, limits: Options, assets: Path) -> Processor:
    """Return the processor that a plug-in makes of settings and limits.

    Args:
        name: the modality's name, for messages.
        kind: the plug-in's name, such as `image`.
        settings: what the model fixed.
        limits: what a payload may cost; an empty mapping takes the plug-in's defaults.
        assets: the folder that file names in the settings are relative to.

    Raises:
        UnknownPluginError: no installed plug-in has this kind.
        SettingsError: the plug-in does not accept the settings or the limits; every problem is listed.
        MissingExtraError: the plug-in's decoder is not installed.
    """
    plugin = cast(type[Processor], load_plugin("onepath.modalities", kind))
    return plugin(*_validated(plugin, name, kind, settings, limits), assets)


def tensor_from_settings(name: str, kind: str, settings: Options, limits: Options, assets: Path) -> TensorSpec:
    """Return the tensor that a modality's processor makes of one row, for the manifest and the graph.

    Raises:
        OnepathError: as `processor_from_settings`.
    """
    return _tensor_from_processor(name, processor_from_settings(name, kind, settings, limits, assets))


def settings_in_full(
    name: str, kind: str, settings: Options, limits: Options
) -> tuple[dict[str, Any], dict[str, Any]]:  # JSON values
    """Return settings and limits with every default written out, so that a bundle does not depend on later defaults.

    Raises:
        UnknownPluginError: no installed plug-in has this kind.
        SettingsError: the plug-in does not accept the settings or the limits.
    """
    plugin = cast(type[Processor], load_plugin("onepath.modalities", kind))
    full = _validated(plugin, name, kind, settings, limits)
    return full[0].model_dump(mode="json"), full[1].model_dump(mode="json")


def _validated(
    plugin: type[Processor], name: str, kind: str, settings: Options, limits: Options
) -> tuple[BaseModel, BaseModel]:
    models: list[BaseModel] = []
    problems: list[tuple[str, str]] = []
    for part, model, given in (("settings", plugin.settings_type, settings), ("limits", plugin.limits_type, limits)):
        try:
            models.append(model.model_validate(dict(given)))
        except ValidationError as error:
            problems += [(".".join(map(str, (part, *each["loc"]))), each["msg"]) for each in error.errors()]
    if problems:
        raise SettingsError(name, kind, problems)
    return models[0], models[1]


def _tensor_from_processor(name: str, processor: Processor) -> TensorSpec:
    return TensorSpec(name=name, dtype=processor.dtype, shape=processor.shape)
