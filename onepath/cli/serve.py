"""`onepath serve`: a Triton server that is ready once its probes pass, and drained in the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.exits import terminable
from onepath.cli.tables import examples

if TYPE_CHECKING:
    from onepath.server.running import RunningServer

EXAMPLES = examples(
    "onepath serve",
    "onepath serve build/model_repository",
    "onepath serve build/digits --grpc-port 9001 --http-port 9000 --metrics-port 0",
    "onepath serve /srv/models --host 0.0.0.0",
)
CONTEXT: dict[str, Any] = {}  # click's settings

_PORT = "0 chooses a free one."


def command(
    source: Annotated[
        Path | None,
        typer.Argument(help="A model repository, or a bundle's folder. Default: the project's model_repository/."),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option(envvar="ONEPATH_HOST", help="The address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help=f"The port of gRPC. {_PORT}")] = 8001,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help=f"The port of HTTP. {_PORT}")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help=f"The port of metrics. {_PORT}")] = 8002,
    start_timeout_s: Annotated[float, typer.Option(min=1, help="How long models may take to load.")] = 120.0,
    drain_timeout_s: Annotated[
        float, typer.Option(min=1, help="How long requests in flight may take once it is asked to end.")
    ] = 30.0,
    log_file: Annotated[Path | None, typer.Option(help="Where Triton's own log goes.")] = None,
) -> None:
    """Serve a model repository with Triton.

    It runs until Ctrl-C or SIGTERM, which let requests in flight finish. Every file is checked against its digest
    before anything starts, and the server counts as ready only once each pipeline gives its golden probes' answers.
    """
    from onepath.server.launch import start_server
    from onepath.server.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        grpc_port=grpc_port or None,
        http_port=http_port or None,
        metrics_port=metrics_port or None,
        start_timeout_s=start_timeout_s,
        drain_timeout_s=drain_timeout_s,
        log_file=log_file,
    )
    with terminable(), _repository(source) as repository:
        typer.echo(f"starting a server on {repository} …", err=True)
        # The suppression is for a stop that is asked for before the server waits for one.
        with start_server(repository, settings) as server, suppress(KeyboardInterrupt):
            _announce(server, repository)
            server.wait()
    typer.echo("drained and ended")


@contextmanager
def _repository(source: Path | None) -> Iterator[Path]:
    """Give the repository to serve; a bundle is deployed to a temporary one."""
    from onepath.cli.places import is_bundle, repository_path
    from onepath.contract.bundle import open_bundle
    from onepath.server.repository import deploy
    from onepath.tuning.elsewhere import measured_elsewhere

    if source is None or not is_bundle(source):
        yield repository_path(source)
        return
    with tempfile.TemporaryDirectory(prefix="onepath-repository-") as folder:
        repository, bundle = Path(folder) / "model_repository", open_bundle(source)
        deploy(bundle, repository)
        told = measured_elsewhere(bundle)
        if told:
            typer.echo(f"note: {told}", err=True)
        yield repository


def _announce(server: RunningServer, repository: Path) -> None:
    from onepath.contract.bundle import manifest_from_folder
    from onepath.server.names import VERSION

    for report in server.reports:
        typer.echo(
            f"{report.front_door}: {report.rows} probes answered, at most {report.max_abs_error:.1e} off "
            f"(tolerance {report.tolerance:.0e}), {report.alone_latency_ms:.1f} ms a row"
        )
    typer.echo(f"ready: gRPC {server.grpc_address}, HTTP {server.http_address}, metrics {server.metrics_address}")
    name = server.front_doors[0]
    manifest, _ = manifest_from_folder(repository / name / VERSION)
    values = " ".join(
        f"--{entry.name} {'…' if entry.kind in ('text', 'tabular') else 'FILE'}" for entry in manifest.modalities
    )
    typer.echo(f"try:   onepath predict {name} {values} --server {server.grpc_address}")
