"""The network behind models/shapes, for train_shapes.py. No state.

The published shape of YOLOv8, written anew and made small: cross-stage blocks, a pyramid pooling block, a path up and
down over strides 8, 16 and 32, and per stride a decoupled head without anchors. Box distances are distributions over
bins (Li et al. 2020, "Generalized Focal Loss"). ReLU6 stands for SiLU: its fixed range survives int8.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fusion

from agent.sources._scene import CLASSES

SIDE = 320
STRIDES = (8, 16, 32)
BINS = 8
"""Distances from 0 to 7 strides: enough for a quarter of the frame, and a tight range for int8."""


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return functional.relu6(self.norm(self.conv(x)))

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, for export."""
        self.conv, self.norm = fusion.fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class CrossStage(nn.Module):
    """Half of the channels pass through two convolutions, the rest goes round them."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.straight, self.entry = ConvUnit(inputs, half, 1), ConvUnit(inputs, half, 1)
        self.block = nn.Sequential(ConvUnit(half, half), ConvUnit(half, half))
        self.exit = ConvUnit(3 * half, outputs, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h, w)."""
        entered = self.entry(x)
        worked = self.block(entered)
        return self.exit(torch.cat((self.straight(x), entered, worked + entered if self.residual else worked), 1))


class PooledPyramid(nn.Module):
    """Three poolings in a row, stacked: the context of ever larger surroundings."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.entry, self.exit = ConvUnit(channels, channels // 2, 1), ConvUnit(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        stack = [self.entry(x)]
        for _ in range(3):
            stack.append(functional.max_pool2d(stack[-1], 5, 1, 2))
        return self.exit(torch.cat(stack, 1))


class Head(nn.Module):
    """Box and class branches of one stride."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        wide = 24
        self.stride = stride
        self.box = nn.Sequential(ConvUnit(channels, wide), ConvUnit(wide, wide), nn.Conv2d(wide, 4 * BINS, 1))
        self.kind = nn.Sequential(ConvUnit(channels, wide), ConvUnit(wide, wide), nn.Conv2d(wide, len(CLASSES), 1))
        nn.init.constant_(self.kind[-1].bias, -math.log(99))  # at first every class has 1 % everywhere

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, h, w) to the logits (n, h * w, 4 * BINS) and (n, h * w, classes)."""
        return tuple(branch(x).permute(0, 2, 3, 1).flatten(1, 2) for branch in (self.box, self.kind))


class ShapesNet(nn.Module):
    """Backbone, path up and down, three heads."""

    def __init__(self) -> None:
        super().__init__()
        stem = (ConvUnit(3, 8, stride=2), ConvUnit(8, 16, stride=2), CrossStage(16, 16, residual=True))
        self.stem = nn.Sequential(*stem)
        self.fine = nn.Sequential(ConvUnit(16, 32, stride=2), CrossStage(32, 32, residual=True))
        self.middle = nn.Sequential(ConvUnit(32, 64, stride=2), CrossStage(64, 64, residual=True))
        self.coarse = nn.Sequential(ConvUnit(64, 64, stride=2), CrossStage(64, 64, residual=True), PooledPyramid(64))
        self.up_middle, self.up_fine = CrossStage(128, 48, residual=False), CrossStage(80, 32, residual=False)
        self.step_middle, self.down_middle = ConvUnit(32, 32, stride=2), CrossStage(80, 48, residual=False)
        self.step_coarse, self.down_coarse = ConvUnit(48, 48, stride=2), CrossStage(112, 56, residual=False)
        self.heads = nn.ModuleList(Head(c, stride) for c, stride in zip((32, 48, 56), STRIDES, strict=True))

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(n, 3, SIDE, SIDE) RGB 0..1 to each stride's logits."""
        fine = self.fine(self.stem(x))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.up_middle(torch.cat((functional.interpolate(coarse, scale_factor=2.0), middle), 1))
        fine = self.up_fine(torch.cat((functional.interpolate(middle, scale_factor=2.0), fine), 1))
        middle = self.down_middle(torch.cat((self.step_middle(fine), middle), 1))
        coarse = self.down_coarse(torch.cat((self.step_coarse(middle), coarse), 1))
        return [head(level) for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]


class Exported(nn.Module):
    """The network with its decoder, as it is shipped: rows of centre, size and scores, all 0..1.

    A box follows from the bins' probabilities by one matrix: x offset (r - l) / 2 and width l + r, likewise down. One
    matrix means one rounding in int8, where left and right edges apart would mean four. ReLU6 on six times the value
    keeps it inside 0..1 (a plain clamp becomes an operator that int8 and old runtimes lack), so that boxes and scores
    share the output's one scale without loss.
    """

    def __init__(self, net: ShapesNet) -> None:
        super().__init__()
        self.net = net
        bins = torch.arange(BINS, dtype=torch.float32)
        half, zero = bins / 2, torch.zeros(BINS)
        centre = ((-half, zero, half, zero), (zero, -half, zero, half))
        size = ((bins, zero, bins, zero), (zero, bins, zero, bins))
        matrix = torch.stack([torch.cat(row) for row in centre + size])
        for level, stride in enumerate(STRIDES):
            self.register_buffer(f"matrix_{level}", 6 * matrix * stride / SIDE)
            centres = functional.pad(cell_centres(stride), (0, 2))
            self.register_buffer(f"centres_{level}", 6 * centres[None] / SIDE)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, SIDE, SIDE) RGB 0..1 to (1, 4 + classes, cells)."""
        rows = []
        for level, (box, kind) in enumerate(self.net(x)):
            shares = box.reshape(1, -1, 4, BINS).softmax(-1).reshape(1, -1, 4 * BINS)
            offsets = functional.linear(shares, getattr(self, f"matrix_{level}"))
            boxes = functional.relu6(offsets + getattr(self, f"centres_{level}")) / 6
            rows.append(torch.cat((boxes, kind.sigmoid()), 2))
        return torch.cat(rows, 1).transpose(1, 2)


def cell_centres(stride: int) -> Tensor:
    """(cells, 2) x and y in pixels of the input, row by row."""
    line = (torch.arange(SIDE // stride) + 0.5) * stride
    down, across = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((across.flatten(), down.flatten()), 1)


def fused(net: ShapesNet) -> ShapesNet:
    """The same network for export: in evaluation mode, its normalisations folded into its convolutions."""
    net.eval()
    for part in net.modules():
        if isinstance(part, ConvUnit):
            part.fuse()
    return net
