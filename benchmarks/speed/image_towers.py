"""Image towers by PyTorch and by ONNX Runtime, with trained weights: frames per second, and the cosine of vectors.

The network of `mova-natural` runs on frames of the real clips, or of random pictures where these are missing, one
thread, processor time, the best of three rounds. ONNX Runtime runs the file that `mova models export` writes, exactly
and in int8. Cosines are with PyTorch in single precision. The claims are what decides on the use of an export.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import harness
from benchmarks.studies.natural import DATA
from mova.models.natural.image_export import export_images
from mova.models.natural.model import Natural
from mova.models.two_tower.image_export import LEAST_COSINE, LEAST_GAIN, film_pictures, random_pictures
from mova.models.two_tower.image_tower import MODEL_NAME, ImageTower

FRAMES, ROUNDS = 4, 3
"""Frames per clip."""


def inputs_of(model: Natural, clips: int) -> list[Tensor]:
    """Return the network's input for some frames of each clip."""
    listed = DATA / "realclips.jsonl"
    if not listed.is_file():
        return [model.tower_input(np.stack(random_pictures()[:FRAMES]))]
    paths = [DATA / json.loads(line)["video"] for line in listed.read_text(encoding="utf-8").splitlines()]
    return [model.tower_input(np.stack(film_pictures(path, FRAMES))) for path in paths[:clips]]


def exported(model: Natural, folder: Path, *, int8: bool) -> ImageTower:
    """Return the exported network."""
    export_images(model, folder, int8=int8)
    return ImageTower(folder / MODEL_NAME, model.weights_version())


@torch.inference_mode()
def measured(way: Callable[[Tensor], Tensor], inputs: list[Tensor]) -> tuple[Tensor, float]:
    """Return the vectors (T, d) of all frames, and frames per second."""
    vectors = torch.cat([way(pixels) for pixels in inputs])
    return vectors, len(vectors) / harness.seconds(lambda: [way(pixels) for pixels in inputs], ROUNDS)


def main() -> None:
    """Measure all ways of running the network."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    report = harness.Report("image_towers", [args.seed])
    exact, half = Natural.from_packages(precision="fp32"), Natural.from_packages(precision="bf16")
    inputs = inputs_of(exact, 2 if args.quick else 12)
    with tempfile.TemporaryDirectory() as folder:
        towers = {int8: exported(exact, Path(folder) / f"int8 {int8}", int8=int8) for int8 in (False, True)}
        ways: dict[str, Callable[[Tensor], Tensor]] = {
            "PyTorch": exact.by_torch,
            "PyTorch, bf16": half.by_torch,
            "ONNX Runtime": partial(exact.by_export, towers[False]),
            "ONNX Runtime, int8": partial(exact.by_export, towers[True]),
        }
        expected, first = measured(ways["PyTorch"], inputs)
        for name, way in ways.items():
            vectors, rate = measured(way, inputs)
            cosines = torch.nn.functional.cosine_similarity(vectors.double(), expected.double())
            lowest, gain = float(cosines.min()), rate / first
            shown = {"frames per second": rate, "ratio": gain, "lowest cosine": lowest, "mean": float(cosines.mean())}
            report.row(name=name, frames=len(vectors), **shown)
            if name.startswith("ONNX"):
                report.claim(f"{name}: ratio of frames per second", gain, LEAST_GAIN, gain >= LEAST_GAIN)
                report.claim(f"{name}: lowest cosine", lowest, LEAST_COSINE, lowest >= LEAST_COSINE)
    report.finish()


if __name__ == "__main__":
    main()
