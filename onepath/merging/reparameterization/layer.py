"""One layer with a second path: for two linear layers at hand, rather than for two models."""

from __future__ import annotations

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.attach import Training, attach
from onepath.merging.reparameterization.folding import collapse_in_place
from onepath.merging.reparameterization.pairing import plan_reparameterization
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.weights import cross_modal_chain


class CrossModalReparameterization(nn.Module):
    """A linear layer y = x·(W + λ·W')ᵀ + b of two, until `merge` ends the second path.

    It is the layer-level form of `reparameterize`, on the same parametrisation, so that a model that holds it collapses
    like any other. `merge` gives back the first layer itself, an ordinary `nn.Linear` that computes the same.

    Args:
        original: the layer to extend; it is used, not copied, with its bias, flags, hooks and precision.
        auxiliary: a layer of the same shape, whose weight is copied; its bias is not used unless `biases` says so.
        training: whether the auxiliary weight is trained too, or only λ.
        biases: give the bias a second path too, b + λ·b', with the same λ; both layers then need one.

    Raises:
        UnsupportedModuleError: the two cannot be paired exactly; `original` is then as it was.

    >>> import torch
    >>> layer = CrossModalReparameterization(nn.Linear(4, 2), nn.Linear(4, 2))
    >>> with torch.no_grad():
    ...     _ = layer.scale.fill_(0.5)
    >>> values = torch.ones(1, 4)
    >>> before = layer(values)
    >>> plain = layer.merge()
    >>> type(plain).__name__, torch.equal(plain(values), before)
    ('Linear', True)
    """

    def __init__(
        self, original: nn.Linear, auxiliary: nn.Linear, *, training: Training = "trainable", biases: bool = False
    ) -> None:
        super().__init__()
        plan = plan_reparameterization(original, auxiliary, layers={"weight": "weight"}, biases=biases)
        self._place = len(cross_modal_chain(original, "weight") or ())
        attach(plan, original, auxiliary, training=training)
        self.linear = original

    @property
    def scale(self) -> nn.Parameter:
        """λ of this wrapper's auxiliary, `(1,)`.

        Raises:
            UnsupportedModuleError: the paths are merged.
        """
        return self._link().scale

    @property
    def merged(self) -> bool:
        """Whether the second path is at its end."""
        return not cross_modal_chain(self.linear, "weight")

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output, `(…, outputs)`, of `(…, inputs)`."""
        return self.linear(values)  # type: ignore[no-any-return]

    def merge(self) -> nn.Linear:
        """Return the plain layer with both paths in its weight; this module then computes with that too.

        What other wrappers attached to the same layer is merged with it. Without `biases` the bias stays as it is: the
        second path never had one.

        Raises:
            UnsupportedModuleError: the paths are merged already, or the sum is not finite; nothing is changed then.
        """
        self._link()
        collapse_in_place(self.linear)
        return self.linear

    merge_parameters = merge

    def _link(self) -> CrossModalWeight:
        chain = cross_modal_chain(self.linear, "weight")
        if not chain:
            raise UnsupportedModuleError(
                "this layer", "its two paths are merged already", "use its plain layer `linear`, or wrap it anew"
            )
        return chain[self._place]
