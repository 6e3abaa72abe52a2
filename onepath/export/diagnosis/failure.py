"""Why torch could not export a model, or not run it: which module, which line of its code, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import cast

import torch
from torch import nn

from onepath.contract.errors import OnepathError, UnsupportedModuleError
from onepath.export.diagnosis.causes import MUTATION, NOT_RUN, RECURRENT, TRAINING, cause_in_words
from onepath.export.diagnosis.lines import SourceLine, innermost_own, line_from_trace
from onepath.export.diagnosis.parts import part_in_words
from onepath.export.graphs.dispatch import PresenceGraph

_RECURRENT_NETWORKS = tuple(f"{nn.LSTM.__module__}.{kind.__name__}" for kind in (nn.LSTM, nn.GRU))


@dataclass(frozen=True)
class _Frame:
    line: SourceLine
    values: dict[str, object]


@dataclass(frozen=True)
class _Place:
    """Where it failed: a module by its dotted name, and the line of the model's own code, each where known."""

    module: str = ""
    kind: str = ""
    line: SourceLine | None = None


def refusal_from_failure(error: BaseException, graph: PresenceGraph) -> UnsupportedModuleError:
    """Return the error that says which part of a graph cannot be exported, on which line, why, and what to do.

    Args:
        error: as torch's exporter raised it, with its causes.
        graph: the graph that was exported.
    """
    chain = list(_causes(error))
    frames = [frame for each in chain for frame in _frames(each.__traceback__)]
    mutation = _place_of_mutation(frames)
    place = _place_of_node(frames, chain) or mutation or _place_of_call(frames, graph)
    words = cause_in_words(
        chain[-1], place.line.text if place.line else "", _known(place, frames, changes=place is mutation)
    )
    where = f"at {place.line} " if place.line else ""
    return UnsupportedModuleError(part_in_words(place.module, place.kind), f"{where}{words.reason}", words.advice)


@contextlib.contextmanager
def failures_told_by_line() -> Iterator[None]:
    """Raise what goes wrong inside a model that torch runs as the error that says in which part and on which line.

    Raises:
        UnsupportedModuleError: a model of the recipe raised something.
    """
    try:
        yield
    except OnepathError:
        raise
    except Exception as error:
        refusal = refusal_from_run(error)
        if refusal is None:
            raise
        raise refusal from error


def refusal_from_run(error: Exception) -> UnsupportedModuleError | None:
    """Return the error that says which part of a model cannot be run, on which line, why, and what to do.

    Args:
        error: as it was raised; None is returned where it does not come from inside a model.
    """
    frames = _frames(error.__traceback__)
    outermost = next((frame for frame in frames if isinstance(frame.values.get("self"), nn.Module)), None)
    if outermost is None:
        return None
    place = _place_of_call([outermost, *frames], cast(nn.Module, outermost.values["self"]))
    if not place.module and place.line is None:
        return None
    where = f"at {place.line} " if place.line else ""
    words = cause_in_words(error, place.line.text if place.line else "", otherwise=NOT_RUN)
    part = part_in_words(place.module, place.kind, use="") if place.module else f"the module {place.kind}"
    return UnsupportedModuleError(part, f"{where}{words.reason}", words.advice)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, the first cause last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _frames(trace: TracebackType | None) -> Iterator[_Frame]:
    while trace is not None:
        frame = trace.tb_frame
        yield _Frame(SourceLine(frame.f_code.co_filename, trace.tb_lineno), frame.f_locals)
        trace = trace.tb_next


def _place_of_call(frames: list[_Frame], graph: nn.Module) -> _Place:
    """Return the innermost module that was running, and the innermost line of the model's own code."""
    names = {id(vars(module)): name for name, module in graph.named_modules()}  # torch runs proxies that share `vars`
    selves = [frame.values.get("self") for frame in frames]
    running = [
        (index, self) for index, self in enumerate(selves) if isinstance(self, nn.Module) and id(vars(self)) in names
    ]
    if not running:
        return _Place()
    line = innermost_own(frame.line for frame in frames[running[0][0] :])
    innermost = running[-1][1]
    return _Place(names[id(vars(innermost))], _class_name(innermost), line)


def _place_of_node(frames: list[_Frame], chain: list[BaseException]) -> _Place | None:
    """Return where the operation comes from that the exporter could not translate."""
    if not any("translating node" in str(each) for each in chain):
        return None
    nodes = [node for frame in frames for node in frame.values.values() if isinstance(node, torch.fx.Node)]
    return _place_from_meta(nodes[-1]) if nodes else None


def _place_of_mutation(frames: list[_Frame]) -> _Place | None:
    """Return where a captured program writes into a buffer or parameter of the model, if it was captured at all."""
    programs = [
        value for frame in frames for value in frame.values.values() if isinstance(value, torch.export.ExportedProgram)
    ]
    for program in programs:
        signature = program.graph_signature
        kept = {*signature.inputs_to_buffers, *signature.inputs_to_parameters}
        for node in program.graph.nodes:
            schema = getattr(node.target, "_schema", None)
            if schema is not None and schema.is_mutable and str(node.args[0]) in kept:
                return _place_from_meta(node)
    return None


def _place_from_meta(node: torch.fx.Node) -> _Place:
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    name, kind = modules[-1] if modules else ("", "")
    kind = kind if isinstance(kind, str) else _class_name(kind)
    return _Place(str(name), kind.removeprefix("__main__."), line_from_trace(node.meta.get("stack_trace") or ""))


def _known(place: _Place, frames: list[_Frame], *, changes: bool) -> tuple[str, str] | None:
    """Return reason and advice where the place says what it is; `changes` says that a buffer is written there."""
    if place.kind.startswith(_RECURRENT_NETWORKS):
        return RECURRENT
    if _is_training_norm(frames) or (changes and place.kind.startswith(f"{nn.BatchNorm1d.__module__}.")):
        return TRAINING
    return MUTATION if changes else None


def _is_training_norm(frames: list[_Frame]) -> bool:
    modules = [frame.values.get("self") for frame in frames]
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in modules)


def _class_name(module: object) -> str:
    kind = module if isinstance(module, type) else type(module)
    return f"{kind.__module__}.{kind.__qualname__}"
