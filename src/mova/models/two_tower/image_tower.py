"""The image tower of a model as a file of ONNX beside the saved model, run by ONNX Runtime on a CPU.

A folder with an export holds `image_tower.onnx` and `image_tower.json`: the fingerprint of the model, the hash of the
file, and what was measured on each processor. The tower is used only where its own measurement allows it.

Shape legend: T frames, h w model input pixels, d width of the model's space.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mova.errors import ModelError
from mova.models.hub import read_json
from mova.models.precision import choose_dtype
from mova.types import Pixels
from mova.utils.hashing import content_hash

logger = logging.getLogger(__name__)

MODEL_NAME, DOCUMENT_NAME = "image_tower.onnx", "image_tower.json"


@dataclass(frozen=True)
class TowerCheck:
    """What was measured on one processor, with PyTorch in the precision that `load` chooses there.

    Attributes:
        torch_rate, onnx_rate: frames per second of the image tower, on all threads.
        lowest, mean: cosine of both vectors of a frame: the lowest, and the mean.
        used: whether the exported tower is used on this processor.
    """

    torch_rate: float
    onnx_rate: float
    lowest: float
    mean: float
    used: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the document."""
        return asdict(self)


class Exportable(Protocol):
    """A model whose image tower can be exported.

    Attributes:
        image_tower: the exported one, which `encode_frames` uses as long as no weight changes.
    """

    image_tower: ImageTower | None
    device: torch.device

    def fingerprint(self) -> str:
        """See `DualEncoder`."""

    def weights_version(self) -> int:
        """See `DualEncoder`."""

    def tower_input(self, pixels: Pixels) -> Tensor:
        """Return the tower's input for frames of one size: uint8 (T, H, W, 3) -> float32 (T, 3, h, w)."""

    def by_torch(self, pixels: Tensor) -> Tensor:
        """Encode the tower's input by PyTorch: (T, 3, h, w) -> vectors (T, d), float32."""

    def by_export(self, tower: ImageTower, pixels: Tensor) -> Tensor:
        """Encode the tower's input by an exported tower: (T, 3, h, w) -> vectors (T, d), float32."""


class ImageTower:
    """An exported image tower: normalized pixels (T, 3, h, w) become its outputs, float32.

    Args:
        path: a file of ONNX.
        version: the state of the model's weights that it was made from (`DualEncoder.weights_version`).
    """

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.version = version

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: Tensor) -> Tensor:
        """Run the tower on normalized pixels (T, 3, h, w), float32."""
        return torch.from_numpy(self._session.run(None, {"pixels": pixels.numpy()})[0])


def usable_image_tower(folder: Path, fingerprint: str, version: int) -> ImageTower | None:
    """Return the exported image tower of a folder, if it may be used on this processor.

    Without an export, or where it was not measured, the answer is None. An export that does not belong to the weights
    is reported in the log and not used.

    Args:
        folder: of a saved model.
        fingerprint, version: of the model that was loaded from it.
    """
    if not (folder / DOCUMENT_NAME).is_file():
        return None
    try:
        document = read_json(folder / DOCUMENT_NAME)
        checks = document.get("checks")
        check = checks.get(processor()) if isinstance(checks, dict) else None
        if not isinstance(check, dict):
            logger.info("%s: its image tower was not measured on this processor; see `mova models check`", folder)
        elif check.get("used") is True:
            return open_image_tower(folder, document, fingerprint, version)
    except ModelError as error:
        logger.warning("%s; PyTorch is used instead", error)
    return None


def current_tower(model: Exportable) -> ImageTower | None:
    """Return the exported tower of a model on a CPU, if it belongs to the present weights."""
    tower = model.image_tower
    fits = tower is not None and model.device.type == "cpu" and tower.version == model.weights_version()
    return tower if fits else None


def attach_image_tower(model: Exportable, folder: Path) -> None:
    """Let a model on a CPU use the exported image tower of the folder that it was loaded from, if it may be used."""
    if model.device.type == "cpu" and (folder / DOCUMENT_NAME).is_file():
        model.image_tower = usable_image_tower(folder, model.fingerprint(), model.weights_version())


def open_image_tower(folder: Path, document: dict[str, Any], fingerprint: str, version: int) -> ImageTower:
    """Return the exported image tower of a folder.

    Raises:
        ModelError: it was made from other weights, or its file is missing or was changed.
    """
    path = folder / MODEL_NAME
    if document.get("fingerprint") != fingerprint:
        raise ModelError(f"{path}: was exported from other weights; run `mova models export` again")
    if not path.is_file() or content_hash(path) != document.get("hash"):
        raise ModelError(f"{path}: is missing or was changed; run `mova models export` again")
    return ImageTower(path, version)


def processor() -> str:
    """Return the name of this machine's processor, and what PyTorch uses of it."""
    bf16 = ", bf16" if choose_dtype("auto", torch.device("cpu")) == torch.bfloat16 else ""
    return f"{_processor_name()} ({torch.backends.cpu.get_cpu_capability()}{bf16})"


def _processor_name() -> str:
    """Return the name of the processor that the system states."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
