"""Call a pipeline with onepath's own client, over gRPC or HTTP.

python clients/python_client.py --row image=@seven.png audio=@seven.wav --row text=seven
"""

import argparse
from pathlib import Path

from onepath.clients import Client, HttpClient, Prediction


def main() -> None:
    """Print a line for each row of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits", help="name of the pipeline")
    parser.add_argument("--grpc", default="127.0.0.1:8001", metavar="HOST:PORT", help="address of the gRPC end")
    parser.add_argument("--http", metavar="HOST:PORT", help="call the HTTP end at this address instead")
    parser.add_argument(
        "--row", dest="rows", action="append", nargs="+", required=True, metavar="MODALITY=VALUE", help="@ reads a file"
    )
    arguments = parser.parse_args()
    rows = [dict(value_from_argument(argument) for argument in row) for row in arguments.rows]
    columns = {name: [row.get(name) for row in rows] for name in {name: None for row in rows for name in row}}
    with HttpClient(arguments.http) if arguments.http else Client(arguments.grpc) as client:
        predictions = client.predict(arguments.model, **columns)
    print(f"{'row':<4}{'label':<12}{'score':<9}{'used':<20}said")
    for number, row in enumerate(predictions):
        print(line_from_prediction(number, row))


def value_from_argument(argument: str) -> tuple[str, str | Path]:
    """Return the modality and the value of `image=@seven.png` or `text=seven`."""
    name, _, value = argument.partition("=")
    return name, Path(value[1:]) if value.startswith("@") else value


def line_from_prediction(number: int, row: Prediction) -> str:
    """Return a row of the table."""
    label, score = (row.label, f"{row.score:.6f}") if row.ok and row.score is not None else ("-", "-")
    said = [row.row_status, *(f"{name}: {status.message}" for name, status in row.status.items())]
    used = "+".join(row.presence) or "none"
    return f"{number:<4}{label:<12}{score:<9}{used:<20}{'; '.join(filter(None, said))}".rstrip()


if __name__ == "__main__":
    main()
