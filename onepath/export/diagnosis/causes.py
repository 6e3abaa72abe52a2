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


ENDS = "ONNX Runtime's LSTM and GRU end the whole process when they get no rows"
"""What was seen of ONNX Runtime 1.31."""

UNROLLED = (
    "write the steps out: a plain loop over the fixed number of steps with nn.LSTMCell or nn.GRUCell, which take the "
    "same weights, and torch.where on a mask in the place of packed sequences"
)

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
    f"is a recurrent network: torch writes it as a loop that it cannot trace for the rows of one modality, and {ENDS}",
    UNROLLED,
)
_SELECTION = (
    "selects elements by their values, so that their number is not known",
    "keep the shape: torch.where(mask, x, 0), and sums over the mask in the place of means over what is selected",
)
_HEADS = ("gives attention something else than (rows, heads, tokens, width)", "unsqueeze(1) makes an axis of one head")
_FIXED_DTYPE = (
    "computes in a dtype of its own, and is proved in float64 as well as in float32",
    "cast to the dtype of a weight, such as values.to(self.linear.weight.dtype) for values.float()",
)
_OTHER_ROWS = (
    "gives another number of rows than it gets",
    "give one row of features for each row of values, however many there are",
)
_DYNAMO = ("uses Python that torch cannot trace", "use tensor operations and plain Python in forward")
_PADDING = (
    "takes a shortcut of torch that needs something in each row that is not masked, which a row of zeros has not",
    "pass enable_nested_tensor=False to nn.TransformerEncoder, and leave each row a token to attend to",
)
NOT_EXPORTED = ("cannot be exported", "change the line to an operation of ONNX")
NOT_RUN = (
    "fails on rows that may come",
    "run the encoder on zeros, on one row and on several, as torch.zeros(rows, *shape) in the modality's dtype",
)

_BY_PATTERN = (
    (r"\b(double|float64)\b", _FIXED_DTYPE),
    (r"Number of indices", _OTHER_ROWS),
    (r"to_padded_tensor|nested tensor", _PADDING),
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


def cause_in_words(
    error: BaseException,
    source: str,
    known: tuple[str, str] | None = None,
    otherwise: tuple[str, str] = NOT_EXPORTED,
) -> CauseInWords:
    """Return why an export failed and what to do.

    Args:
        error: the first cause.
        source: the line of the model's code, empty where unknown.
        known: reason and advice, where more than torch's words says what it is.
        otherwise: the same where nothing says what it is.

    >>> cause_in_words(RuntimeError("No ONNX function found for <OpOverload(op='aten._linalg_svd')>"), "").reason
    "needs an operation that ONNX has not (No ONNX function found for <OpOverload(op='aten._linalg_svd')>)"
    """
    words = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    text = f"{type(error).__module__}.{type(error).__name__}: {error} {source}"
    found = next((cause for pattern, cause in _BY_PATTERN if re.search(pattern, text, re.IGNORECASE)), otherwise)
    reason, advice = known or found
    return CauseInWords(f"{reason} ({words[:_SHOWN]})", advice)
