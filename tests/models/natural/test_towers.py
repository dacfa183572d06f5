"""The network against batch normalization, TensorFlow's padding and a loop over windows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mova.models.natural.towers import STAGES, Lite2, SameConv, fold_norms, pool_windows

PARAMETERS = 6_092_072


def test_the_network_has_the_published_size() -> None:
    network = Lite2()
    norms = 2 * sum(conv.out_channels for conv in network.modules() if isinstance(conv, SameConv))
    biases = norms // 2  # folding replaces scale and shift by one bias
    assert sum(p.numel() for p in network.parameters()) + norms - biases == PARAMETERS
    assert len(network.blocks) == sum(stage[0] for stage in STAGES) == 21


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (320, 569), (33, 32)])
def test_the_map_has_one_cell_per_32_pixels_rounded_up(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert Lite2(3)(torch.zeros(1, 3, *size)).shape == (1, 1280, -(-size[0] // 32), -(-size[1] // 32))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 10), (8, 8), (5, 6)])
def test_padding_is_that_of_tensorflow(kernel: int, stride: int, size: tuple[int, int]) -> None:
    """The definition, output by output: out[i] reads in[i * stride - floor(total / 2) + k]."""
    torch.manual_seed(0)
    conv = SameConv(1, 1, kernel, stride)
    x = torch.randn(1, 1, *size)
    outputs = [-(-side // stride) for side in size]
    before = [max((n - 1) * stride + kernel - side, 0) // 2 for n, side in zip(outputs, size, strict=True)]
    expected = torch.zeros(1, 1, *outputs)
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            for a in range(kernel):
                for b in range(kernel):
                    y, z = i * stride - before[0] + a, j * stride - before[1] + b
                    if 0 <= y < size[0] and 0 <= z < size[1]:
                        expected[0, 0, i, j] += conv.weight[0, 0, a, b] * x[0, 0, y, z]
    assert torch.allclose(conv(x), expected + conv.bias, atol=1e-6)


class Normed(nn.Module):
    """The network as published: convolutions without bias, each followed by batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, torch.Tensor] = {}
        self.width = 32
        self._add("_conv_stem", "_bn0", SameConv(3, 32, 3, 2, bias=False))
        number = 0
        for count, kernel, stride, expansion, outputs in STAGES:
            for position in range(count):
                key, wide = f"_blocks.{number}.", self.width * expansion
                if expansion > 1:
                    self._add(f"{key}_expand_conv", f"{key}_bn0", SameConv(self.width, wide, 1, bias=False))
                step = stride if position == 0 else 1
                depthwise = SameConv(wide, wide, kernel, step, groups=wide, bias=False)
                self._add(f"{key}_depthwise_conv", f"{key}_bn1", depthwise)
                self._add(f"{key}_project_conv", f"{key}_bn2", SameConv(wide, outputs, 1, bias=False))
                self.width, number = outputs, number + 1
        self._add("_conv_head", "_bn1", SameConv(self.width, 1280, 1, bias=False))
        self.tensors |= {"_fc.weight": torch.randn(4, 1280), "_fc.bias": torch.randn(4)}

    def _add(self, conv_name: str, norm_name: str, conv: SameConv) -> None:
        norm = nn.BatchNorm2d(conv.out_channels, eps=1e-3).eval()
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
        self.add_module(conv_name.replace(".", "/"), conv)
        self.add_module(norm_name.replace(".", "/"), norm)
        self.tensors[f"{conv_name}.weight"] = conv.weight.detach()
        self.tensors |= {f"{norm_name}.{key}": value.detach() for key, value in norm.state_dict().items()}

    def _run(self, conv: str, norm: str, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(norm.replace(".", "/"))(self.get_submodule(conv.replace(".", "/"))(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._run("_conv_stem", "_bn0", x))
        for number in range(21):
            key, y = f"_blocks.{number}.", x
            if number:
                y = F.relu6(self._run(f"{key}_expand_conv", f"{key}_bn0", y))
            y = F.relu6(self._run(f"{key}_depthwise_conv", f"{key}_bn1", y))
            y = self._run(f"{key}_project_conv", f"{key}_bn2", y)
            x = x + y if x.shape == y.shape else y
        return F.relu6(self._run("_conv_head", "_bn1", x))


def test_folded_weights_give_the_features_of_the_published_layout() -> None:
    torch.manual_seed(0)
    published, network = Normed().eval(), Lite2(4).eval()
    assert len(published.tensors) == 386
    network.load_state_dict(fold_norms(published.tensors))
    x = torch.randn(2, 3, 70, 101)
    with torch.no_grad():
        assert torch.allclose(network(x), published(x), atol=1e-4)


def test_a_missing_tensor_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"_fc\.weight"):
        fold_norms({})


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [((10, 18), 3, 4), ((18, 10), 4, 3), ((10, 10), 3, 3), ((10, 12), 3, 3), ((1, 1), 3, 3), ((2, 5), 3, 4)],
)
def test_windows_cover_both_ends_and_elongated_maps_have_four_along_the_longer_side(
    size: tuple[int, int], rows: int, columns: int
) -> None:
    height, width = size
    features = torch.randn(2, 5, height, width)
    windows = pool_windows(features)
    assert windows.shape == (2, rows * columns, 5)
    side = max(1, min(size) // 2)
    assert torch.allclose(windows[:, 0], features[:, :, :side, :side].mean(dim=(2, 3)), atol=1e-6)
    last = features[:, :, height - side :, width - side :].mean(dim=(2, 3))
    assert torch.allclose(windows[:, -1], last, atol=1e-6)
    if min(size) >= 10:  # 320 pixels
        seen = torch.zeros(1, 1, height, width, requires_grad=True)
        pool_windows(seen).sum().backward()
        assert seen.grad is not None
        assert (seen.grad > 0).all(), "no cell is outside every window"
