"""What a recipe says of precisions: which graphs are wanted beside the float32 one, and when one of them is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from onepath.contract.graphs import Precision
from onepath.contract.nearest import did_you_mean
from onepath.contract.tensors import Closed

Machine = Literal["cpu", "gpu"]


class WantedGraph(Closed):
    """A graph that is wanted beside the float32 one.

    Attributes:
        default: the precision of what no modality below has, the fusion among it.
        modalities: modality to the precision of its encoder, where that differs.
        int8: `dynamic` takes the range of activations from each batch as it runs; `static` takes it beforehand from
            held-out rows, so that no row's answer depends on its company; `auto` tries both and keeps, of those that
            pass the gate, the faster one, and `static` where they are about even.
        calibration_rows: held-out rows that give the ranges for `static`, and of float16 activations, which overflow
            above 65504; they are kept apart from the gate's rows where there are at least four times as many.
        machine: what it must be faster on; a CPU for int8, a GPU for 16 bits, unless given.
        choose: `faster` makes it the deployed graph if it passes and is measured to be faster here; `passing`, if it
            passes, also where it is slower or could not be timed.
    """

    default: Precision
    modalities: dict[str, Precision] = Field(default_factory=dict)
    int8: Literal["auto", "dynamic", "static"] = "auto"
    calibration_rows: int = Field(default=64, ge=1, le=4096)
    machine: Machine | None = None
    choose: Literal["faster", "passing"] = "faster"

    @property
    def overrides(self) -> dict[str, Precision]:
        """The modalities whose encoder's precision differs from the default."""
        return {name: precision for name, precision in self.modalities.items() if precision != self.default}

    @property
    def precisions(self) -> frozenset[Precision]:
        """Every precision in it."""
        return frozenset({self.default, *self.modalities.values()})

    @property
    def words(self) -> str:
        """The precision in words, as a graph's entry in the manifest has it.

        >>> WantedGraph(default="int8", modalities={"audio": "fp32", "text": "int8"}).words
        'int8, audio fp32'
        """
        return ", ".join([self.default, *(f"{name} {kind}" for name, kind in self.overrides.items())])

    @property
    def target(self) -> Machine:
        """The machine that it must be faster on."""
        return self.machine or ("gpu" if self.precisions & {"bf16", "fp16"} else "cpu")


PrecisionPlan = Annotated[
    Precision | tuple[Precision | WantedGraph, ...],
    Field(description="A word, or a list of wanted graphs, each a word or a mapping. `fp32` wants no other graph."),
]
"""`export.precision` of a recipe."""


def wanted_graphs(plan: Precision | Sequence[Precision | WantedGraph]) -> tuple[WantedGraph, ...]:
    """Return the graphs that a plan wants, in its order.

    >>> [wanted.words for wanted in wanted_graphs("int8")]
    ['int8']
    """
    each: Sequence[Precision | WantedGraph] = (plan,) if isinstance(plan, str) else plan
    return tuple(WantedGraph(default=wanted) if isinstance(wanted, str) else wanted for wanted in each)


def precision_problems(
    plan: Precision | Sequence[Precision | WantedGraph], modalities: Sequence[str]
) -> list[tuple[str, str]]:
    """Return what is wrong with a plan for a recipe of some modalities, each with its path in the recipe."""
    return list(_problems(wanted_graphs(plan), modalities))


def _problems(wanted: Sequence[WantedGraph], modalities: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for index, graph in enumerate(wanted):
        place = f"export.precision.{index}"
        for name in graph.modalities:
            if name not in modalities:
                known = f"known: {', '.join(modalities)}"
                yield f"{place}.modalities.{name}", f"is no modality here{did_you_mean(name, modalities)}; {known}"
        if graph.int8 == "dynamic" and "int8" in graph.precisions and graph.target == "gpu":
            yield f"{place}.int8", "cannot be dynamic for a GPU, which takes no ranges from running batches"
        first = seen.setdefault(_key(graph), index)
        if first != index:
            yield place, f"wants {graph.words}, as export.precision.{first} does"


def _key(graph: WantedGraph) -> str:
    return ", ".join([graph.default, *(f"{name} {kind}" for name, kind in sorted(graph.overrides.items()))])
