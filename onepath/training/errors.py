"""The errors of training: settings, data or a model that cannot be trained, and training that broke down."""

from __future__ import annotations

from onepath.contract.errors import OnepathError


class TrainingError(OnepathError):
    """Data, a model or settings that cannot be trained with or measured."""

    def __init__(self, subject: str, reason: str, advice: str) -> None:
        super().__init__(f"cannot use {subject}: {reason}; {advice}", subject=subject, reason=reason)


class NonFiniteError(OnepathError):
    """A loss or a gradient that became NaN or infinite; the model has the weights of its best epoch so far."""

    quantity: str
    epoch: int
    step: int

    def __init__(self, quantity: str, *, value: float, epoch: int, step: int) -> None:
        super().__init__(
            f"the {quantity} became {value} in epoch {epoch}, step {step}, and training stopped with the weights of "
            "the best epoch so far; look for NaN in the data, lower learning_rate, or set clip",
            quantity=quantity,
            value=value,
            epoch=epoch,
            step=step,
        )


class UndefinedMetricError(OnepathError):
    """A metric that the rows do not define, such as the AUC of rows of one class."""

    def __init__(self, metric: str, reason: str, advice: str) -> None:
        super().__init__(f"{metric} is undefined here: {reason}; {advice}", metric=metric, reason=reason)
