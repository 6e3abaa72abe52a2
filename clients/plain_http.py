"""Call a pipeline over HTTP, in binary, with tritonclient alone: what any client of the protocol has to do.

python clients/plain_http.py --row image=@seven.png audio=@seven.wav --row text=seven
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tritonclient.http as triton


def main() -> None:
    """Print a line for each row of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits", help="name of the pipeline")
    parser.add_argument("--address", default="127.0.0.1:8000", metavar="HOST:PORT")
    parser.add_argument(
        "--row", dest="rows", action="append", nargs="+", required=True, metavar="MODALITY=VALUE", help="@ reads a file"
    )
    arguments = parser.parse_args()
    rows = [dict(payload_from_argument(argument) for argument in row) for row in arguments.rows]

    with triton.InferenceServerClient(arguments.address, network_timeout=30.0) as client:
        config = client.get_model_config(arguments.model)
        card = json.loads(config["parameters"]["onepath"]["string_value"])
        modalities = [modality["name"] for modality in card["modalities"]]
        inputs = []
        for name in modalities:  # every modality is an input; an empty element says that the row lacks it
            tensor = triton.InferInput(name, [len(rows), 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[row.get(name, b"")] for row in rows], dtype=np.object_))
            inputs.append(tensor)
        answer = client.infer(arguments.model, inputs)

    presence, row_status = answer.as_numpy("presence"), answer.as_numpy("row_status")[:, 0]
    statuses = {name: answer.as_numpy(f"{name}_status")[:, 0] for name in modalities}
    print(f"{'row':<4}{'label':<12}{'score':<9}{'used':<20}said")
    for number, scores in enumerate(answer.as_numpy("scores")):
        ok, best = row_status[number] == 0, int(scores.argmax())
        label, score = (card["labels"][best], f"{scores[best]:.6f}") if ok else ("-", "-")
        used = "+".join(name for name, state in zip(modalities, presence[number], strict=True) if state == 1) or "none"
        said = "; ".join(f"{name}: {said[number].decode()}" for name, said in statuses.items() if said[number])
        print(f"{number:<4}{label:<12}{score:<9}{used:<20}{said}".rstrip())


def payload_from_argument(argument: str) -> tuple[str, bytes]:
    """Return the modality and the bytes of `image=@seven.png` or `text=seven`."""
    name, _, value = argument.partition("=")
    return name, Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()


if __name__ == "__main__":
    main()
