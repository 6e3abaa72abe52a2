"""Test accuracy of every pipeline on every presence pattern, through the running server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from paired_rows import Rows
from served_models import MERGED, MODELS, ServedModel, ask

from onepath.clients import Client
from onepath.contract.presence import pattern_name, patterns

PATTERNS = patterns(MERGED.modalities)
Accuracies = dict[str, dict[str, float]]
"""Pattern to model's name to the fraction of rows that it got right; models that take nothing of it are missing."""

_CLIENTS = 4
_CHUNK = 64


def accuracies(address: str, rows: Rows, advance: Callable[[], None]) -> Accuracies:
    """Return the accuracies.

    Args:
        address: the server's, for gRPC.
        rows: test rows with every modality present; only a pattern's are sent.
        advance: called after each of `len(PATTERNS)` patterns.
    """
    with Client(address) as client, ThreadPoolExecutor(_CLIENTS) as pool:
        known: dict[tuple[str, tuple[str, ...]], float] = {}
        table: Accuracies = {}
        for pattern in PATTERNS:
            cells = table.setdefault(pattern_name(pattern), {})
            for model in MODELS:
                read = model.reads(pattern)
                if read and (model.name, read) not in known:  # an encoder's answer does not depend on other modalities
                    known[model.name, read] = _accuracy(client, pool, model, rows, read)
                if read:
                    cells[model.name] = known[model.name, read]
            advance()
    return table


def _accuracy(
    client: Client, pool: ThreadPoolExecutor, model: ServedModel, rows: Rows, pattern: tuple[str, ...]
) -> float:
    starts = range(0, len(rows), _CHUNK)
    answers = pool.map(lambda start: ask(client, model, rows.payloads[start : start + _CHUNK], pattern), starts)
    labels = [row.label for predictions in answers for row in predictions]
    return float(np.mean([label == str(digit) for label, digit in zip(labels, rows.digits, strict=True)]))
