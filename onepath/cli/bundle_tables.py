"""What a bundle's manifest says, as tables for a person: no line is over 100 columns for want of a break."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from onepath.cli.cells import print_if_any, settings_text, value_text, wrapped
from onepath.cli.tables import bundle_size, print_table, size_text, tolerance_text
from onepath.contract.bundle import SIGNATURE, Bundle
from onepath.contract.manifest import Manifest, ModalityEntry
from onepath.contract.stages import CAST, COLLAPSE_REFERENCE, MERGE_REFERENCE, SERVED

_FACT_COLUMNS = 64
_STAGES = {
    MERGE_REFERENCE: "the merge made again, of a row's own blocks alone, float64",
    "merge": "the merged model, float64",
    COLLAPSE_REFERENCE: "the model of several paths, float64",
    "collapse": "the collapsed model, float64",
    CAST: "the collapsed model, float32",
    SERVED: "the graph in torch, as served",
}
_GRAPH = "the graph in ONNX Runtime, as served"
_TABLES_OF_THEIR_OWN = ("parents", "merges", "pathway_scales")


def print_facts(bundle: Bundle, signer: str | None) -> None:
    """Print what a bundle is, and the figures of its details that are no tables of their own."""
    manifest = bundle.manifest
    facts = {
        "id": bundle.id,
        "about": manifest.description,
        "task": manifest.task,
        "labels": ", ".join(manifest.labels),
        "outputs": ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in manifest.outputs),
        "size": f"{size_text(bundle_size(manifest))} in {len(manifest.files)} files",
        "licence": manifest.licence,
        "signature": _signature_text(bundle, signer),
        "tools": ", ".join(f"{name} {version}" for name, version in manifest.tools.items()),
    }
    print_table(manifest.name, ("", ""), _rows(facts))
    details = manifest.details.items()
    print_if_any("Details", ("", ""), _rows({k: _detail(v) for k, v in details if k not in _TABLES_OF_THEIR_OWN}))


def _rows(facts: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, wrapped(value, _FACT_COLUMNS)) for name, value in facts.items() if value]


def _detail(value: Any) -> str:  # JSON
    return settings_text(value) if isinstance(value, Mapping) else value_text(value)


def _signature_text(bundle: Bundle, signer: str | None) -> str:
    from onepath.contract.signatures import read_signature

    signature = read_signature(bundle.path)
    if signature is None:
        return f"none: there is no {SIGNATURE}"
    if signer is not None:
        return f"valid: by the key {signature.key_id[:16]} of {signer}"
    return f"by the key {signature.key_id[:16]}, not checked: give --require-signature KEY"


def print_graphs(manifest: Manifest) -> None:
    """Print the graphs, the deployed one first."""
    rows = [
        (
            graph.file,
            wrapped(graph.precisions, 20),
            str(graph.opset),
            str(graph.ir_version),
            str(graph.max_batch_size),
            wrapped(", ".join(graph.targets) or "unchecked", 16),
            size_text(sum(manifest.files[name].size_bytes for name in graph.files)),
            "deployed" if graph is manifest.graph else "variant",
        )
        for graph in manifest.graphs
    ]
    print_table("Graphs", ("graph", "precision", "opset", "IR", "rows", "targets", "size", ""), rows)


def print_engines(manifest: Manifest) -> None:
    """Print the TensorRT engines, if there are any."""
    rows = [
        (
            wrapped(engine.gpu, 16),
            engine.compute_capability,
            engine.precision,
            f"{engine.opt_rows} to {engine.max_rows}",
            engine.tensorrt,
            PurePosixPath(engine.graph).name,
            size_text(sum(manifest.files[name].size_bytes for name in engine.files.values())),
        )
        for engine in manifest.engines
    ]
    print_if_any("Engines", ("GPU", "capability", "precision", "rows", "TensorRT", "of", "size"), rows)


def print_modalities(manifest: Manifest) -> None:
    """Print the modalities, in the order of the presence columns."""
    headings = ("modality", "kind", "tensor", "absent", "bad payload", "settings")
    print_table("Modalities", headings, [_modality_row(entry) for entry in manifest.modalities])


def _modality_row(entry: ModalityEntry) -> tuple[str, ...]:
    tensor = f"{entry.tensor.dtype} {list(entry.tensor.shape)}"
    return entry.name, entry.kind, tensor, entry.absent, entry.on_bad_payload, wrapped(settings_text(entry.settings))


def print_origins(details: Mapping[str, Any]) -> None:  # JSON
    """Print who merged what with which λ: the parents, the merges of them, and scales that were learned."""
    parents = [
        (name, str(parent.get("sha256", ""))[:16], wrapped(settings_text(_without(parent, "sha256")), 60))
        for name, parent in _objects(details.get("parents"))
    ]
    print_if_any("Parents", ("parent", "SHA-256", "made by"), parents)
    merges = [
        (name, str(merge.get("method", "")), wrapped(settings_text(_without(merge, "method")), 60))
        for name, merge in _objects(details.get("merges"))
    ]
    print_if_any("Merges", ("merge", "method", "of"), merges)
    scales = details.get("pathway_scales")
    if isinstance(scales, Mapping):
        rows = [(str(layer), value_text(scale)) for layer, scale in scales.items()]
        print_if_any("Learned scales", ("layer", "λ"), rows)


def _objects(value: Any) -> list[tuple[str, Mapping[str, Any]]]:  # JSON
    if not isinstance(value, Mapping):
        return []
    return [(str(name), each) for name, each in value.items() if isinstance(each, Mapping)]


def _without(value: Mapping[str, Any], name: str) -> dict[str, Any]:  # JSON
    return {key: each for key, each in value.items() if key != name}


def print_stages(answers: Mapping[str, Any], probes: int) -> None:  # arrays
    """Print which stages' answers to the probes a bundle holds, by which its proofs can be measured again."""
    rows = [
        (name, f"{array.shape[0]} × {array.shape[1]}", _STAGES.get(name, _GRAPH)) for name, array in answers.items()
    ]
    nothing = [("none", "", "only the graphs themselves can be measured again")]
    print_table(f"Answers to {probes} golden probes", ("stage", "shape", "of"), rows or nothing)


def print_measurements(manifest: Manifest) -> None:
    """Print every comparison of the proof chain."""
    rows = [
        (
            *(proof.step, wrapped(each.inputs, 38), each.metric, each.computed_in),
            *(f"{each.error:.1e}", tolerance_text(each.tolerance)),
        )
        for proof in manifest.proofs
        for each in proof.measurements
    ]
    print_table("Every comparison", ("step", "on", "by", "in", "error", "tolerance"), rows)


def print_files(manifest: Manifest) -> None:
    """Print every file with its size and digest."""
    rows = [(name, size_text(entry.size_bytes), entry.sha256[:16]) for name, entry in sorted(manifest.files.items())]
    print_table("Files", ("file", "size", "SHA-256"), rows)
