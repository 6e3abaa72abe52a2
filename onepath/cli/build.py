"""`onepath build`: from a recipe to bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onepath.cli.tables import bundle_size, examples, print_chain, print_table, size_text
from onepath.contract.errors import MissingExtraError

EXAMPLES = examples("onepath build export/digits/recipe.yaml", "onepath build my/recipe.yaml --output /data/bundles")
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write to, a folder for each bundle.")
    ] = Path("build"),
) -> None:
    """Make bundles from a recipe.

    Its models are trained, merged, collapsed and exported, and every step is proved. Each bundle is written only once
    all of its steps are within the recipe's tolerances; one that is already there is replaced by the new one in a
    single step.
    """
    from onepath.cli.progress import shown_progress

    try:
        from onepath.export.build import build
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "onepath":  # a part of onepath itself, which no extra brings
            raise
        raise MissingExtraError(str(error.name), "export", purpose="building a bundle") from error
    with shown_progress() as progress:
        bundles = build(recipe, output, progress)
    for bundle in bundles:
        print_chain(bundle.manifest)
    rows = [
        (b.manifest.name, str(b.path), b.short_id, size_text(bundle_size(b.manifest)), str(len(b.manifest.proofs)))
        for b in bundles
    ]
    print_table("Bundles", ("name", "folder", "id", "size", "proofs"), rows)
    typer.echo(f"next: onepath deploy {bundles[0].path} --repository {output / 'model_repository'}")
