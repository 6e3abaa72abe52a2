"""One training loop for all: AdamW, one learning-rate cycle, a fixed number of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from decoded_digits import Examples
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.progress import Stage
from onepath.merging.reparameterization import parameter_groups

BATCH = 96
_RATE, _DECAY, _WARM_UP, _SMOOTHING = 2e-3, 0.05, 0.15, 0.05
_FASTER = 10.0  # scales of pathways start at 0 and get small gradients

Loss = Callable[[Tensor], Tensor]


def fit(
    loss: Loss, model: nn.Module, examples: int, *, steps: int, seed: int, stage: Stage, rate: float = _RATE
) -> None:
    """Train a model's trainable parameters; norms, biases and scales of pathways are not decayed.

    Args:
        loss: positions of a batch's examples, int64 `(batch,)`, to a scalar.
        model: left in eval mode.
        examples: how many there are.
        steps: how many batches.
        seed: decides the order of the examples.
        stage: told of every step.
        rate: the highest learning rate of the cycle.
    """
    model.train()
    groups = parameter_groups(model, learning_rate=rate, weight_decay=_DECAY, scale_learning_rate=_FASTER * rate)
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in groups], total_steps=steps + 1, pct_start=_WARM_UP
    )
    for batch in _batches(examples, steps, seed):
        value = loss(batch)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        schedule.step()
        stage.advance()
    stage.note(f"loss {value.item():.2f}")
    model.eval()


def loss_of(model: nn.Module, examples: Examples) -> Loss:
    """Return the loss of a model that maps `examples.values` to logits."""
    return lambda batch: cross_entropy(model(examples.values[batch]), examples.digits[batch])


def cross_entropy(logits: Tensor, digits: Tensor) -> Tensor:
    """Return the cross-entropy with smoothed labels, a scalar."""
    return functional.cross_entropy(logits, digits, label_smoothing=_SMOOTHING)


@torch.no_grad()
def mapped(module: nn.Module, examples: Examples) -> Examples:
    """Return the examples with a module's output as their values; nothing is trained through them."""
    return Examples(torch.cat([module(part) for part in torch.split(examples.values, 512)]), examples.digits)


@torch.no_grad()
def accuracy(model: nn.Module, examples: Examples) -> float:
    """Return the fraction of examples that a model of logits gets right."""
    answers = mapped(model, examples).values.argmax(dim=1)
    return float((answers == examples.digits).double().mean())


def _batches(examples: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield positions; every example is seen before one is seen again."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(examples, generator=generator)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(examples, generator=generator)])
        yield order[:BATCH]
        order = order[BATCH:]
