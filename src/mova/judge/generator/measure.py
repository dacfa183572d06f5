"""Measure videos on all axes, and summarize generators.

Shape legend: T frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError, VideoError
from mova.eval.metrics.bootstrap import Interval, bootstrap
from mova.judge.batch import Request
from mova.judge.by_similarity import judge_embedding
from mova.judge.generator.axes import AXES
from mova.judge.generator.consistency import consistency, separate
from mova.judge.generator.motion import measure_motion
from mova.judge.generator.prompts import PromptList, vbench_results
from mova.models.encoder import DualEncoder
from mova.scoring.similarity import cosine
from mova.types import Frames, Pixels
from mova.video.probe import probe
from mova.video.reader import read_count, stream

FRAME_RATE, MOST_FRAMES, FRAME_SIDE = 8.0, 64, 256
"""Frames per second whose vectors are compared, at most how many, and their shorter side in pixels."""

Progress = Callable[[str, float, float], None]
"""(video, videos done, videos in total), called after each video."""


def measure_video(model: DualEncoder, path: str | Path, prompt: str, axes: Sequence[str]) -> dict[str, float | None]:
    """Measure one video.

    Args:
        model: encodes frames and prompt.
        path: the video.
        prompt: its prompt.
        axes: names of axes, see `AXES`.

    Returns:
        The value on each axis; None if the video has too few frames for it.

    Raises:
        VideoError: the file cannot be read.
        UsageError: the prompt has no words, or the size of the frames changes.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> list(measure_video(model, "film.mp4", "Two black discs shrink.", ["overall_consistency"]))
    ['overall_consistency']
    """
    found: dict[str, float | None] = {}
    reader = model.decoder
    info = (probe if reader is None else reader.probe)(path)
    if {"temporal_flickering", "motion_smoothness", "dynamic_degree"} & set(axes):
        motion = measure_motion(_frames(model, path), info.fps)
        dynamic = None if motion.dynamic is None else float(motion.dynamic)
        found |= {"temporal_flickering": motion.flicker, "motion_smoothness": motion.smoothness}
        found["dynamic_degree"] = dynamic
    if {"subject_consistency", "background_consistency"} & set(axes):
        count = int(np.clip(round(info.duration * FRAME_RATE), 1, MOST_FRAMES))
        count = min(count, max(1, round(info.duration * info.fps)))
        read = read_count if reader is None else reader.read_count
        parts = separate(read(path, count, rule="linspace", short_side=FRAME_SIDE).pixels)
        found["subject_consistency"] = consistency(_vectors(model, parts.subject))
        found["background_consistency"] = consistency(_vectors(model, parts.background))
    if {"overall_consistency", "sentence_consistency"} & set(axes):
        video = model.encode_video(path)
        text = model.encode_text([prompt]).pooled.to(video.pooled.device)
        found["overall_consistency"] = float(cosine(video.pooled[None], text)[0, 0])
        if "sentence_consistency" in axes:
            found["sentence_consistency"] = judge_embedding(model, video, prompt, name=str(path)).score
    return {axis: found[axis] for axis in AXES if axis in axes}


def _frames(model: DualEncoder, path: str | Path) -> Iterator[Pixels]:
    for chunk in (stream if model.decoder is None else model.decoder.stream)(path, fps=None):
        yield from chunk.pixels


def _vectors(model: DualEncoder, pictures: Pixels) -> npt.NDArray[np.float64]:
    """Return one vector per picture (T, d)."""
    times = np.arange(len(pictures)) / model.frame_rate
    return np.asarray(model.encode_frames(Frames(pictures, times)).double().cpu().numpy())


@dataclass
class GeneratorReport:
    """Values of many videos.

    Attributes:
        values: (request, axis -> value) of each video; axes that its prompt is not meant for are left out.
        broken: (video, cause) of every video that cannot be measured.

    >>> GeneratorReport([(Request("a.mp4", Path("a.mp4"), "A dog runs."), {"dynamic_degree": 1.0})]).means()
    {'': {'dynamic_degree': Interval(value=1.0, low=1.0, high=1.0, level=0.95, p=None)}}
    """

    values: list[tuple[Request, dict[str, float | None]]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)

    def means(self) -> dict[str, dict[str, Interval]]:
        """Return generator -> axis -> mean over prompts, with a bootstrap interval over prompts.

        Videos without a named generator belong to "".
        """
        lists: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for request, values in self.values:
            for axis, value in values.items():
                if value is not None:
                    lists[request.generator or ""][axis][request.prompt].append(value)
        return {
            generator: {
                axis: bootstrap([float(np.mean(of_prompt)) for of_prompt in by_axis[axis].values()])
                for axis in AXES
                if axis in by_axis
            }
            for generator, by_axis in lists.items()
        }

    def vbench(self) -> dict[str, list[Any]]:
        """Return VBench's document of results, over the videos of all generators."""
        by_axis: dict[str, dict[str, float]] = {axis: {} for axis in AXES}
        for request, values in self.values:
            for axis, value in values.items():
                if value is not None:
                    by_axis[axis][str(request.path)] = value
        return vbench_results(by_axis)

    def to_json(self) -> dict[str, Any]:
        """Return the document of `mova eval generation --json`."""
        return {
            "generators": {
                name: {axis: interval.to_json() for axis, interval in of_axes.items()}
                for name, of_axes in self.means().items()
            },
            "videos": [
                {"video": request.video, "prompt": request.prompt, "generator": request.generator, **values}
                for request, values in self.values
            ],
            "broken": [{"video": video, "cause": cause} for video, cause in self.broken],
        }


def measure_all(
    model: DualEncoder, prompts: PromptList, axes: Sequence[str], progress: Progress | None = None
) -> GeneratorReport:
    """Measure every video on the axes that its prompt is meant for; one that cannot be read is reported and skipped.

    >>> import mova
    >>> requests = [Request(name, Path(name), "Two black discs shrink.") for name in ("film.mp4", "x.mp4")]
    >>> report = measure_all(mova.load("mova-worlds-tiny"), PromptList(requests), ["sentence_consistency"])
    >>> report.means()[""]["sentence_consistency"].value > 0.5, report.broken[0][0]
    (True, 'x.mp4')
    """
    report = GeneratorReport()
    for done, request in enumerate(prompts.requests, start=1):
        meant = [axis for axis in axes if axis in prompts.axes.get(request.prompt, AXES)]
        try:
            if meant:
                report.values.append((request, measure_video(model, request.path, request.prompt, meant)))
        except VideoError as error:
            report.broken.append((request.video, error.cause))
        except (UsageError, MemoryError, OSError) as error:
            report.broken.append((request.video, f"cannot be measured: {error or type(error).__name__}"))
        if progress is not None:
            progress(request.video, done, len(prompts.requests))
    return report
