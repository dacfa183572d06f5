"""EfficientNet-Lite2 in plain torch, and the windows of its last map.

Source: Tan and Le 2019 (arXiv 1905.11946); Lite drops squeeze-and-excitation and uses ReLU6. Batch normalization is
folded into the convolutions, because the network is only run.

Shape legend: T frames, h w input pixels, H W cells of the last map, D = 1280 channels, N windows of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
"""Blocks, kernel, stride of the first block, expansion, and output channels of each stage."""
STEM, HEAD = 32, 1280
NORM_EPSILON = 1e-3
ELONGATED = 1.2
"""Ratio of the sides above which a map has four windows along its longer side instead of three."""


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: an odd pixel goes to the right and to the bottom.

    Equal sides are padded by the convolution itself, which copies nothing.

    >>> SameConv(3, 8, 3, stride=2)(torch.zeros(1, 3, 7, 10)).shape
    torch.Size([1, 8, 4, 5])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(T, channels, h, w) -> (T, channels, ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
        if any(pad % 2 for pad in pads):
            x = F.pad(x, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
            pads = [0, 0]
        both = [pad // 2 for pad in pads]
        return F.conv2d(x, self.weight, self.bias, self.stride, both, self.dilation, self.groups)


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = SameConv(inputs, width, 1) if expansion > 1 else None
        self.depthwise = SameConv(width, width, kernel, stride, groups=width)
        self.project = SameConv(width, outputs, 1)
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(T, inputs, h, w) -> (T, outputs, ceil(h / stride), ceil(w / stride))."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.has_skip else y


class Lite2(nn.Module):
    """EfficientNet-Lite2: a map of features, and a linear classifier of features.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        blocks, width = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for position in range(count):
                blocks.append(Block(width, outputs, kernel, stride if position == 0 else 1, expansion))
                width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(width, HEAD, 1)
        self.classifier = nn.Linear(HEAD, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels (T, 3, h, w) -> map of features (T, D, ceil(h / 32), ceil(w / 32))."""
        return F.relu6(self.head(self.blocks(F.relu6(self.stem(pixels), inplace=True))), inplace=True)


def fold_norms(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of `Lite2` from a published checkpoint, with its batch normalization folded.

    Args:
        published: tensors in the layout of the PyTorch ports (`_conv_stem.weight`, `_bn0.running_mean`, ...).

    Raises:
        KeyError: a tensor is missing.
    """
    pairs = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    parts = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"))
    for number in range(sum(stage[0] for stage in STAGES)):
        for name, conv, norm in (*parts, ("project", "_project_conv", "_bn2")):
            if number > 0 or name != "expand":
                old = f"_blocks.{number}."
                pairs.append((f"blocks.{number}.{name}", old + conv, old + norm))
    weights = {f"classifier.{end}": published[f"_fc.{end}"] for end in ("weight", "bias")}
    for name, conv, norm in pairs:
        factor = published[f"{norm}.weight"] * (published[f"{norm}.running_var"] + NORM_EPSILON).rsqrt()
        weights[f"{name}.weight"] = published[f"{conv}.weight"] * factor[:, None, None, None]
        weights[f"{name}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * factor
    return weights


def window_starts(cells: int, size: int, count: int) -> list[int]:
    """Return the first cells of `count` windows spread evenly over a side.

    >>> window_starts(18, 5, 4)
    [0, 4, 9, 13]
    """
    return [round(i * (cells - size) / (count - 1)) for i in range(count)]


def pool_windows(features: Tensor) -> Tensor:
    """Return the mean features of overlapping square windows, of half the shorter side: (T, D, H, W) -> (T, N, D).

    Windows lie on 3 x 3 positions. An elongated map has four along its longer side.
    """
    height, width = features.shape[-2:]
    size = max(1, min(height, width) // 2)
    rows = window_starts(height, size, 4 if height > ELONGATED * width else 3)
    columns = window_starts(width, size, 4 if width > ELONGATED * height else 3)
    windows = [features[:, :, y : y + size, x : x + size].mean(dim=(2, 3)) for y in rows for x in columns]
    return torch.stack(windows, dim=1)
