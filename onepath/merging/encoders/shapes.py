"""What encoders and blocks check of their sizes and of the values that they are given."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onepath.contract.errors import UnsupportedModuleError


def check_values(values: Tensor, *, axes: Sequence[int], inputs: int, form: str) -> None:
    """Check that values have a known number of axes, and a last one of the encoder's width.

    Args:
        values: what the encoder is given.
        axes: how many axes it may have.
        inputs: the encoder's width.
        form: the right shape in words, for the message.

    Raises:
        UnsupportedModuleError: they have another shape.
    """
    if values.ndim not in axes or values.shape[-1] != inputs:
        raise UnsupportedModuleError(
            f"values of shape {tuple(values.shape)}", "the encoder takes others", f"give {form}"
        )


def check_dropout(name: str, dropout: float) -> None:
    """Check that a dropout is a chance.

    Args:
        name: what to call the module in the message.
        dropout: from 0 to 1.

    Raises:
        UnsupportedModuleError: it is not.
    """
    if not 0 <= dropout <= 1:
        raise UnsupportedModuleError(name, f"dropout is {dropout}", "give a number from 0 to 1")


def check_sizes(name: str, **sizes: int | None) -> None:
    """Check that every size is at least 1.

    Args:
        name: what to call the module in the message.
        sizes: name to size; None where there is nothing of the kind.

    Raises:
        UnsupportedModuleError: naming the first that is not.
    """
    for size, value in sizes.items():
        if value is not None and value < 1:
            raise UnsupportedModuleError(name, f"{size} is {value}", "give a number of at least 1")
