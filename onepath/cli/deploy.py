"""`onepath deploy`: a bundle into a model repository."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from onepath.cli.tables import examples

EXAMPLES = examples(
    "onepath deploy build/digits --repository build/model_repository",
    "onepath deploy digits --repository /srv/models --kind gpu --max-queue-delay-us 500",
)
CONTEXT: dict[str, Any] = {}  # click's settings


class Kind(str, Enum):
    """Where the graph runs."""

    CPU = "cpu"
    GPU = "gpu"


def command(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    *,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="The model repository; made where missing.")
    ] = Path("build/model_repository"),
    kind: Annotated[Kind, typer.Option(help="Where the graph runs; preprocessing runs on the CPU.")] = Kind.CPU,
    preprocess_instances: Annotated[
        int | None, typer.Option(min=1, help="Processes per modality; one per core unless given.")
    ] = None,
    graph_instances: Annotated[
        int | None, typer.Option(min=1, help="Graph runs at the same time; one per core, or one on a GPU.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of one graph run.")] = 1,
    max_queue_delay_us: Annotated[
        int, typer.Option(min=0, help="How long a request may wait for others to share a batch with.")
    ] = 0,
) -> None:
    """Put a bundle into a model repository.

    The bundle is checked first. Its models are put in place one by one and the name that clients call is switched
    last; what served another bundle under that name before is then removed.
    """
    from onepath.cli.places import bundle_path
    from onepath.contract.bundle import open_bundle
    from onepath.server.repository import deploy
    from onepath.server.settings import DeploySettings

    settings = DeploySettings(
        kind=kind.value,
        preprocess_instances=preprocess_instances,
        graph_instances=graph_instances,
        intra_op_threads=threads,
        max_queue_delay_us=max_queue_delay_us,
    )
    opened = open_bundle(bundle_path(bundle))
    deployment = deploy(opened, repository, settings)
    typer.echo(f"deployed {deployment.front_door} {opened.short_id} to {repository}")
    for model in deployment.models:
        typer.echo(f"  {model}")
    typer.echo(f"next: onepath serve {repository}")
