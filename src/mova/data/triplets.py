"""Training triplets: a real video, its caption, a false caption, and optionally a video rendered from the latter.

Rows come from `mova data contrast`, with synthetic videos from `mova data synthesize` and their weights from
`mova data weights`. If a false caption has several synthetic videos, each epoch draws one. A synthetic video of weight
0 has no effect on the loss, so it is never decoded.

Shape legend: n triplets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from mova.data.dataset import BrokenVideo, Draw, row_clip
from mova.data.manifest import fingerprint, read_manifest
from mova.data.negatives.generate import Triplet, read_triplets
from mova.data.quarantine import without_quarantined
from mova.data.synthetic import Synthetic, synthetic_videos
from mova.errors import DataError, VideoError

ClipReader = Callable[[Path, float, float | None], Any]
"""(file, start, end) in seconds -> the clip as model input; raises `VideoError` if it cannot be read."""
WeightFunction = Callable[[Sequence[Synthetic]], npt.NDArray[np.float64]]
"""Synthetic videos -> one weight per video, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class TripletItem:
    """A triplet with its videos as model input.

    Attributes:
        positive, negative: captions of the real and of the synthetic video.
        real: result of `ClipReader` for the real video.
        synthetic: the same for the synthetic video; None if there is none, its weight is 0, or it cannot be read.
        weight: weight of the synthetic video; 0 without one.
        broken: the synthetic video, if it cannot be read.
    """

    positive: str
    negative: str
    real: Any
    synthetic: Any = None
    weight: float = 0.0
    broken: tuple[BrokenVideo, ...] = ()


class TripletVideos(Dataset[TripletItem | BrokenVideo]):
    """Triplets of one split of a manifest.

    Args:
        manifest: path of a `manifest.jsonl`; video paths are relative to its folder.
        split: name of the split.
        read_clip: decodes a clip.
        weigh: computes the weights of synthetic videos; None excludes all synthetic videos.
        seed: seed of the draws among several synthetic videos.
        quarantine: a quarantine list of `mova data check`; its rows are left out, and `left_out` has their ids.

    Attributes:
        triplets: the n triplets, in manifest order.

    Raises:
        DataError: the manifest cannot be read, its split has no negatives, or a row has several segments.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        split: str,
        read_clip: ClipReader,
        weigh: WeightFunction | None = None,
        seed: int = 0,
        quarantine: str | Path | None = None,
    ) -> None:
        rows, self.left_out = without_quarantined(read_manifest(manifest), quarantine)
        self.manifest, self.split, self.read_clip, self.seed = str(manifest), split, read_clip, seed
        self.folder = Path(manifest).resolve().parent
        self.rows = [row for row in rows if row.split == split]
        self.triplets: list[Triplet] = []
        self._videos: list[list[Synthetic]] = []
        for row in self.rows:
            synthetic = synthetic_videos(row) if weigh is not None else []
            for index, triplet in enumerate(read_triplets([row])):
                if row.parts:
                    raise DataError(
                        f"{manifest}: row {row.id!r} has several segments; write its video as one file first "
                        "(`mova data expand ... --materialize FOLDER`)"
                    )
                self.triplets.append(triplet)
                videos = [video for video in synthetic if video.role == "negative" and video.place == index]
                if any(video.text != triplet.negative.text.strip() for video in videos):
                    raise DataError(
                        f"{manifest}: row {row.id!r}: the text of a synthetic video is not that of negative {index}"
                    )
                self._videos.append(videos)
        if not self.triplets:
            raise DataError(f"{manifest}: split {split!r} has no negatives; make them with `mova data contrast`")
        flat = [video for videos in self._videos for video in videos]
        weights = weigh(flat) if weigh is not None and flat else np.zeros(0)
        ends = np.cumsum([len(videos) for videos in self._videos])[:-1]
        self._weights = [part.tolist() for part in np.split(weights, ends)]

    def __len__(self) -> int:
        return len(self.triplets)

    def to_json(self) -> dict[str, Any]:
        """Return the data section of a run's report."""
        weights = [weight for video_weights in self._weights for weight in video_weights]
        return {
            "manifest": self.manifest,
            "split": self.split,
            "rows": len(self.rows),
            "triplets": len(self),
            "without_synthetic": sum(not video_weights for video_weights in self._weights),
            "synthetic": len(weights),
            "of_weight_0": sum(weight == 0 for weight in weights),
            "mean_weight": float(np.mean(weights)) if weights else 0.0,
            "fingerprint": fingerprint(self.rows),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> TripletItem | BrokenVideo:
        """Return the triplet, or the error of its real video; an integer is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        triplet, clip = self.triplets[index], row_clip(self.triplets[index].row)
        texts = (triplet.positive, triplet.negative.text)
        try:
            real = self.read_clip(self.folder / clip.video, clip.start, clip.end)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        if not self._videos[index]:
            return TripletItem(*texts, real)
        choice = int(np.random.default_rng([self.seed, epoch, index]).integers(len(self._videos[index])))
        weight = self._weights[index][choice]
        if weight == 0:
            return TripletItem(*texts, real)
        try:
            return TripletItem(
                *texts, real, self.read_clip(self.folder / self._videos[index][choice].video, 0.0, None), weight
            )
        except VideoError as error:
            return TripletItem(*texts, real, broken=(BrokenVideo(error.path, error.cause),))
