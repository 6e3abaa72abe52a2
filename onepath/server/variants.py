"""Which of a bundle's graphs and engines are deployed, and with which settings."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from onepath.contract.bundle import MANIFEST
from onepath.contract.errors import BundleIntegrityError, OnepathError
from onepath.contract.graphs import EngineEntry, GraphEntry, Precision
from onepath.contract.manifest import Manifest
from onepath.server.gpus import compute_capabilities
from onepath.server.settings import DeploySettings


class MissingVariantError(OnepathError):
    """A graph or an engine that a bundle does not have; `available` lists those of its kind that it has."""

    available: tuple[str, ...]

    def __init__(self, problem: str, *, available: Sequence[str], advice: str) -> None:
        has = ", ".join(available) or "none"
        super().__init__(f"{problem}; it has {has}; {advice}", available=tuple(available))


def settings_in_full(manifest: Manifest, given: DeploySettings | None) -> DeploySettings:
    """Return settings in which everything is said, so that they and the bundle decide every file of a pipeline.

    What a person set counts first, then what the bundle's own deployment settings say, then what suits this machine.
    Own settings for a CPU say nothing of a GPU, nor the other way round.

    Args:
        manifest: the bundle's.
        given: of which the fields that were set are taken.

    Raises:
        BundleIntegrityError: the bundle's own settings are not valid.
        MissingVariantError: the bundle has no graph of the precision, or no engine where one is required.
    """
    said = {} if given is None else {name: getattr(given, name) for name in given.model_fields_set}
    own = _own_settings(manifest)
    if "kind" in own.model_fields_set and own.kind != said.get("kind", own.kind):
        own = DeploySettings()
    settings = own.model_copy(update=said).resolved()
    graph = graph_of_precision(manifest, settings.precision)
    full = settings.model_copy(update={"precision": graph.precision})
    return full.model_copy(update={"engine": "require" if _takes_engines(manifest, graph, full) else "never"})


def manifest_as_deployed(manifest: Manifest, settings: DeploySettings) -> Manifest:
    """Return a bundle's manifest whose graph and engines are those that are deployed with settings in full.

    Raises:
        MissingVariantError: the bundle has no graph of the precision, or no engine where one is required.
    """
    graph = graph_of_precision(manifest, settings.precision)
    others = tuple(each for each in manifest.graphs if each is not graph)
    engines = engines_of_graph(manifest, graph) if settings.engine == "require" else ()
    if settings.engine == "require" and not engines:
        raise _no_engine(manifest, graph)
    most = min([graph.max_batch_size, *(engine.max_rows for engine in engines)])
    deployed = graph.model_copy(update={"max_batch_size": most})
    return manifest.model_copy(update={"graph": deployed, "variants": others, "engines": engines})


def graph_of_precision(manifest: Manifest, precision: Precision | None) -> GraphEntry:
    """Return the bundle's graph of a precision, the first where it has several; its own choice for None.

    Raises:
        MissingVariantError: it has none.
    """
    for graph in manifest.graphs:
        if precision in (None, graph.precision):
            return graph
    raise MissingVariantError(
        f"{manifest.name} has no graph in {precision}",
        available=[graph.precisions for graph in manifest.graphs],
        advice=f"build one with `onepath build RECIPE --precision {precision}`, or deploy one that is there",
    )


def engines_of_graph(manifest: Manifest, graph: GraphEntry) -> tuple[EngineEntry, ...]:
    """Return the bundle's engines that stand for a graph, by compute capability.

    Raises:
        MissingVariantError: they are not in the same parts, so that no pipeline could hold them all.
    """
    engines = [engine for engine in manifest.engines if engine.graph == graph.file]
    if len({engine.features for engine in engines}) > 1:
        raise MissingVariantError(
            f"the engines of {manifest.name} in {graph.precision} are not in the same parts",
            available=[f"{', '.join(engine.files)} for {engine.compute_capability}" for engine in engines],
            advice="build those of one part again with `onepath engine --split`",
        )
    return tuple(sorted(engines, key=lambda engine: engine.compute_capability))


def _own_settings(manifest: Manifest) -> DeploySettings:
    try:
        return DeploySettings.model_validate(manifest.deployment)
    except ValidationError as error:
        problem = f"has deployment settings that are not valid ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(MANIFEST, problem, advice="run `onepath tune` again, or build it again") from error


def _takes_engines(manifest: Manifest, graph: GraphEntry, settings: DeploySettings) -> bool:
    """Return whether engines run in the place of the graph on this machine."""
    required = settings.engine == "require"
    if settings.engine == "never" or (settings.kind == "cpu" and not required):
        return False
    if settings.kind == "cpu":
        raise MissingVariantError(
            "an engine runs on a GPU, and the graph is to be deployed for a CPU",
            available=_capabilities(manifest, graph),
            advice="deploy with --kind gpu, or without --engine require",
        )
    built = set(_capabilities(manifest, graph))
    here = compute_capabilities() if built else ()
    if required and (not built or not {*here} <= built):  # where no GPU is seen, it is deployed for another machine
        raise _no_engine(manifest, graph, here)
    return required or (bool(here) and {*here} <= built)


def _capabilities(manifest: Manifest, graph: GraphEntry) -> list[str]:
    return [engine.compute_capability for engine in engines_of_graph(manifest, graph)]


def _no_engine(manifest: Manifest, graph: GraphEntry, here: Sequence[str] = ()) -> MissingVariantError:
    of_gpu = f" for compute capability {', '.join(here)}" if here else ""
    return MissingVariantError(
        f"{manifest.name} has no engine of its graph in {graph.precision}{of_gpu}",
        available=[f"{engine.precision} for {engine.compute_capability}" for engine in manifest.engines],
        advice=f"build one on that machine with `onepath engine BUNDLE --precision {graph.precision}`",
    )
