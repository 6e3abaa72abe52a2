"""Small convolutional networks in float64 with random statistics, and how far two results are apart."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

TOLERANCE = 1e-12


def relative_error(candidate: Tensor, reference: Tensor) -> float:
    assert candidate.shape == reference.shape
    return ((candidate - reference).norm() / reference.norm()).item()


def randomised(model: nn.Module, seed: int = 0, *kinds: type[nn.Module]) -> nn.Module:
    """Give the parameters and statistics of a model's modules, or of some kinds of them, random values, in float64."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.double().eval().modules():
        if not isinstance(module, kinds or nn.Module):
            continue
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not tensor.is_floating_point():
                continue
            values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            positive = isinstance(module, (_BatchNorm, nn.LayerNorm)) and name in ("weight", "running_var")
            tensor.data.copy_(values.abs() + 0.3 if positive else 0.4 * values)
    return model


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut, all with batch normalization, as in ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, values: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(values)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.downsample(values))


class SmallResNet(nn.Module):
    """`(rows, 3, height, width) -> (rows, 5)`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(ResidualBlock(6, 6, 1), ResidualBlock(6, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(values)).mean((2, 3)))


class RepVggBlock(nn.Module):
    """A 3×3, a 1×1 and an identity branch, each with batch normalization, added and put through a ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, groups: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.point = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        self.identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None

    def forward(self, values: Tensor) -> Tensor:
        total = self.dense(values) + self.point(values)
        if self.identity is not None:
            total = total + self.identity(values)
        return functional.relu(total)
