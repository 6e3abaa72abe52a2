"""Encoders run alone on the rows that a graph is run on, to compare with; one that cannot be says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from onepath.export.proofs import Arrays
from onepath.export.robustness.metrics import Answer

Encoder = Callable[[Tensor], Tensor]
"""`values (rows, …) -> logits` or embeddings `(rows, width)`; often an `nn.Module`."""

_USERS_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError, LookupError)


@dataclass
class EncoderRun:
    """An encoder's answers so far, until it cannot be run.

    Attributes:
        modality: whose values it takes.
        encoder: run in eval mode, and left in the mode that it was in.
        parts: its answers, one array a batch.
        problem: why it cannot be run; empty where it can.
    """

    modality: str
    encoder: Encoder
    parts: list[Answer] = field(default_factory=list)
    problem: str = ""

    @property
    def answer(self) -> Answer:
        """The answers to all rows."""
        return np.concatenate(self.parts)

    def feed(self, values: Arrays) -> None:
        """Run the encoder on a batch, unless an earlier one showed that it cannot be run."""
        if not self.problem:
            self._run(torch.from_numpy(np.ascontiguousarray(values[self.modality])))

    def _run(self, values: Tensor) -> None:
        try:
            with evaluating(self.encoder), torch.inference_mode():
                output = self.encoder(values.to(_device(self.encoder)))
        except _USERS_ERRORS as error:
            self.problem = f"it raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return
        if isinstance(output, Tensor) and output.ndim > 1:
            self.parts.append(output.flatten(1).float().cpu().numpy())
        else:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            self.problem = f"it gives {found}, not a tensor (rows, width)"


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Let an encoder be in eval mode; every module of it is in its own mode again after."""
    training = [part for part in encoder.modules() if part.training] if isinstance(encoder, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _device(encoder: Encoder) -> torch.device:
    parameters = encoder.parameters() if isinstance(encoder, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
