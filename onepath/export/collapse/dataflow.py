"""Which layer takes its input from which other, as far as a symbolic run of the forward can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

from torch import fx, nn

from onepath.export.collapse.places import Place, Places, inputs_of, places_of
from onepath.export.collapse.tracing import LAYERS, Trace, has_hooks, has_options, inherits_forward, trace_of
from onepath.export.collapse.usage import Usage, tensors_of

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Flow:
    """Who calls whom below a module, for calls that leave its optional arguments at their defaults.

    A *leaf* is a module of `torch.nn` that is no container, one of a class that the caller named, one that is called
    several times, or one whose forward cannot be followed. All paths are relative to the module.

    Args:
        root: the module.
        traces: a run, and more with optional arguments or in eval mode: only what holds in all is told.
        usage: of modules and tensors in the whole model.
    """

    def __init__(self, root: nn.Module, traces: tuple[Trace, ...], usage: Usage) -> None:
        self._modules: dict[str, nn.Module] = dict(root.named_modules())
        self._root, self._usage = root, usage
        self._runs = tuple(places_of(self._modules, trace) for trace in traces)
        self._once = _agreed([run.once for run in self._runs])
        self._called = {str(n.target) for trace in traces for n in trace.graph.nodes if n.op == "call_module"}
        self._within = Counter(id(module) for _, module in root.named_modules(remove_duplicate=False))
        named = dict([*root.named_parameters(remove_duplicate=False), *root.named_buffers(remove_duplicate=False)])
        self._read = {id(named[name]) for trace in traces for name in trace.read}

    @property
    def run(self) -> Places:
        """The run with defaults: a graph of paths, of a copy without numbers."""
        return self._runs[0]

    @property
    def runs(self) -> tuple[Places, ...]:
        """All runs, that with defaults first."""
        return self._runs

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules by path, as they were when the flow was found."""
        return self._modules

    def module(self, path: str) -> nn.Module:
        """Return the module at a path, as it was when the flow was found."""
        return self._modules[path]

    def paths(self, *kinds: type) -> list[str]:
        """Return the paths of the leaves of these classes that are called exactly once, in the order of their calls."""
        return [path for path in self._once if isinstance(self._modules[path], kinds)]

    def containers(self) -> list[str]:
        """Return the paths of the leaves that have modules of their own, of which this flow knows nothing."""
        paths = dict.fromkeys(self.run.names.values())
        return [path for path in paths if path not in self.run.cores and any(self._modules[path].children())]

    def source(self, path: str) -> str | None:
        """Return the path of the leaf whose output the leaf takes directly as its first input, or None."""
        inputs = self.inputs(path)
        return inputs[0] if inputs else None

    def inputs(self, path: str) -> tuple[str | None, ...]:
        """Return the leaf that each argument of the leaf's one call comes from; nothing if it is not called once."""
        place = self._once.get(path)
        return place.inputs if place is not None else ()

    def consumers(self, path: str) -> list[str] | None:
        """Return the leaves whose first input is the leaf's output, in the order of their calls.

        None means that the output also goes somewhere else: a sum, a function, another argument, the result of the
        forward; or that the leaf is not called exactly once. Reading its shape or type does not count.
        """
        place = self._once.get(path)
        return list(place.consumers) if place is not None and place.consumers is not None else None

    def producer(self, path: str) -> str | None:
        """Return the leaf that the leaf takes its input from, through modules that do nothing, or None."""
        before = self.source(path)
        while before is not None and does_nothing(self.module(before)):
            before = self.source(before)
        return before

    def takers(self, path: str) -> list[str] | None:
        """Return the leaves that take the leaf's output, through modules that do nothing; None as for `consumers`."""
        consumers = self.consumers(path)
        if consumers is None:
            return None
        found: list[str] = []
        for after in consumers:
            further = self.takers(after) if does_nothing(self.module(after)) else [after]
            if further is None:
                return None
            found += further
        return found

    def tail(self, path: str) -> list[str] | None:
        """Return the modules of its own that a norm applies after it has normalised, in order.

        None means that its forward does something else besides; a norm of torch has nothing after it.
        """
        if path not in self.run.cores:
            return []
        node, found = self.run.trace.returned.get(path), list[str]()
        while node is not None and self.run.names.get(node) != path:
            found.append(self.run.names.get(node, ""))
            own = found[-1].startswith(f"{path}.") and len(inputs_of(node)) == 1
            node = cast(fx.Node, inputs_of(node)[0]) if own and isinstance(inputs_of(node)[0], fx.Node) else None
        return found[::-1] if node is not None else None

    def is_private(self, path: str) -> bool:
        """Return whether a leaf can be changed without anyone else noticing; see `obstacle`."""
        return self.obstacle(path) is None

    def obstacle(self, path: str) -> str | None:
        """Return why a leaf cannot be changed without others noticing, in words; None if it can.

        It is called exactly once and is in the model once, no other module or forward reads its parameters, none of
        them is computed from others, no hook sees its input or output, and its forward is that of its class.
        """
        if path not in self._once:
            return "it is not called exactly once"
        module = self._modules[path]
        followed = inherits_forward(module) or not isinstance(module, LAYERS) or path in self.run.cores
        if not followed or any(path in run.trace.opaque for run in self._runs):
            return "its forward cannot be followed"
        whole = next((leaf for leaf in self._called if path.startswith(f"{leaf}.")), None)
        if whole is not None:
            return f"it is a part of {whole}, which is called as a whole too"
        if self._within[id(module)] > 1:
            return "it is in the model more than once"
        name = next((n for n, t in tensors_of(module) if id(t) in self._read), None)
        return self._usage.obstacle(self._root, module) if name is None else f"its {name} is read elsewhere"


