"""Occlusion maps of a video LLM: how much its log-odds of "Yes" drop when a window of one frame is covered.

A video LLM has no vectors of frames or texts, only an answer about the whole video. These maps explain that answer, as
those of a GEXIA explain its cosine (arXiv 2412.07704, appendix G). Every covered copy of a video runs once for all
texts.

Shape legend: S texts, T frames that the model sees, H W their pixels, K windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from mova.errors import UsageError
from mova.explain.keyframes import PICTURE_PIXELS, choose_frames, reduced
from mova.explain.maps import SaliencyMaps, shown_best, with_whole_text
from mova.explain.saliency import covers, spread
from mova.models.entailment import EntailmentModel
from mova.types import Frames, Pixels

Progress = Callable[[int, int], None]
"""(copies of the video that have run, copies in all)."""


def occlude_video_llm(
    model: EntailmentModel, video: str | Path, sentences: Sequence[str], count: int, progress: Progress | None = None
) -> SaliencyMaps:
    """Compute occlusion maps of the frames that a video LLM sees, for each text and all of them as one.

    The shown frames are those that matter most: for each text the one whose full cover lowers the log-odds most, then
    others evenly. This takes T passes over the video, and for each shown frame one per window (169 for square frames).

    Args:
        model: any video LLM; `max_frames` decides the cost of a pass.
        video: a file.
        sentences: S texts.
        count: maximum number of frames to show.
        progress: called after every pass.

    Raises:
        UsageError: no sentence, or `count` below 1.
        VideoError: the file cannot be read.
    """
    if not sentences:
        raise UsageError("no sentences to explain")
    if count < 1:
        raise UsageError(f"the number of frames to show must be at least 1, not {count}")
    texts = with_whole_text(sentences)
    frames = model.sample(video)
    sides = frames.pixels.shape[1:3]
    tall, wide = (covers(side, min(sides)) for side in sides)
    windows = (tall[:, None, :, None] & wide[None, :, None, :]).flatten(0, 1).numpy()
    occluded = _Occluded(model, frames, texts, len(frames) + min(count, len(frames)) * len(windows), progress)
    everywhere = np.ones((1, *sides), dtype=bool)
    of_frames = np.concatenate([occluded.falls(i, everywhere) for i in range(len(frames))], axis=1)
    chosen = choose_frames(of_frames, frames.pts, count)
    maps = []
    for i in chosen:
        falls = torch.from_numpy(occluded.falls(i, windows)).unflatten(1, (len(tall), len(wide)))
        full = spread(falls[None], tall, wide)[0]
        maps.append(F.adaptive_avg_pool2d(full, (min(sides[0], PICTURE_PIXELS), min(sides[1], PICTURE_PIXELS))))
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method="occlusion",
        sentences=tuple(texts),
        times=frames.pts[chosen],
        best=shown_best(of_frames, chosen),
        pictures=reduced(frames.pixels[chosen], PICTURE_PIXELS),
        visible=(1.0, 1.0),
        values=of_frames[:, chosen],
        maps=torch.stack(maps, dim=1).numpy(),
        video_scores=occluded.video_scores,
        score="log-odds",
    )


class _Occluded:
    """A model with the frames of a video and all texts, scoring the video and covered copies of it."""

    def __init__(
        self, model: EntailmentModel, frames: Frames, texts: Sequence[str], passes: int, progress: Progress | None
    ) -> None:
        self.model, self.frames, self.passes, self.progress = model, frames, passes, progress
        self.tails = model.tails(texts)
        self.done = 0
        self.video_scores = self._log_odds(frames.pixels)

    def falls(self, frame_index: int, windows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return how much the log-odds drop when windows (K, H, W) of a frame are covered: (S, K)."""
        falls = []
        for copy in covered(self.frames.pixels, frame_index, windows):
            falls.append(self.video_scores - self._log_odds(copy))
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.passes)
        return np.stack(falls, axis=1)

    def _log_odds(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        return self.model.log_odds(Frames(pixels, self.frames.pts), self.tails).numpy()


def covered(pixels: Pixels, frame_index: int, windows: npt.NDArray[np.bool_]) -> Iterator[Pixels]:
    """Yield copies of a video, (T, H, W, 3), with windows (K, H, W) of one frame in that frame's mean color."""
    mean = pixels[frame_index].mean(axis=(0, 1)).round().astype(np.uint8)
    for window in windows:
        copy = pixels.copy()
        copy[frame_index][window] = mean
        yield copy
