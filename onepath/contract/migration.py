"""Manifests of older schemas, brought to today's one step at a time; those of newer schemas are refused by version."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from onepath.contract.manifest import SCHEMA_VERSION
from onepath.contract.proofs import ComputedIn, is_fold_on_probes, is_titled_float64

Raw = dict[str, Any]  # a manifest as JSON has it

_RELEASE = re.compile(r"[0-9]{1,4}(\.[0-9a-z]{1,12}){0,5}")

_FIRST = frozenset(
    {"schema_version", "name", "description", "task", "labels", "modalities", "outputs", "graph", "weights", "probes"}
    | {"probe_tolerance", "proofs", "files", "tools", "licence", "details"}
)
_FIRST_GRAPH = frozenset({"file", "precision", "opset", "ir_version", "max_batch_size"})
_FIRST_MEASUREMENT = frozenset({"inputs", "max_abs_error", "tolerance", "relative"})


class NewerSchemaError(ValueError):
    """A manifest of a schema that this onepath does not know; `advice` says what reads it."""

    def __init__(self, version: int, release: str) -> None:
        super().__init__(f"has schema version {version}, and this onepath reads versions 1 to {SCHEMA_VERSION}")
        self.advice = (
            f'it was written by onepath {release}: pip install "onepath>={release}"'
            if release
            else "install a newer onepath: pip install --upgrade onepath"
        )


def migrated(raw: Mapping[str, Any]) -> Raw:
    """Return a manifest in today's schema; the one given stays as it is.

    Args:
        raw: a manifest as JSON has it, of any schema up to today's.

    Raises:
        NewerSchemaError: its schema is not known yet.
        ValueError: it has no schema version, or lacks or has what its schema has not.
    """
    version = raw.get("schema_version")
    if type(version) is not int or version < 1:
        raise ValueError(f"its schema version is {version!r}")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(version, _release(raw))
    manifest = dict(raw)
    for step in range(version, SCHEMA_VERSION):
        manifest = _STEPS[step](manifest)
    return manifest | {"proofs": [_with_computed_in(proof) for proof in manifest["proofs"]]}


def _second_from_first(raw: Raw) -> Raw:
    """Return a manifest of the second schema: several graphs and engines, and proofs with a metric."""
    _refuse_unknown("the manifest", raw, _FIRST)
    _refuse_unknown("its graph", raw["graph"], _FIRST_GRAPH)
    proofs = [
        proof | {"measurements": [_second_measurement(measured) for measured in proof["measurements"]]}
        for proof in raw["proofs"]
    ]
    return raw | {"schema_version": 2, "proofs": proofs}


def _second_measurement(raw: Raw) -> Raw:
    _refuse_unknown("a measurement", raw, _FIRST_MEASUREMENT)
    relative = raw.get("relative", False)
    if type(relative) is not bool:
        raise ValueError(f"a measurement says {relative!r} where it says whether it is relative")
    return {
        "inputs": raw["inputs"],
        "error": raw["max_abs_error"],
        "tolerance": raw["tolerance"],
        "metric": "max_relative" if relative else "max_abs",
    }


_STEPS: dict[int, Callable[[Raw], Raw]] = {1: _second_from_first}
"""Schema version to what makes the next one of it."""


def _with_computed_in(proof: Raw) -> Raw:
    """Return a proof whose measurements say what they were computed in, which older manifests say in their titles.

    Nothing is let through by it: what is taken for float64 is held to a tighter bound, and a fold has to be in float64.
    """
    measurements = [
        {"computed_in": _computed_in(proof["step"], measured["inputs"])} | measured
        for measured in proof["measurements"]
    ]
    return proof | {"measurements": measurements}


def _computed_in(step: str, inputs: str) -> ComputedIn:
    is_wide = step == "merge" or is_titled_float64(inputs) or (step == "collapse" and is_fold_on_probes(inputs))
    return "float64" if is_wide else "float32"


def _refuse_unknown(what: str, raw: Raw, known: Collection[str]) -> None:
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ValueError(f"{what} has {unknown[0]!r}, which is no field of its schema")


def _release(raw: Mapping[str, Any]) -> str:
    """Return the onepath release that wrote a manifest, if it says so in a form that can be passed on."""
    tools = raw.get("tools")
    release = tools.get("onepath") if isinstance(tools, dict) else None
    return release if isinstance(release, str) and _RELEASE.fullmatch(release) else ""
