"""What torch's errors of export mean, in words, and what to do about each."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHOWN = 240
"""How many characters of torch's own words are shown."""


@dataclass(frozen=True)
class CauseInWords:
    """Why an export failed.

    Attributes:
        reason: what the line does that a graph cannot hold, with torch's own words in brackets.
        advice: what to do.
    """

    reason: str
    advice: str


_ROWS = (
    "makes what is computed depend on the number of rows",
    "treat all rows at once, however many there are: no loop over rows, no branch on values.shape[0]",
)
TRAINING = (
    "normalizes with the statistics of the batch, so that rows depend on each other and on their number",
    "put BatchNorm into eval mode, or let the collapse fold it into the layer before it",
)
_VALUES = (
    "chooses what to compute by the values of a tensor, which a graph cannot follow",
    "choose between results with torch.where, and keep .item(), .tolist() and bool(tensor) out of forward; what does "
    "not depend on the input can be computed in __init__",
)
_COMPLEX = (
    "needs a Fourier transform or complex numbers, which engines treat differently or not at all",
    "write it as real matrix products, such as those with the cosines and sines of a transform of fixed length",
)
_MISSING = (
    "needs an operation that ONNX has not",
    "write it with operations that ONNX has, or compute it in __init__ where it does not depend on the input",
)
_VIEW = (
    "writes into a view of another tensor",
    "compute a new tensor: x = x + 1 for x += 1, torch.where or torch.cat for an assignment to a slice",
)
MUTATION = (
    "changes a buffer or parameter of the module, which a served graph cannot keep",
    "leave the module unchanged in eval mode: return what changes, or make it a constant",
)
_SHAPES = (
    "does not fit the shape or dtype that it gets",
    "run the encoder on zeros of the modality's tensor, (rows, *shape) in the modality's dtype, and mend the line",
)
RECURRENT = (
    "is a recurrent network, which torch writes as a loop that it cannot trace here, and which ONNX Runtime does not run "
    "on no rows at all",
    "write its steps out with nn.LSTMCell or nn.GRUCell, which take the same weights: the number of steps is that of the "
    "modality's tensor, so that a plain loop over it does, over masked steps instead of packed sequences",
)
_SELECTION = (
    "selects elements by their values, so that their number is not known",
    "keep the shape: torch.where(mask, x, 0), and sums over the mask in the place of means over what is selected",
)
_HEADS = ("gives attention something else than (rows, heads, tokens, width)", "unsqueeze(1) makes an axis of one head")
_DYNAMO = ("uses Python that torch cannot trace", "use tensor operations and plain Python in forward")
_OTHER = ("cannot be exported", "change the line to an operation of ONNX")

_BY_PATTERN = (
    (r"too large to convert to C long", _SELECTION),
    (r"only 4D query", _HEADS),
    (r"Size-like symbols: u\d", _ROWS),
    (r"GuardOnDataDependent|data.dependent|_local_scalar_dense", _VALUES),
    (r"fft|complex", _COMPLEX),
    (r"No ONNX function found|No decompositions? registered", _MISSING),
    (r"single memory location|in-?place|is a view|view of a leaf", _VIEW),
    (r"size mismatch|shape|reduction dim|must match|broadcast|dtype|same type|out of range|dimension", _SHAPES),
    (r"torch\._dynamo|Unsupported", _DYNAMO),
)
"""Read in this order: the first that torch's words hold is the cause."""


def cause_in_words(error: BaseException, source: str, known: tuple[str, str] | None = None) -> CauseInWords:
    """Return why an export failed and what to do.

    Args:
        error: the first cause.
        source: the line of the model's code, empty where unknown.
        known: reason and advice, where more than torch's words says what it is.

    >>> cause_in_words(RuntimeError("No ONNX function found for <OpOverload(op='aten._linalg_svd')>"), "").reason
    "needs an operation that ONNX has not (No ONNX function found for <OpOverload(op='aten._linalg_svd')>)"
    """
    words = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    text = f"{type(error).__module__}.{type(error).__name__}: {error} {source}"
    found = next((cause for pattern, cause in _BY_PATTERN if re.search(pattern, text, re.IGNORECASE)), _OTHER)
    reason, advice = known or found
    return CauseInWords(f"{reason} ({words[:_SHOWN]})", advice)
