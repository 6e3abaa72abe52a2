"""A model whose accuracy can be counted by hand: it adds the votes of the modalities that are present.

Each modality's values are its votes for three classes, and `answer = sum of (votes + bias)` over what is present.
Image votes with weight 1 and is right in 9 of 12 rows, audio with weight 4 and is right in 6: together, audio decides.
"""

import json
from pathlib import Path

import numpy as np
import onnx.parser

from onepath.contract.manifest import ModalityEntry
from onepath.contract.tensors import TensorSpec
from onepath.export.rows import RowSource

CLASSES = 3
TARGETS = [index % CLASSES for index in range(12)]
IMAGE_RIGHT = [index % 4 != 0 for index in range(12)]
AUDIO_RIGHT = [index < 6 for index in range(12)]
NO_BIAS = (0.0, 0.0, 0.0)
FOR_CLASS_0 = (1.5, 0.0, 0.0)
"""A bias of a modality that is present, by which zeros are a vote for class 0 that outweighs the image's."""

_PART = """
  {m}_code = Cast<to = 6>({m}_state)
  {m}_used = Equal({m}_code, one)
  {m}_mask = Cast<to = 1>({m}_used)
  {m}_votes = Add({m}, {m}_bias)
  {m}_part = Mul({m}_votes, {m}_mask)
"""


def write_adder(path: Path, biases: dict[str, tuple[float, ...]]) -> Path:
    """Write the graph of modalities with their biases."""
    values = [f"float[rows, {CLASSES}] {name}" for name in biases]
    states = [f"uint8[rows, 1] {name}_state" for name in biases]
    constants = [f"float[1, 3] {name}_bias = {{{', '.join(map(str, bias))}}}" for name, bias in biases.items()]
    text = f"""<ir_version: 10, opset_import: ["": 20]>
        adder ({", ".join(values + states)}) => (float[rows, {CLASSES}] answer)
        <{", ".join([*constants, "int32 one = {1}"])}>
        {{{"".join(_PART.format(m=name) for name in biases)}
          answer = Sum({", ".join(f"{name}_part" for name in biases)}) }}"""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def entries(names, required=()):
    """Return tabular modalities of three columns."""
    settings = {"columns": [{"name": f"class {index}"} for index in range(CLASSES)]}
    return [
        ModalityEntry(
            name=name,
            kind="tabular",
            settings=settings,
            absent="required" if name in required else "remerge",
            tensor=TensorSpec(name=name, dtype="float32", shape=(CLASSES,)),
        )
        for name in names
    ]


def votes(target: int, *, right: bool, weight: float = 1.0) -> bytes:
    """Return the payload of a modality that votes for the target, or else for the class after it."""
    chosen = target if right else (target + 1) % CLASSES
    return json.dumps([weight * (index == chosen) for index in range(CLASSES)]).encode()


def rows_of_votes():
    """Return the twelve rows."""
    return [
        {"image": votes(target, right=image), "audio": votes(target, right=audio, weight=4.0)}
        for target, image, audio in zip(TARGETS, IMAGE_RIGHT, AUDIO_RIGHT, strict=True)
    ]


def source_of_votes(rows=None, names=("image", "audio"), required=()):
    """Return the twelve rows, or others, with their modalities."""
    return RowSource(entries(names, required), Path("nowhere"), rows if rows is not None else rows_of_votes())


def source_of_vectors(vectors: dict[str, np.ndarray], required=()):
    """Return rows whose values are the vectors `(rows, 3)` of each modality."""
    count = len(next(iter(vectors.values())))
    rows = [{name: json.dumps(array[i].tolist()).encode() for name, array in vectors.items()} for i in range(count)]
    return RowSource(entries(vectors, required), Path("nowhere"), rows)
