"""The requests that clients send: a bundle's own probes, every presence pattern as often as the others."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onepath.clients.transport import Arrays, bytes_column
from onepath.contract.presence import pattern_name
from onepath.contract.probes import Probe, ProbeSet
from onepath.tuning.errors import TuningError
from onepath.tuning.settings import Load

_SEED = 0


def requests_from_probes(probes: ProbeSet, modalities: Sequence[str], load: Load) -> list[Arrays]:
    """Return requests whose rows are probes, in an order that is the same each time: modality to BYTES `(rows, 1)`.

    Taken together, all of them have every pattern equally often, and of each pattern its probes equally often, as far
    as their numbers allow.

    Args:
        probes: the bundle's; a row without any payload is left out.
        modalities: the bundle's, in their order.
        load: rows of a request, and the pattern if it is to be one alone.

    Raises:
        TuningError: no probe has the pattern.
    """
    groups = _probes_by_pattern(probes, modalities, load.pattern)
    count = len(groups) * max(map(len, groups))
    rows = [_row(groups, index) for index in range(count * load.rows)]
    requests: list[Arrays] = [
        {name: _column(rows[start : start + load.rows], name) for name in modalities}
        for start in range(0, len(rows), load.rows)
    ]
    random.Random(_SEED).shuffle(requests)  # clients that take turns would otherwise ask for one pattern at a time
    return requests


def _probes_by_pattern(probes: ProbeSet, modalities: Sequence[str], wanted: str | None) -> list[list[Probe]]:
    groups: dict[str, list[Probe]] = defaultdict(list)
    for row in probes.rows:
        if row.payloads:
            groups[pattern_name(name for name in modalities if name in row.payloads)].append(row)
    if wanted is not None:
        names = set(wanted.split("+"))
        groups = {name: rows for name, rows in groups.items() if set(name.split("+")) == names}
    if not groups:
        known = ", ".join(dict.fromkeys(_patterns(probes, modalities))) or "none"
        raise TuningError(f"no probe of the bundle has the pattern {wanted or 'of any payload'!r}; it has: {known}")
    return list(groups.values())


def _patterns(probes: ProbeSet, modalities: Sequence[str]) -> list[str]:
    return [pattern_name(name for name in modalities if name in row.payloads) for row in probes.rows if row.payloads]


def _row(groups: Sequence[Sequence[Probe]], index: int) -> Probe:
    turn, group = divmod(index, len(groups))
    return groups[group][turn % len(groups[group])]


def _column(rows: Sequence[Probe], modality: str) -> NDArray[np.object_]:
    return bytes_column([row.payloads.get(modality, b"") for row in rows])
