"""The settings of a training: all that decides its result beside the model and the rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from onepath.contract.tensors import Closed
from onepath.training.losses import ClassWeights
from onepath.training.schedules import Kind

LossName = Literal["cross_entropy", "multilabel", "survival"]
MetricName = Literal["loss", "accuracy", "auc", "mean_average_precision", "concordance_index"]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _chances(dropout: float | dict[str, float]) -> float | dict[str, float]:
    for name, chance in (dropout if isinstance(dropout, dict) else {"every modality": dropout}).items():
        if not 0 <= chance <= 1:
            raise ValueError(f"the chance of {name} is {chance}; give one from 0 to 1")
    return dropout


METRICS_OF_LOSS: dict[LossName, tuple[MetricName, ...]] = {
    "cross_entropy": ("loss", "accuracy", "auc", "mean_average_precision"),
    "multilabel": ("loss", "auc", "mean_average_precision"),
    "survival": ("loss", "concordance_index"),
}


class TrainerSettings(Closed):
    """How a model is trained.

    Attributes:
        epochs: the most passes over the training rows.
        batch_size: the most rows of a step.
        optimiser: the rule of the steps.
        learning_rate: the highest, of parameters whose group sets none.
        weight_decay: of matrices; vectors and scales of pathways are never decayed. Adam and SGD add it to the
            gradient, AdamW to the step.
        betas: decay of Adam's two averages.
        momentum: of SGD.
        warm_up_epochs: in which the learning rate rises from nearly 0; parts of epochs count.
        schedule: of the learning rate after the warm-up, set anew at every step.
        final_factor: the share of the learning rate at the end of a cosine.
        plateau_patience: epochs without a better validation that `plateau` lets pass before the next one halves the
            learning rate; half of `patience` without it, or 5.
        clip: the largest norm of the gradient.
        loss: what is minimised.
        label_smoothing: the share of probability that is spread over all classes.
        class_weights: how classes, or time bins, are weighted by their rows among the training rows.
        survival_alpha: how much the survival loss discounts censored rows.
        l1: factor of the sum of absolute values of the parameters that move the loss.
        metric: what validation rows are measured by, and the best epoch is chosen by.
        patience: epochs without a better validation after which training stops; without it, all are run.
        modality_dropout: the chance that a row loses a modality in a step, for all or by name.
        seed: of the order of rows, of dropout and of modality dropout.
        threads: that torch may use; as many as before without it. Results differ in the last bits between numbers.
    """

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1)
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.01
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    momentum: Decay = 0.9
    warm_up_epochs: NotNegative = 0.0
    schedule: Kind = "cosine"
    final_factor: Probability = 0.0
    plateau_patience: int | None = Field(default=None, ge=1)
    clip: Positive | None = None
    loss: LossName = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: ClassWeights = "none"
    survival_alpha: Probability = 0.4
    l1: NotNegative = 0.0
    metric: MetricName = "loss"
    patience: int | None = Field(default=None, ge=1)
    modality_dropout: Annotated[float | dict[str, float], AfterValidator(_chances)] = 0.0
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)

    @property
    def plateau_wait(self) -> int:
        """Return the epochs that `plateau` waits for."""
        return self.plateau_patience or max(1, (self.patience or 10) // 2)

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> TrainerSettings:
        if self.warm_up_epochs > self.epochs:
            raise ValueError(f"warm_up_epochs {self.warm_up_epochs:g} are more than the {self.epochs} epochs of all")
        return self

    @model_validator(mode="after")
    def _fits_the_loss(self) -> TrainerSettings:
        fitting = METRICS_OF_LOSS[self.loss]
        if self.metric not in fitting:
            raise ValueError(f"metric {self.metric!r} does not fit loss {self.loss!r}; use one of {', '.join(fitting)}")
        if self.loss == "survival" and self.label_smoothing:
            raise ValueError("label_smoothing does not fit loss 'survival'; leave it at 0")
        if self.loss == "multilabel" and self.class_weights != "none":
            raise ValueError("class_weights do not fit loss 'multilabel'; leave them at 'none'")
        return self
