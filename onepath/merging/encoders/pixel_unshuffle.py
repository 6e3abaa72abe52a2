"""A projector that puts patches side by side before it projects them, and the convolution that does the same."""

from __future__ import annotations

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_sizes


class PixelUnshuffleProjector(nn.Module):
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

    def __init__(self, inputs: int, outputs: int, *, factor: int, grid: int, bias: bool = True) -> None:
        super().__init__()
        _check("a pixel-unshuffle projector", inputs, outputs, factor, grid)
        self.factor, self.grid = factor, grid
        self.proj = nn.Linear(inputs * factor**2, outputs, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(rows, (g/f)², outputs)` of tokens `(rows, g², d)`."""
        projected: Tensor = self.proj(self._side_by_side(tokens))
        return projected

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"factor={self.factor}, grid={self.grid}"

    def _side_by_side(self, tokens: Tensor) -> Tensor:
        # Not torch's pixel_unshuffle, which gives no rows the wrong number of channels.
        rows, width, factor, blocks = tokens.shape[0], tokens.shape[2], self.factor, self.grid // self.factor
        parts = tokens.reshape(rows, blocks, factor, blocks, factor, width)
        return parts.permute(0, 1, 3, 5, 2, 4).reshape(rows, blocks**2, width * factor**2)


class StridedProjector(nn.Module):
    """A `PixelUnshuffleProjector` as one convolution, whose kernel and stride are the factor.

    Args:
        inputs: d, width of a token.
        outputs: width of a projected one.
        factor: f, tokens along each side of a block.
        grid: g, tokens along each side of the grid, row by row.
        bias: whether the projection has one.

    Raises:
        UnsupportedModuleError: a size is below 1, or the factor does not divide the grid.
    """

    def __init__(self, inputs: int, outputs: int, *, factor: int, grid: int, bias: bool = True) -> None:
        super().__init__()
        _check("a strided projector", inputs, outputs, factor, grid)
        self.factor, self.grid = factor, grid
        self.proj = nn.Conv2d(inputs, outputs, factor, stride=factor, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(rows, (g/f)², outputs)` of tokens `(rows, g², d)`."""
        grid = tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], self.grid, self.grid)
        projected: Tensor = self.proj(grid)
        return projected.flatten(2).transpose(1, 2)

    def extra_repr(self) -> str:
        """Return the grid."""
        return f"grid={self.grid}"


def _check(name: str, inputs: int, outputs: int, factor: int, grid: int) -> None:
    check_sizes(name, inputs=inputs, outputs=outputs, factor=factor, grid=grid)
    if grid % factor:
        raise UnsupportedModuleError(
            name, f"a factor of {factor} does not divide a grid of {grid} × {grid}", "choose a divisor"
        )
