"""Parents of the soup recipe in numpy, and what their merges and answers are, written out."""

import json
import shutil
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file
from sklearn.datasets import load_iris

FOLDER = Path(__file__).parent / "soup_recipe"
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
LABELS = ("setosa", "versicolor", "virginica")
WIDTH = 8
EVERY = 15
"""One held-out row of so many flowers."""


def parents():
    """Return the tensors of each parent, in the order of the model's state dict."""
    generator = np.random.default_rng(7)
    base = _tensors(generator)
    return {"base": base, "left": _near(base, generator), "right": _near(base, generator)}


def _tensors(generator):
    linear = {"first": (WIDTH, 4), "second": (WIDTH, WIDTH), "head": (3, WIDTH)}
    made = {}
    for name, shape in linear.items():
        made[f"{name}.weight"] = generator.normal(size=shape, scale=0.5).astype(np.float32)
        made[f"{name}.bias"] = generator.normal(size=shape[:1], scale=0.1).astype(np.float32)
    made["norm.weight"] = generator.uniform(0.8, 1.2, WIDTH).astype(np.float32)
    made["norm.bias"] = generator.normal(size=WIDTH, scale=0.1).astype(np.float32)
    made["steps"] = np.array(100, np.int64)
    return made


def _near(base, generator):
    moved = {
        name: (tensor + generator.normal(size=tensor.shape, scale=0.1)).astype(np.float32)
        for name, tensor in base.items()
        if tensor.dtype == np.float32
    }
    return moved | {"steps": np.array(generator.integers(200, 300), np.int64)}


def flowers():
    """Return held-out rows `(rows, 4)` float64 and their classes."""
    iris = load_iris()
    return iris.data[::EVERY], iris.target[::EVERY]


def write_soup(folder, **changes):
    """Write the recipe, its code, its parents' weights and its rows to a folder; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FOLDER / "models.py", folder)
    tensors = parents()
    for name in ("base", "left"):
        save_file(tensors[name], folder / f"{name}.safetensors")
    _write_shards(tensors["right"], folder / "right")
    values, classes = flowers()
    rows = [
        {"flower": dict(zip(NAMES, row, strict=True)), "target": LABELS[label]}
        for row, label in zip(values.tolist(), classes, strict=True)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = yaml.safe_load((FOLDER / "recipe.yaml").read_text()) | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder / "recipe.yaml"


def _write_shards(tensors, folder):
    folder.mkdir(exist_ok=True)
    files = {"model-1.safetensors": list(tensors)[:4], "model-2.safetensors": list(tensors)[4:]}
    for file, names in files.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in files.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def answers(tensors, values):
    """Return the probabilities of each class, `(rows, 3)`."""
    wide = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    x = values.astype(np.float32).astype(np.float64) @ wide["first.weight"].T + wide["first.bias"]
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x = np.tanh(x * wide["norm.weight"] + wide["norm.bias"])
    x = np.tanh(x @ wide["second.weight"].T + wide["second.bias"])
    logits = x @ wide["head.weight"].T + wide["head.bias"]
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def mean(left, right):
    return 0.75 * left + 0.25 * right


def arc(left, right):
    """Return the middle of the arc between two vectors, its norm the mean of theirs."""
    a, b = left.ravel(), right.ravel()
    norms = np.linalg.norm(a), np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / (norms[0] * norms[1]), -1, 1))
    share = np.sin(angle / 2) / np.sin(angle)
    return ((a / norms[0] + b / norms[1]) * share * np.mean(norms)).reshape(left.shape)


def agreed(base, left, right):
    """Return TIES with weights 1 and 2, trimmed to a half of each tensor, element by element."""
    changes = [_trimmed(each - base) for each in (left, right)]
    merged = base.copy()
    for index in np.ndindex(base.shape):
        pair = [(weight, change[index]) for weight, change in zip((1, 2), changes, strict=True)]
        sign = np.sign(sum(weight * change for weight, change in pair))
        kept = [(weight, change) for weight, change in pair if sign != 0 and np.sign(change) == sign]
        if kept:
            merged[index] += sum(weight * change for weight, change in kept) / sum(weight for weight, _ in kept)
    return merged


def _trimmed(change):
    kept = round(0.5 * change.size)
    smallest = np.sort(np.abs(change).ravel())[-kept]
    return np.where(np.abs(change) >= smallest, change, 0)


def merged_by(merge):
    """Return the merged tensors of one of the recipe's merges, rounded to float32."""
    base, left, right = (
        {name: tensor.astype(np.float64) for name, tensor in tensors.items() if name != "steps"}
        for tensors in parents().values()
    )
    made = {}
    for name in base:
        if merge == "mean":
            made[name] = mean(left[name], right[name])
        elif merge == "round":
            made[name] = left[name] if name.startswith("norm.") else arc(left[name], right[name])
        elif name.startswith("head."):
            made[name] = (left[name] + right[name]) / 2
        else:
            made[name] = agreed(base[name], left[name], right[name])
    steps = parents()["base" if merge == "agreed" else "left"]["steps"]
    return {name: tensor.astype(np.float32) for name, tensor in made.items()} | {"steps": steps}
