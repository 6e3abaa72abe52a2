"""`onepath predict`: one row to a running server, with whatever modalities it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.arguments import modalities_from_arguments, value_from_text
from onepath.cli.exits import FAILED
from onepath.cli.tables import examples

if TYPE_CHECKING:
    from onepath.clients import Prediction

EXAMPLES = examples(
    "onepath predict digits --image seven.png --audio seven.wav",
    "onepath predict digits --text seven --json",
    'onepath predict churn --customer \'{"age": 41, "plan": null}\' --letter @letter.txt',
    "onepath predict digits --image seven.png --server gpu-box:8000 --protocol http",
)
CONTEXT: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}  # click's settings

_PORTS = {"grpc": 8001, "http": 8000}
_SHOWN_SCORES = 5


class Protocol(str, Enum):
    """How the server is called."""

    GRPC = "grpc"
    HTTP = "http"


def command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The pipeline's name.")],
    server: Annotated[
        str, typer.Option(envvar="ONEPATH_SERVER", help="host:port. Default: 127.0.0.1 and the protocol's port.")
    ] = "",
    protocol: Annotated[Protocol, typer.Option(help="How the server is called.")] = Protocol.GRPC,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="How long an answer may take.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a server about one row.

    Give each modality that the row has as an option of its own name, and leave out the others: a file for images,
    sound, video and point clouds, the value itself for text and tables (JSON), or @FILE to read it from a file.
    """
    from onepath.clients import Client, HttpClient

    given = modalities_from_arguments(context.args, [name for each in context.command.params for name in each.opts])
    client_type = Client if protocol is Protocol.GRPC else HttpClient
    with client_type(server or f"127.0.0.1:{_PORTS[protocol.value]}", timeout_s=timeout_s) as client:
        card = client.pipeline(model)
        kinds = {modality.name: modality.kind for modality in card.modalities}
        values: dict[str, Any] = {name: [value_from_text(text, kinds.get(name, ""))] for name, text in given.items()}
        row = client.predict(model, **values)[0]
    if as_json:
        typer.echo(json.dumps({"model": model, "bundle": card.bundle_id} | _json_from_row(row), ensure_ascii=False))
    else:
        _print_row(row, card.labels)
    if not row.ok:
        typer.secho(f"error: {row.row_status}", err=True, fg=typer.colors.RED)
        raise typer.Exit(FAILED)


def _json_from_row(row: Prediction) -> dict[str, Any]:  # JSON
    return {
        "label": row.label,
        "score": row.score,
        "scores": row.scores.tolist(),
        "outputs": {name: array.tolist() for name, array in row.outputs.items()},
        "presence": list(row.presence),
        "status": {name: {"code": status.code, "message": status.message} for name, status in row.status.items()},
        "row_status": row.row_status,
    }


def _print_row(row: Prediction, labels: Sequence[str]) -> None:
    if row.label is not None:
        typer.echo(f"{row.label}  {row.score:.4f}")
        best = row.scores.argsort()[::-1][:_SHOWN_SCORES]
        others = [f"{labels[index] if labels else index} {row.scores[index]:.4f}" for index in best[1:]]
        typer.echo(f"then      {', '.join(others)}")
    for name, array in row.outputs.items():
        shown = ", ".join(f"{value:.4g}" for value in array.ravel()[:_SHOWN_SCORES])
        typer.echo(f"{name}  {list(array.shape)}: {shown}{' …' if array.size > _SHOWN_SCORES else ''}")
    typer.echo(f"used      {', '.join(row.presence) or 'nothing'}")
    for name, status in row.status.items():
        typer.echo(f"not used  {name}: {status.message} [{status.code}]")
