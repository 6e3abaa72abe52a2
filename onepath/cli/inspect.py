"""`onepath inspect`: what a bundle is, takes and gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.tables import bundle_size, examples, print_comparisons, print_table, size_text

if TYPE_CHECKING:
    from onepath.contract.manifest import Manifest, ModalityEntry

EXAMPLES = examples("onepath inspect build/digits", "onepath inspect digits --json")
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Show what a bundle is, takes and gives."""
    from onepath.cli.places import bundle_path
    from onepath.contract.bundle import open_bundle

    opened = open_bundle(bundle_path(bundle))
    if as_json:
        typer.echo(json.dumps({"id": opened.id} | opened.manifest.model_dump(mode="json"), ensure_ascii=False))
        return
    _print_facts(opened.manifest, opened.id)
    headings = ("modality", "kind", "tensor", "absent", "bad payload", "settings")
    print_table("Modalities", headings, [_modality_row(entry) for entry in opened.manifest.modalities])
    print_comparisons(opened.manifest)


def _print_facts(manifest: Manifest, bundle_id: str) -> None:
    graph = manifest.graph
    outputs = ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in manifest.outputs)
    facts = {
        "id": bundle_id,
        "about": manifest.description,
        "task": manifest.task,
        "labels": ", ".join(manifest.labels),
        "outputs": outputs,
        "graph": f"{graph.precision}, opset {graph.opset}, at most {graph.max_batch_size} rows",
        "size": size_text(bundle_size(manifest)),
        "licence": manifest.licence,
        "tools": ", ".join(f"{name} {version}" for name, version in manifest.tools.items()),
    } | {name: json.dumps(value, ensure_ascii=False) for name, value in manifest.details.items()}
    print_table(manifest.name, ("", ""), [(name, value) for name, value in facts.items() if value])


def _modality_row(entry: ModalityEntry) -> tuple[str, ...]:
    tensor = f"{entry.tensor.dtype} {list(entry.tensor.shape)}"
    settings = ", ".join(f"{name}={value}" for name, value in entry.settings.items())
    return entry.name, entry.kind, tensor, entry.absent, entry.on_bad_payload, settings
