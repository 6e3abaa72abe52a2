"""The transformer of point clouds: groups to tokens, positions added again before every block, two ways of pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onepath.merging.presets.batch_norm import BatchNorm
from onepath.merging.presets.transformer import TransformerSettings, draw_weights, transformer_blocks

_HIDDEN = 128
GROUP_WIDTHS = (128, 256, 512)
"""Of the hidden layers of the published PointNet: of a point, of a group, and of the two beside each other."""
_HEAD_WIDTH = 256
_DROPOUT = 0.5


class PointGroups(nn.Module):
    """Groups of points to tokens by a small PointNet: each point alone, then beside the group's maximum.

    Args:
        width: of a token.
        widths: of the hidden layers.
    """

    def __init__(self, width: int, widths: tuple[int, int, int] = GROUP_WIDTHS) -> None:
        super().__init__()
        near, local, joint = widths
        self.first = _two_layers(3, near, local)
        self.second = _two_layers(2 * local, joint, width)

    def forward(self, neighbours: Tensor) -> Tensor:
        """Return `(rows, groups, width)` of points less their centre, `(rows, groups, neighbours, 3)`."""
        x = self._on_points(self.first, neighbours)
        strongest = x.amax(dim=2, keepdim=True).expand_as(x)
        return self._on_points(self.second, torch.cat([strongest, x], dim=3)).amax(dim=2)

    @staticmethod
    def _on_points(layers: nn.Module, points: Tensor) -> Tensor:
        _, groups, neighbours, width = points.shape
        mapped: Tensor = layers(points.reshape(-1, width))
        return mapped.reshape(-1, groups, neighbours, mapped.shape[1])


class PointTransformer(nn.Module):
    """A classifier of grouped point clouds, after Point-MAE; its blocks are named as the other modalities' are.

    Args:
        settings: of the blocks.
        classes: number of logits.
        group_widths: of the tokenizer's hidden layers.
    """

    def __init__(
        self, settings: TransformerSettings, *, classes: int, group_widths: tuple[int, int, int] = GROUP_WIDTHS
    ) -> None:
        super().__init__()
        width = settings.width
        self.tokenizer = PointGroups(width, group_widths)
        self.pos_embed = nn.Sequential(nn.Linear(3, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, width))
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.cls_pos = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.blocks = transformer_blocks(settings)
        self.norm = nn.LayerNorm(width, eps=settings.norm_eps)
        self.head = nn.Sequential(*_head_layer(2 * width), *_head_layer(_HEAD_WIDTH), nn.Linear(_HEAD_WIDTH, classes))
        self.head.apply(draw_weights)

    def forward(self, groups: Tensor) -> Tensor:
        """Return logits `(rows, classes)` of groups, any number of rows, zero too.

        Args:
            groups: `(rows, groups, 1 + neighbours, 3)`: the centre first, then points less that centre.
        """
        logits: Tensor = self.head(self.features(groups))
        return logits

    def features(self, groups: Tensor) -> Tensor:
        """Return `(rows, 2 * width)`: the class token beside the maximum over the tokens."""
        groups = groups.to(self.cls_token.dtype)
        x = self._joined(self.cls_token, self.tokenizer(groups[:, :, 1:]))
        positions = self._joined(self.cls_pos, self.pos_embed(groups[:, :, 0]))
        for block in self.blocks:
            x = block(x + positions)
        x = self.norm(x)
        return torch.cat([x[:, 0], x[:, 1:].amax(dim=1)], dim=1)

    @staticmethod
    def _joined(first: Tensor, others: Tensor) -> Tensor:
        return torch.cat([first.expand(others.shape[0], -1, -1), others], dim=1)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _head_layer(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, _HEAD_WIDTH), BatchNorm(_HEAD_WIDTH), nn.ReLU(), nn.Dropout(_DROPOUT)]