def flow_of(module: nn.Module, leaves: tuple[type, ...] = ()) -> Flow | None:
    """Return who calls whom below a module, or None where its forward cannot be followed symbolically.

    A forward that decides by values, or takes a dict or `*args`, cannot be followed; its children may be, each taken to
    be called as a whole. A child that cannot be followed is a leaf of its parent's flow. A multimodal model is not
    followed, as its encoders and its fusion are called one by one; nor is a module without children, where there is
    nothing to find. Nothing of the module changes, and no hook runs. Other threads may run modules meanwhile, but trace
    none of their own with torch.fx, which replaces what every module's call does.

    Args:
        module: what to look into; in the mode, training or eval, that it is in.
        leaves: classes that are not looked into, besides those of `torch.nn`.
    """
    scope = _SCOPE.get()
    if scope is None:
        return _flow(module, leaves, Usage.of(module))
    key = (id(module), leaves)
    if key not in scope.flows:
        scope.flows[key] = (module, _flow(module, leaves, scope.usage))
    return scope.flows[key][1]


@contextmanager
def known_within(model: nn.Module) -> Iterator[Callable[[nn.Module], None]]:
    """Let `flow_of` know of sharing in the whole model, and trace each module once.

    Args:
        model: what all modules are parts of.

    Yields:
        A function to call with the model when it has changed, so that its parts are traced anew.
    """

    def changed(whole: nn.Module) -> None:
        _SCOPE.set(_Scope(Usage.of(whole)))

    token = _SCOPE.set(_Scope(Usage.of(model)))
    try:
        yield changed
    finally:
        _SCOPE.reset(token)


def does_nothing(module: nn.Module) -> bool:
    """Return whether a module gives its input back: an identity or a dropout that does not act, with no hook."""
    if has_hooks(module) or not inherits_forward(module):
        return False
    if type(module) in _DROPOUTS:
        return not module.training or cast(nn.Dropout, module).p == 0
    return type(module) is nn.Identity


def obstacle_within(root: nn.Module, part: nn.Module) -> str | None:
    """Return why a part that the root calls once cannot be changed without others noticing; None if it can."""
    scope = _SCOPE.get()
    usage = Usage.of(root) if scope is None else scope.usage
    return usage.obstacle(root, part)


@dataclass
class _Scope:
    usage: Usage
    flows: dict[tuple[int, tuple[type, ...]], tuple[nn.Module, Flow | None]] = field(default_factory=dict)


_SCOPE: ContextVar[_Scope | None] = ContextVar("_SCOPE", default=None)


def _flow(module: nn.Module, leaves: tuple[type, ...], usage: Usage) -> Flow | None:
    alone = not any(module.children())
    if alone or all(hasattr(module, name) for name in ("encoders", "fuse", "absent", "modalities")):
        return None
    first = trace_of(module, leaves, frozenset())
    if first is None:
        return None
    # A module that is called several times is the same function each time: it is looked into on its own.
    parts = dict(module.named_modules())
    repeated = frozenset(path for path, calls in first.called.items() if calls > 1 and any(parts[path].children()))
    if repeated:
        first = trace_of(module, leaves, repeated) or first
    others = [trace_of(module, leaves, repeated, given=True)] if has_options(module) else []
    if any(part.training for part in parts.values()):
        evaluated = trace_of(module, leaves, repeated, evaluated=True)
        if evaluated is None:
            return None
        others.append(evaluated)
    return Flow(module, (first, *(other for other in others if other is not None)), usage)


def _agreed(places: list[dict[str, Place]]) -> dict[str, Place]:
    first, *others = places
    return {path: place for path, place in first.items() if all(other.get(path) == place for other in others)}
