"""How far a graph in another precision may be from the float32 one: the default table, chosen before measuring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from onepath.contract.graphs import Precision
from onepath.contract.proofs import LOOSEST, Metric
from onepath.contract.tensors import Closed

Limit = Annotated[float, Field(ge=0, le=LOOSEST)]


class PrecisionGate(Closed):
    """The most that a precision may change of the first output, with any presence pattern.

    For classification the output is probabilities, and each limit is one of these. An embedding has no scale of its
    own: of it, `max_abs` limits the largest difference divided by the largest output, and the cosine distance rules.

    Attributes:
        max_abs: the largest difference of one number. A probability moves by at most a quarter of what the margin
            between two logits moves by, so 0.25 is one nat of margin in the worst of all rows.
        mean_abs: the mean difference over rows and classes.
        cosine_distance: 1 − the smallest cosine of a row.
        flips: the share of rows whose highest score is another.
        accuracy_loss: the share of rows that only the float32 graph answers correctly, less the share that only the
            other does. 0.005 is half a point.
    """

    max_abs: Limit
    mean_abs: Limit
    cosine_distance: Limit
    flips: Limit
    accuracy_loss: Limit = 0.005

    def limit(self, metric: Metric) -> float:
        """Return the limit of a metric; `max_relative` has that of `max_abs`."""
        return float(getattr(self, "max_abs" if metric == "max_relative" else metric))


class PrecisionGates(Closed):
    """The gate of each precision, and the rows that it is measured on.

    A gate follows from how coarsely the precision rounds: float16 to 11 bits, bfloat16 to 8, and int8 to 8 bits of the
    largest value of a whole tensor, of which most values use a few. None depends on what was ever measured.

    Attributes:
        fp16: of float16.
        bf16: of bfloat16.
        int8: of int8.
        rows: the most held-out rows for each presence pattern.
    """

    fp16: PrecisionGate = PrecisionGate(max_abs=0.02, mean_abs=0.001, cosine_distance=0.002, flips=0.005)
    bf16: PrecisionGate = PrecisionGate(max_abs=0.1, mean_abs=0.005, cosine_distance=0.02, flips=0.01)
    int8: PrecisionGate = PrecisionGate(max_abs=0.25, mean_abs=0.01, cosine_distance=0.05, flips=0.02)
    rows: int = Field(default=512, ge=1, le=100_000)

    def gate(self, precisions: Iterable[Precision]) -> PrecisionGate:
        """Return the gate of a graph: for each limit, the largest of its precisions other than float32.

        >>> PrecisionGates().gate(["int8", "fp32"]).max_abs
        0.25

        Raises:
            ValueError: all of it is float32, which has no gate.
        """
        gates: list[PrecisionGate] = [getattr(self, precision) for precision in {*precisions} - {"fp32"}]
        if not gates:
            raise ValueError("a graph in float32 has no gate: it is what the others are held against")
        return PrecisionGate(
            **{name: max(getattr(gate, name) for gate in gates) for name in PrecisionGate.model_fields}
        )
