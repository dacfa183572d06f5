"""Export the image tower of a two-tower model to ONNX, and measure that of any model against PyTorch on this processor.

Shape legend: T frames, H W picture pixels, h w model input pixels, d width of the model's space.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova.errors import ModelError, UsageError
from mova.models.families import family_of_folder
from mova.models.hub import read_json
from mova.models.two_tower.image_tower import (
    DOCUMENT_NAME,
    MODEL_NAME,
    Exportable,
    TowerCheck,
    open_image_tower,
    processor,
)
from mova.models.two_tower.model import TwoTower
from mova.utils.hashing import content_hash
from mova.video.reader import read_count

LEAST_COSINE = 0.999
"""Lowest cosine with the vectors of PyTorch from which an exported tower is used."""
LEAST_GAIN = 1.05
"""Ratio of frames per second from which it is used."""
PICTURES, SIDE = 16, 256
"""Number and side in pixels of the pictures that towers are compared on."""
BATCH, ROUNDS = 8, 5
MOST_BYTES = 2_000_000_000
"""Largest weights of an image tower in single precision: a file of ONNX is at most 2 GiB."""
QUANTIZED = ["MatMul", "Gemm"]
"""Operations that int8 replaces. Convolutions stay: there is one, and it reads the pixels."""


class _Images(nn.Module):
    """The image tower alone, as a module."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalized pixels (T, 3, h, w) to vectors (T, d)."""
        return self.model.image_features(pixels)


def export_images(
    model: TwoTower, folder: str | Path, *, int8: bool = False, least_cosine: float = LEAST_COSINE
) -> None:
    """Save a model with its image tower as a file of ONNX. `check_images` decides whether it is used.

    Args:
        model: loaded in "fp32", on the CPU.
        folder: created if it is missing; it must be empty.
        int8: round the weights of matrix products to 8 bits, and their inputs while it runs.
        least_cosine: lowest cosine with PyTorch's vectors from which the tower may be used, in (0, 1].

    Raises:
        UsageError: the folder is not empty, or the cosine is out of range.
        ModelError: the tower takes pictures of several shapes, which cannot be exported, or has more than 2 GB.

    Example:
        >>> from mova.models.tiny_checkpoint import write_tiny_clip
        >>> model = TwoTower.from_checkpoint(write_tiny_clip("tiny", ["a dog"]), precision="fp32", device="cpu")
        >>> export_images(model, "exported")
        >>> check_images("exported").lowest > 0.99
        True
    """
    target = new_target(folder, least_cosine)
    if model.image_rule.resize == "patches":
        raise ModelError(f"{model.name}: takes pictures of several shapes, so that its image tower cannot be exported")
    if 4 * sum(weight.numel() for weight in model.video_parameters()) > MOST_BYTES:
        raise ModelError(f"{model.name}: its image tower has more than 2 GB, which one file of ONNX cannot hold")
    target.mkdir(parents=True, exist_ok=True)
    exact = target / MODEL_NAME
    _write(model, exact)
    if int8:
        quantize(exact)
    save_beside(model, target, least_cosine=least_cosine, int8=int8)


def new_target(folder: str | Path, least_cosine: float) -> Path:
    """Return the folder of an export.

    Raises:
        UsageError: it is not empty, or the cosine is out of range.
    """
    target = Path(folder).expanduser()
    if not 0 < least_cosine <= 1:
        raise UsageError(f"the lowest cosine must be in (0, 1], not {least_cosine}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: exists and is not an empty folder; choose another name")
    return target


def save_beside(model: Any, target: Path, **settings: Any) -> None:
    """Save a model beside the file of its image tower, with the document that binds both."""
    model.save_pretrained(target)
    written = {"fingerprint": model.fingerprint(), "hash": content_hash(target / MODEL_NAME), **settings}
    _write_document(target, {**written, "checks": {}})


