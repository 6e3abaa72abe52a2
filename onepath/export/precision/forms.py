"""The forms in which a wanted precision can be made: one for 16 bits, several for int8, tried in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onepath.export.recipe.precision import WantedGraph

Ranges = Literal["dynamic", "static"]


@dataclass(frozen=True)
class Form:
    """One way to make a wanted graph.

    Attributes:
        ranges: where int8 takes the ranges of activations from; None for a graph without int8.
        without: products that stay in float32, because the graph fails its gate with them.
    """

    ranges: Ranges | None = None
    without: frozenset[str] = frozenset()

    @property
    def words(self) -> str:
        """The form in words.

        >>> Form("static", without=frozenset({"head"})).words
        'static int8, 1 product left in float32'
        """
        kind = f"{self.ranges} int8" if self.ranges else "16 bits in the graph"
        products = "product" if len(self.without) == 1 else "products"
        return f"{kind}, {len(self.without)} {products} left in float32" if self.without else kind

    @property
    def kind(self) -> str:
        """The form without what it leaves out, in a word."""
        return self.ranges or "low"


def forms_of(wanted: WantedGraph) -> list[Form]:
    """Return the forms to try first; see `onepath.export.precision.harm` for what is left out of one that fails."""
    if "int8" not in wanted.precisions:
        return [Form()]
    if wanted.target == "gpu":
        return [Form("static")]
    ranges: tuple[Ranges, ...] = ("dynamic", "static")
    return [Form(each) for each in ranges if wanted.int8 in ("auto", each)]
