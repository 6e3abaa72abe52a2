"""What can be measured: deployment settings together with a request's rows, and which of them are worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from onepath.contract.graphs import Precision
from onepath.contract.manifest import Manifest
from onepath.contract.tensors import Closed
from onepath.server.fitting import precisions_that_run
from onepath.server.settings import DeploySettings
from onepath.server.variants import settings_in_full
from onepath.tuning.settings import TuneSettings

Engine = Literal["auto", "never", "require"]
Graph = tuple[Precision | None, Engine]
"""A precision, and whether a TensorRT engine runs in the place of its graph."""
Layout = tuple[int, int]
"""Instances of the graph, and threads of each."""
Batching = tuple[int, tuple[int, ...]]
"""How long a request waits for others, in microseconds, and the batch sizes that leave at once."""

_DELAYS_US = (500, 2000)
_GPU_INSTANCES = (1, 2, 4)


class Candidate(Closed):
    """Deployment settings with everything said, and how many rows a request has."""

    settings: DeploySettings
    rows: int = Field(ge=1)

    def changed(self, **fields: Any) -> Candidate:  # Any: values of the settings' fields
        """Return the candidate with other values of some settings."""
        return self.model_copy(update={"settings": self.settings.model_copy(update=fields)})

    def words(self, default: Candidate) -> str:
        """Return the candidate for a person: precision, instances × threads, and what else is not as in the default.

        >>> default = Candidate(settings=DeploySettings(precision="fp32").resolved(), rows=1)
        >>> other = default.changed(graph_instances=1, intra_op_threads=2, allow_spinning=True, max_queue_delay_us=500)
        >>> other.words(default), other.changed(preferred_batch_sizes=(4,)).words(other)
        ('fp32 1×2 spinning, wait 500 µs', 'fp32 1×2 spinning, wait 500 µs for 4 rows')
        """
        mine, usual = self.settings, default.settings
        graph = f"{mine.precision or 'fp32'}{' engine' * (mine.engine == 'require')}"
        spins = " spinning" * mine.allow_spinning
        parts = [f"{graph} {mine.graph_count}×{mine.intra_op_threads}{spins}"]
        if mine.preprocess_count != usual.preprocess_count:
            parts.append(f"{mine.preprocess_count} preprocess")
        if mine.max_queue_delay_us:
            sizes = " or ".join(map(str, mine.preferred_batch_sizes))
            parts.append(f"wait {mine.max_queue_delay_us} µs" + (f" for {sizes} rows" if sizes else ""))
        if self.rows != default.rows:
            parts.append(f"{self.rows} rows a request")
        return ", ".join(parts)


@dataclass(frozen=True)
class Space:
    """The values that are tried, those of an axis in the order in which they are.

    Attributes:
        default: what is deployed where nobody says anything; every figure is also given relative to it.
        graphs: the bundle's graphs and engines.
        layouts: instances × threads of the graph.
        batchings: waiting times and preferred batch sizes.
        preprocess: processes per modality.
        rows: rows of a request, measured with the settings that were chosen.
    """

    default: Candidate
    graphs: tuple[Graph, ...] = ()
    layouts: tuple[Layout, ...] = ()
    batchings: tuple[Batching, ...] = ()
    preprocess: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()


def space_from_manifest(manifest: Manifest, settings: TuneSettings, cores: int) -> Space:
    """Return what is worth measuring of a bundle on a machine.

    Args:
        manifest: the bundle's; its own deployment settings play no part.
        settings: the load, and where the graph runs.
        cores: how many cores the server may use.

    Raises:
        MissingVariantError: the bundle has no graph to deploy.
    """
    load, largest = settings.load, manifest.graph.max_batch_size
    plain = manifest.model_copy(update={"deployment": {}})
    # The bundle's own choice comes first, and it may be for a GPU only.
    precision = next(iter(precisions_that_run(plain, settings.kind)), None)
    default = _in_full(plain, DeploySettings(kind=settings.kind, precision=precision, preprocess_instances=cores))
    if settings.kind == "cpu":
        default = default.model_copy(update={"graph_instances": cores})
    return Space(
        default=Candidate(settings=default, rows=load.rows),
        graphs=_graphs(plain, default),
        layouts=layouts(cores) if settings.kind == "cpu" else tuple((count, 1) for count in _GPU_INSTANCES),
        batchings=batchings(load.rows * load.concurrency, largest) if load.concurrency > 1 else (),
        preprocess=tuple(dict.fromkeys((1, max(1, cores // 2), 2 * cores))),
        rows=tuple(rows for rows in dict.fromkeys((min(4 * load.rows, largest), largest)) if rows != load.rows),
    )


def layouts(cores: int) -> tuple[Layout, ...]:
    """Return instances × threads whose product is all of the cores, fewest threads first, then half of the cores.

    >>> layouts(2), layouts(4)
    (((2, 1), (1, 2), (1, 1)), ((4, 1), (2, 2), (1, 4), (2, 1), (1, 2)))
    """
    threads = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    whole = [(cores // count, count) for count in dict.fromkeys([*threads, cores])]
    half = [(max(1, cores // count // 2), count) for count in threads if count <= max(1, cores // 2)]
    return tuple(dict.fromkeys([*whole, *half]))


def batchings(rows_in_flight: int, largest: int) -> tuple[Batching, ...]:
    """Return waiting times, each with a batch of what is in flight leaving at once, and without.

    >>> batchings(4, 8)
    ((500, (4,)), (2000, (4,)), (500, ()), (2000, ()))
    """
    full = min(2 ** (rows_in_flight.bit_length() - 1), largest)
    early = tuple((delay, (full,)) for delay in _DELAYS_US) if 1 < full < largest else ()
    return (*early, *((delay, ()) for delay in _DELAYS_US))


def _graphs(manifest: Manifest, default: DeploySettings) -> tuple[Graph, ...]:
    found: list[Graph] = []
    for precision in precisions_that_run(manifest, default.kind):
        full = _in_full(manifest, DeploySettings(kind=default.kind, precision=precision))
        found.append((precision, full.engine))
        if full.engine == "require":
            found.append((precision, "never"))
    return tuple(found)


def _in_full(manifest: Manifest, given: DeploySettings) -> DeploySettings:
    # Each field is set anew: deploying takes the bundle's own value for a field that was not set.
    return DeploySettings.model_validate(settings_in_full(manifest, given).model_dump())
