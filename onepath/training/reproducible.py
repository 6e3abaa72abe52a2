"""One seed for all that torch draws, and the process left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def reproducible(seed: int, *, threads: int | None = None, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators for a while, and then restore their states and the number of threads.

    Two runs on a CPU with equal seeds and threads are equal bit for bit.

    Args:
        seed: of the CPU's generator and the device's.
        threads: that torch may use meanwhile; as many as before without it.
        device: an accelerator that is used, whose generator is seeded and restored as well.
    """
    cuda = device is not None and device.type == "cuda"
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        try:
            torch.set_num_threads(threads or before)
            yield
        finally:
            torch.set_num_threads(before)


def independent_seeds(seed: int, count: int) -> list[int]:
    """Return seeds of streams that have nothing to do with each other.

    >>> len(set(independent_seeds(0, 3) + independent_seeds(1, 3)))
    6
    """
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(count)]
