"""Output rows in a layer's name: `blocks.0.attn.qkv[k]`, `blocks.0.mlp.fc1[0:64]`."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast, get_args

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.rows import Rows
from onepath.merging.reparameterization.weights import WeightAddress

Projection = Literal["q", "k", "v"]
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)

_SLICED = re.compile(r"(?P<path>.*)\[(?:(?P<projection>[qkv])|(?P<first>\d+):(?P<last>\d+))\]")
_INTERLEAVED = "query_key_value"


class SlicedName(NamedTuple):
    """A layer's name as a user writes it, taken apart.

    Attributes:
        path: what comes before the brackets.
        part: what the brackets hold, a third of a fused projection or rows; None without brackets.
    """

    path: str
    part: Projection | Rows | None = None


def sliced_name(text: str) -> SlicedName:
    """Return a layer's name taken apart.

    >>> sliced_name("blocks.0.attn.qkv[0:64]")
    SlicedName(path='blocks.0.attn.qkv', part=(0, 64))
    """
    found = _SLICED.fullmatch(text)
    if not found:
        return SlicedName(text)
    if found["projection"]:
        return SlicedName(found["path"], cast(Projection, found["projection"]))
    return SlicedName(found["path"], (int(found["first"]), int(found["last"])))


def rows_of(address: WeightAddress, part: Projection | Rows | None) -> Rows | None:
    """Return the output rows that a name's brackets stand for; None for all of them.

    A third of a fused projection is the first, second or last third of the rows for q, k and v, as timm, torch and
    GPT-2 lay them out.

    Raises:
        UnsupportedModuleError: the layer has no such rows, or the projection is not three blocks of rows of one size.
    """
    if not isinstance(part, str):
        check_rows(address, part)
        return part
    outputs = address.value.shape[address.output_axis]
    inputs = address.value.numel() // max(outputs, 1)
    if address.layer.rpartition(".")[2] == _INTERLEAVED:
        raise _not_thirds(address, "it interleaves the rows of its heads")
    if outputs % 3 or (address.value.ndim > 1 and outputs != 3 * inputs):
        raise _not_thirds(
            address, f"it has {outputs} rows for {inputs} inputs, not three times as many (grouped queries, perhaps)"
        )
    first = PROJECTIONS.index(part) * (outputs // 3)
    return first, first + outputs // 3


def check_rows(address: WeightAddress, rows: Rows | None) -> None:
    """Refuse rows that a layer does not have.

    Raises:
        UnsupportedModuleError: it has none of them, or not all.
    """
    size = address.value.shape[address.output_axis] if address.value.ndim else 0
    if rows is not None and not 0 <= rows[0] < rows[1] <= size:
        raise UnsupportedModuleError(
            f"the rows {rows[0]}:{rows[1]} of {address.layer}", f"it has {size} rows", "name rows that it has"
        )


def _not_thirds(address: WeightAddress, reason: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"{address.layer} as q, k and v", reason, "write the rows themselves, such as [0:64], in layers={…}"
    )
