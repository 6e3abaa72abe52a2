"""`onepath deploy`: a bundle into a model repository."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.tables import examples

if TYPE_CHECKING:
    from onepath.contract.bundle import Bundle
    from onepath.contract.deployment import Deployment

EXAMPLES = examples(
    "onepath deploy build/digits --repository build/model_repository",
    "onepath deploy build/digits --precision int8",
    "onepath deploy digits --repository /srv/models --kind gpu --max-queue-delay-us 500 --preferred-batch-size 8",
)
CONTEXT: dict[str, Any] = {}  # click's settings

_OPTIONS = {
    "precision": "--precision",
    "kind": "--kind",
    "engine": "--engine",
    "preprocess_instances": "--preprocess-instances",
    "graph_instances": "--graph-instances",
    "intra_op_threads": "--threads",
    "max_queue_delay_us": "--max-queue-delay-us",
}
"""Setting to option, of those that take a value as it is."""


class Kind(str, Enum):
    """Where the graph runs."""

    CPU = "cpu"
    GPU = "gpu"


class Precision(str, Enum):
    """What a graph computes in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class Engine(str, Enum):
    """Whether TensorRT engines run in the place of the graph."""

    AUTO = "auto"
    NEVER = "never"
    REQUIRE = "require"


def command(  # noqa: PLR0913 - each parameter is an option
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    *,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="The model repository; made where missing.")
    ] = Path("build/model_repository"),
    precision: Annotated[
        Precision | None, typer.Option(help="Which of the bundle's graphs; its own choice unless given.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Where the graph runs; preprocessing runs on the CPU. Default: cpu.")
    ] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="TensorRT engines in the place of the graph. Default: auto, where they fit.")
    ] = None,
    preprocess_instances: Annotated[
        int | None, typer.Option(min=1, help="Processes per modality; one per core unless given.")
    ] = None,
    graph_instances: Annotated[
        int | None, typer.Option(min=1, help="Graph runs at the same time; one per core, or one on a GPU.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of one graph run. Default: 1.")
    ] = None,
    spinning: Annotated[
        bool | None,
        typer.Option(
            "--spinning/--no-spinning", help="Whether its idle threads spin, at the cost of preprocessing. Default: no."
        ),
    ] = None,
    max_queue_delay_us: Annotated[
        int | None,
        typer.Option(min=0, help="How long a request may wait for others to share a batch with. Default: 0."),
    ] = None,
    preferred_batch_size: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Rows of a batch that waits no longer; can be given several times, 0 for none."),
    ] = None,
    require_signature: Annotated[
        Path | None, typer.Option(help="A public key in PEM, or a folder of them: the bundle must be signed by one.")
    ] = None,
) -> None:
    """Put a bundle into a model repository.

    The bundle is checked first. Its models are put in place one by one and the name that clients call is switched
    last; what served another bundle under that name before is then removed. Where the bundle has deployment settings
    of its own, such as those that `onepath tune` chose, they stand in for the options that are not given.
    """
    from onepath.cli.places import bundle_path
    from onepath.contract.bundle import open_bundle
    from onepath.contract.signatures import require_signature as check_signature
    from onepath.server.repository import deploy
    from onepath.server.settings import DeploySettings

    options = {
        "precision": precision and precision.value,
        "kind": kind and kind.value,
        "engine": engine and engine.value,
        "preprocess_instances": preprocess_instances,
        "graph_instances": graph_instances,
        "intra_op_threads": threads,
        "allow_spinning": spinning,
        "max_queue_delay_us": max_queue_delay_us,
        "preferred_batch_sizes": _batch_sizes(preferred_batch_size or []),
    }
    given = DeploySettings.model_validate({name: value for name, value in options.items() if value is not None})
    opened = open_bundle(bundle_path(bundle))
    if require_signature is not None:
        check_signature(opened, require_signature)
    _tell(deploy(opened, repository, given), opened, repository)


def _batch_sizes(given: list[int]) -> list[int] | None:
    """Return the preferred batch sizes: none for a lone 0, and None where nothing was given."""
    if 0 in given and any(given):
        problem = "0 is for none, and cannot be given beside other sizes"
        raise typer.BadParameter(problem, param_hint="'--preferred-batch-size'")
    return [size for size in given if size] if given else None


def deploy_command(bundle: Path, settings: Mapping[str, Any]) -> str:  # JSON
    """Return the command that deploys a bundle with settings, whatever settings the bundle has itself.

    >>> deploy_command(Path("build/digits"), {"precision": "int8", "allow_spinning": False, "intra_op_threads": 2})
    'onepath deploy build/digits --precision int8 --no-spinning --threads 2'

    Args:
        bundle: its folder.
        settings: as a manifest holds them.
    """
    words = ["onepath", "deploy", str(bundle)]
    words += [word for name, value in settings.items() for word in _words(name, value)]
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:  # value: JSON
    """Return the option that gives a setting a value; nothing for a setting that has none."""
    if name == "allow_spinning":
        return ["--spinning" if value else "--no-spinning"]
    if name == "preferred_batch_sizes":
        return [word for size in value or [0] for word in ("--preferred-batch-size", str(size))]
    option = _OPTIONS.get(name)
    return [] if option is None or value is None else [option, str(value)]


def _tell(deployment: Deployment, opened: Bundle, repository: Path) -> None:
    from onepath.tuning.elsewhere import measured_elsewhere

    deployed = f"{deployment.front_door} {opened.short_id} in {deployment.settings['precision']}"
    typer.echo(f"deployed {deployed} to {repository}")
    for model in deployment.models:
        typer.echo(f"  {model}")
    for told in (measured_elsewhere(opened), _slower(deployment, opened)):
        if told:
            typer.echo(f"note: {told}", err=True)
    typer.echo(f"next: onepath serve {repository}")


def _slower(deployment: Deployment, opened: Bundle) -> str | None:
    from onepath.server.fitting import slower_than_float32
    from onepath.server.settings import DeploySettings
    from onepath.server.variants import manifest_as_deployed

    settings = DeploySettings.model_validate(deployment.settings)
    return slower_than_float32(manifest_as_deployed(opened.manifest, settings), settings)
