"""Whether a module still calls what it called: a fold must not change what its forward does besides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import fx

from onepath.export.collapse.dataflow import Flow
from onepath.export.collapse.places import Places, inputs_of


def other_calls(before: Flow, after: Flow | None) -> str | None:
    """Return what a module does otherwise than before a fold, in words; None if it calls the same on the same.

    A forward may look at its parts: at their class, the size of a layer, whether there is a bias. What a new part does
    itself is the business of the rule that made it.

    Args:
        before: of the module before the fold.
        after: of the same module after it.
    """
    if after is None or len(before.runs) != len(after.runs):
        return "its forward can be followed no more"
    new = _outermost(path for path, part in before.parts.items() if after.parts.get(path) is not part)
    for one, other in zip(before.runs, after.runs, strict=True):
        for was, is_now in zip_longest(_calls(one, new), _calls(other, new)):
            if was != is_now:
                return f"its forward does {_words(is_now)} instead of {_words(was)}"
    return None


def _outermost(paths: Iterator[str]) -> set[str]:
    found = set[str]()
    for path in sorted(paths):
        if not any(_is_within(path, other) for other in found):
            found.add(path)
    return found


def _is_within(path: str, whole: str) -> bool:
    return path == whole or path.startswith(f"{whole}.")


def _calls(run: Places, new: set[str]) -> Iterator[tuple[str, str, str]]:
    """Return what a run did, node by node: kind, target and arguments; a new part is one entry."""
    names, done, count = dict[fx.Node, str](), set[str](), 0
    for node in run.trace.graph.nodes:
        part = _part(run, node, new)
        names[node] = f"%{count}" if part is None else f"%{part}"
        if node.op == "get_attr" and not node.users:
            continue  # only asked for, as for whether it is there
        if part is None:
            count += 1
            arguments = node.args[:1] if node.target is torch._assert else (node.args, node.kwargs)  # no words
            yield node.op, _title(node), _named(arguments, names)
        elif part not in done:
            done.add(part)
            yield "call_module", part, _named(_taken(run, node, part), names)


def _part(run: Places, node: fx.Node, new: set[str]) -> str | None:
    own = str(node.target) if node.op == "call_module" else run.trace.inside.get(node, "")
    return next((part for part in new if _is_within(own, part)), None)


def _taken(run: Places, node: fx.Node, part: str) -> object:
    if node.op == "call_module" and node.target == part:
        return inputs_of(node)[0]
    return run.trace.taken.get(part)


def _named(value: object, names: dict[fx.Node, str]) -> str:
    given: Any = value  # whatever a node of torch.fx is given
    return repr(fx.node.map_aggregate(given, lambda one: names.get(one) if isinstance(one, fx.Node) else one))


def _title(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


def _words(call: tuple[str, str, str] | None) -> str:
    return "nothing" if call is None else f"{call[1]} on {call[2]}"
