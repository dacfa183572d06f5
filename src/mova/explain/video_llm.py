"""Occlusion maps of a video LLM: how far its log-odds of "Yes" fall where a window of one frame is covered.

A video LLM has no vectors of frames or texts, only an answer about the whole video; of that these maps tell, as those
of a GEXIA do (arXiv 2412.07704, appendix G). Every covered copy of a video is run once, and asked about all texts.

Shape legend: S texts, T frames that the model looks at, H W their pixels, K windows.
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
"""(copies of the video that were run, of how many)."""


def occlude_video_llm(
    model: EntailmentModel, video: str | Path, sentences: Sequence[str], count: int, progress: Progress | None = None
) -> SaliencyMaps:
    """Occlusion of the frames that a video LLM looks at, texts and, after several, all of them as one.

    Shown are the frames that matter most: of each text the one whose whole cover lowers the log-odds most, then others
    evenly. That takes T passes over the video, and each shown frame one for every window (169 where frames are square).

    Args:
        model: any family; what it looks at (`max_frames`) decides what a pass costs.
        video: a file.
        sentences: S texts.
        count: most frames to show.
        progress: told after every pass.

    Raises:
        UsageError: no sentence, or `count` below 1.
        VideoError: the file cannot be read.
    """
    if not sentences:
        raise UsageError("there is no sentence to look for")
    if count < 1:
        raise UsageError(f"at least one frame must be shown, not {count}")
    texts = with_whole_text(sentences)
    frames = model.sample(video)
    sides = frames.pixels.shape[1:3]
    tall, wide = (covers(side, min(sides)) for side in sides)
    windows = (tall[:, None, :, None] & wide[None, :, None, :]).flatten(0, 1).numpy()
    asked = _Asked(model, frames, texts, len(frames) + min(count, len(frames)) * len(windows), progress)
    everywhere = np.ones((1, *sides), dtype=bool)
    of_frames = np.concatenate([asked.falls(place, everywhere) for place in range(len(frames))], axis=1)
    chosen = choose_frames(of_frames, frames.pts, count)
    maps = []
    for place in chosen:
        falls = torch.from_numpy(asked.falls(place, windows)).unflatten(1, (len(tall), len(wide)))
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
        seen=(1.0, 1.0),
        values=of_frames[:, chosen],
        maps=torch.stack(maps, dim=1).numpy(),
        wholes=asked.wholes,
        score="log-odds",
    )


class _Asked:
    """A model with a video's frames and all texts: what it says of the video, and of covered copies."""

    def __init__(
        self, model: EntailmentModel, frames: Frames, texts: Sequence[str], passes: int, progress: Progress | None
    ) -> None:
        self.model, self.frames, self.passes, self.progress = model, frames, passes, progress
        self.tails = model.tails(texts)
        self.done = 0
        self.wholes = self._log_odds(frames.pixels)

    def falls(self, place: int, windows: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """How far the log-odds fall where windows (K, H, W) of a frame are covered: (S, K)."""
        found = []
        for copy in covered(self.frames.pixels, place, windows):
            found.append(self.wholes - self._log_odds(copy))
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.passes)
        return np.stack(found, axis=1)

    def _log_odds(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """(S,)."""
        return self.model.log_odds(Frames(pixels, self.frames.pts), self.tails).numpy()


def covered(pixels: Pixels, place: int, windows: npt.NDArray[np.bool_]) -> Iterator[Pixels]:
    """Copies of a video, (T, H, W, 3), with windows (K, H, W) of one frame in that frame's mean colour."""
    mean = pixels[place].mean(axis=(0, 1)).round().astype(np.uint8)
    for window in windows:
        copy = pixels.copy()
        copy[place][window] = mean
        yield copy