def check_images(folder: str | Path, pictures: Sequence[npt.NDArray[np.uint8]] | None = None) -> TowerCheck:
    """Compare the exported image tower of a folder with PyTorch on this processor, and keep the result there.

    The tower is used here from now on if it is `LEAST_GAIN` times as fast as PyTorch in the precision that `load`
    chooses, and no cosine is below the one that the export allows.

    Args:
        folder: that `export_images` wrote.
        pictures: (H, W, 3) each; default: random ones with the spectrum of photographs.

    Raises:
        ModelError: there is no export, or it does not belong to the weights.
        OSError: the result cannot be written.
    """
    home = Path(folder).expanduser()
    if not (home / DOCUMENT_NAME).is_file():
        raise ModelError(f"{home}: has no exported image tower; make one with `mova models export NAME FOLDER`")
    document = read_json(home / DOCUMENT_NAME)
    family = family_of_folder(home)
    if family is None or family.export_images is None:
        raise ModelError(f"{home}: was not written by `mova models export`")
    model: Exportable = family.model_class().from_pretrained(home, precision="auto", device="cpu")
    tower = open_image_tower(home, document, model.fingerprint(), model.weights_version())
    shown = random_pictures() if pictures is None else list(pictures)
    inputs = torch.cat([model.tower_input(p[None]) for p in shown])
    with torch.inference_mode():
        ways: tuple[Callable[[Tensor], Tensor], ...] = (model.by_torch, partial(model.by_export, tower))
        expected, found = (torch.cat([way(part) for part in inputs.split(BATCH)]) for way in ways)
        rates = _rates(ways, inputs[:BATCH])
    cosines = torch.nn.functional.cosine_similarity(expected.double(), found.double())
    lowest = float(cosines.min())
    used = lowest >= document["least_cosine"] and rates[1] >= LEAST_GAIN * rates[0]
    check = TowerCheck(round(rates[0], 2), round(rates[1], 2), round(lowest, 6), round(float(cosines.mean()), 6), used)
    checks = {**document["checks"], processor(): check.to_dict()}
    _write_document(home, {**document, "checks": checks})
    return check


def random_pictures(seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Return pictures (H, W, 3) whose amplitude falls with frequency as in photographs (Field 1987); always the same.

    Example:
        >>> pictures = random_pictures()
        >>> len(pictures), pictures[0].shape
        (16, (256, 256, 3))
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = 1.0
    pictures = []
    for _ in range(PICTURES):
        noise = np.fft.rfft2(rng.normal(size=(SIDE, SIDE, 3)), axes=(0, 1)) / frequency[..., None]
        noise[0, 0] = 0
        values = np.fft.irfft2(noise, s=(SIDE, SIDE), axes=(0, 1))
        level, contrast = rng.uniform(70, 180, 3), rng.uniform(20, 70)
        pictures.append(np.clip(values / values.std() * contrast + level, 0, 255).astype(np.uint8))
    return pictures


def film_pictures(video: str | Path, count: int = PICTURES) -> list[npt.NDArray[np.uint8]]:
    """Return frames of a video, evenly spaced, as pictures (H, W, 3).

    Raises:
        VideoError: it cannot be read.
    """
    return [*read_count(video, count).pixels]


def _write_document(folder: Path, document: dict[str, Any]) -> None:
    (folder / DOCUMENT_NAME).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write(model: TwoTower, path: Path) -> None:
    """Write the image tower as a file of ONNX that takes any number of frames."""
    pixels = model.image_rule.apply(np.zeros((2, SIDE, SIDE, 3), np.uint8), model.device, torch.float32)
    axes = {"pixels": {0: "frames"}, "vectors": {0: "frames"}}
    names = {"input_names": ["pixels"], "output_names": ["vectors"], "dynamic_axes": axes}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(_Images(model), (pixels,), str(path), dynamo=False, **names)  # type: ignore[arg-type]
        except RuntimeError as error:
            path.unlink(missing_ok=True)
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{model.name}: its image tower cannot be exported: {reason}") from error


def quantize(path: Path, inputs: Sequence[Tensor] = ()) -> None:
    """Replace a file of ONNX by one in int8.

    Args:
        path: of the file.
        inputs: of the tower, (T, 3, h, w) each: ranges of all values are measured on them, and convolutions are
            replaced, too. Without any, matrix products alone are, and measure their inputs while they run.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Shown(CalibrationDataReader):
        """The inputs, one by one."""

        def __init__(self) -> None:
            self._rest = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next input; None after the last."""
            pixels = next(self._rest, None)
            return None if pixels is None else {"pixels": pixels.numpy()}

    exact = path.rename(path.with_suffix(".exact"))
    settings = {"weight_type": QuantType.QInt8, "per_channel": True}
    logging.disable(logging.WARNING)  # it recommends a step that changes nothing here
    try:
        if len(inputs):
            quantize_static(exact, path, Shown(), **settings)
        else:
            quantize_dynamic(exact, path, op_types_to_quantize=QUANTIZED, **settings)
    finally:
        logging.disable(logging.NOTSET)
    exact.unlink()


def _rates(ways: Sequence[Callable[[Tensor], Tensor]], pixels: Tensor) -> list[float]:
    """Return the frames per second of each way, the fastest of some rounds that take turns."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for i, way in enumerate(ways):
            began = time.perf_counter()
            way(pixels)
            best[i] = min(best[i], time.perf_counter() - began)
    return [len(pixels) / seconds for seconds in best]
