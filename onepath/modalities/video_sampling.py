"""Which frames of a clip a model sees."""

from __future__ import annotations

from typing import Literal

Sampling = Literal["centre", "uniform"]
Short = Literal["repeat", "stretch"]


def chosen_frames(available: int, wanted: int, *, sampling: Sampling, stride: int, short: Short) -> list[int]:
    """Return the indices of the chosen frames, `wanted` of them, in order; a short clip gives some more than once.

    `centre` takes the middle `wanted * stride` frames and spaces `wanted` indices linearly over them, both ends
    included, rounded down: the published evaluation of VideoMAE. Where the clip is shorter than that, `repeat` takes
    every `stride`-th frame and then the last one again and again, and `stretch` does as `uniform` does. `uniform` cuts
    the whole clip into `wanted` equal parts and takes the middle of each.

    >>> chosen_frames(20, 4, sampling="centre", stride=4, short="repeat")
    [2, 7, 12, 17]
    >>> chosen_frames(10, 4, sampling="centre", stride=4, short="repeat")
    [0, 4, 8, 9]
    >>> chosen_frames(20, 4, sampling="uniform", stride=1, short="repeat")
    [2, 7, 12, 17]

    Args:
        available: frames of the clip, at least one.
        wanted: frames of a row.
        sampling: where in the clip they are.
        stride: the source frames that each chosen one stands for, with `centre`.
        short: what happens where the clip is shorter than the window of `centre`.
    """
    window = wanted * stride
    if sampling == "uniform" or (available < window and short == "stretch"):
        return [(2 * index + 1) * available // (2 * wanted) for index in range(wanted)]
    if available < window:
        return [min(index * stride, available - 1) for index in range(wanted)]
    start = (available - window) // 2
    if wanted == 1:
        return [start + window // 2]
    return [start + min(index * window // (wanted - 1), window - 1) for index in range(wanted)]
