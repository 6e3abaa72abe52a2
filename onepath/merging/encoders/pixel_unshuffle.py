"""A projector that puts patches side by side before it projects them, and the convolution that does the same."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_sizes


class _GridProjector(nn.Module, ABC):
    """A projector of the tokens of a square grid, a block of f × f of them at a time."""

    proj: nn.Module

    def __init__(self, inputs: int, outputs: int, *, factor: int, grid: int, bias: bool = True) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes(name, inputs=inputs, outputs=outputs, factor=factor, grid=grid)
        if grid % factor:
            raise UnsupportedModuleError(
                name, f"a factor of {factor} does not divide a grid of {grid} × {grid}", "choose a divisor"
            )
        self.factor, self.grid = factor, grid
        self.proj = self._projection(inputs, outputs, bias=bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"factor={self.factor}, grid={self.grid}"

    @abstractmethod
    def _projection(self, inputs: int, outputs: int, *, bias: bool) -> nn.Module:
        """Return what projects a block of tokens."""


class PixelUnshuffleProjector(_GridProjector):
    """Tokens of a square grid to fewer, wider ones, then projected: g² of width d to (g/f)² of d·f² to the outputs.

    A block of f × f tokens becomes one, whose features are ordered as `nn.PixelUnshuffle` orders channels: feature c of
    the token in row i and column j of the block becomes feature c·f² + i·f + j. Collapsed, it is a `StridedProjector`.
    After the pixel-unshuffle projector of MultiMeditron.

    Args:
        inputs: d, width of a token.
        outputs: width of a projected one.
        factor: f, tokens along each side of a block.
        grid: g, tokens along each side of the grid, row by row.
        bias: whether the projection has one.

    Raises:
        UnsupportedModuleError: a size is below 1, or the factor does not divide the grid.
    """

    proj: nn.Linear

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(rows, (g/f)², outputs)` of tokens `(rows, g², d)`."""
        projected: Tensor = self.proj(self._side_by_side(tokens))
        return projected

    def _projection(self, inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
        return nn.Linear(inputs * self.factor**2, outputs, bias=bias)

    def _side_by_side(self, tokens: Tensor) -> Tensor:
        # Not torch's pixel_unshuffle, which gives no rows the wrong number of channels.
        rows, width, factor, blocks = tokens.shape[0], tokens.shape[2], self.factor, self.grid // self.factor
        parts = tokens.reshape(rows, blocks, factor, blocks, factor, width)
        return parts.permute(0, 1, 3, 5, 2, 4).reshape(rows, blocks**2, width * factor**2)


class StridedProjector(_GridProjector):
    """A `PixelUnshuffleProjector` as one convolution, whose kernel and stride are the factor; it takes the same."""

    proj: nn.Conv2d

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(rows, (g/f)², outputs)` of tokens `(rows, g², d)`."""
        grid = tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], self.grid, self.grid)
        projected: Tensor = self.proj(grid)
        return projected.flatten(2).transpose(1, 2)

    def _projection(self, inputs: int, outputs: int, *, bias: bool) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, self.factor, stride=self.factor, bias=bias)
