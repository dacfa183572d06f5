"""Triplets to train on: a real video, its caption, a false caption, and where there is one a video rendered from that.

Rows are those of `mova data contrast`, with what `mova data synthesize` and `mova data weights` have added. Of several
synthetic videos of one false caption each epoch draws one. A synthetic video of weight 0 teaches nothing, so it is
never decoded.

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

from mova.data.batch import BrokenVideo
from mova.data.dataset import Draw, row_clip
from mova.data.manifest import fingerprint, read_manifest
from mova.data.negatives.generate import Triplet, read_triplets
from mova.data.quarantine import without_quarantined
from mova.data.synthetic import Synthetic, synthetic_videos
from mova.errors import DataError, VideoError

See = Callable[[Path, float, float | None], Any]
"""(file, start, end) in seconds -> the clip as a model takes it; raises `VideoError` where it cannot be read."""
Weigh = Callable[[Sequence[Synthetic]], npt.NDArray[np.float64]]
"""Synthetic videos -> a weight each, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A triplet with its videos as the model takes them.

    Attributes:
        positive, negative: captions of the real and of the synthetic video.
        real: what `See` made of the real video.
        synthetic: likewise; None where there is none, where its weight is 0, or where it cannot be read.
        weight: of the synthetic video; 0 without one.
        broken: the synthetic video that cannot be read.
    """

    positive: str
    negative: str
    real: Any
    synthetic: Any = None
    weight: float = 0.0
    broken: tuple[BrokenVideo, ...] = ()


class TripletVideos(Dataset[Shown | BrokenVideo]):
    """Triplets of one split of a manifest.

    Args:
        manifest: path of a `manifest.jsonl`; videos are found beside it.
        split: name of the part.
        see: decodes a clip.
        weigh: weights of synthetic videos; None leaves all of them out.
        seed: of the draws among several synthetic videos.
        quarantine: a list of `mova data check`; rows that it names are left out, and `left_out` has their ids.

    Attributes:
        triplets: n of them, in the manifest's order.

    Raises:
        DataError: the manifest cannot be read, or its split holds no negatives, or a row is made of several clips.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        split: str,
        see: See,
        weigh: Weigh | None = None,
        seed: int = 0,
        quarantine: str | Path | None = None,
    ) -> None:
        rows, self.left_out = without_quarantined(read_manifest(manifest), quarantine)
        self.manifest, self.split, self.see, self.seed = str(manifest), split, see, seed
        self.folder = Path(manifest).resolve().parent
        self.rows = [row for row in rows if row.split == split]
        self.triplets: list[Triplet] = []
        self._videos: list[list[Synthetic]] = []
        for row in self.rows:
            own = synthetic_videos(row) if weigh is not None else []
            for place, triplet in enumerate(read_triplets([row])):
                if row.parts:
                    raise DataError(f"{manifest}: row {row.id!r} is made of several clips; write them as files first")
                self.triplets.append(triplet)
                videos = [each for each in own if each.role == "negative" and each.place == place]
                if any(each.text != triplet.negative.text.strip() for each in videos):
                    raise DataError(f"{manifest}: row {row.id!r}: a synthetic video shows another negative")
                self._videos.append(videos)
        if not self.triplets:
            raise DataError(f"{manifest}: split {split!r} has no negatives; `mova data contrast` makes them")
        flat = [video for videos in self._videos for video in videos]
        weights = weigh(flat) if weigh is not None and flat else np.zeros(0)
        ends = np.cumsum([len(videos) for videos in self._videos])[:-1]
        self._weights = [part.tolist() for part in np.split(weights, ends)]

    def __len__(self) -> int:
        return len(self.triplets)

    def to_json(self) -> dict[str, Any]:
        """What a run's report says of its data."""
        weights = [weight for own in self._weights for weight in own]
        return {
            "manifest": self.manifest,
            "split": self.split,
            "rows": len(self.rows),
            "triplets": len(self),
            "without_synthetic": sum(not own for own in self._weights),
            "synthetic": len(weights),
            "of_weight_0": sum(weight == 0 for weight in weights),
            "mean_weight": float(np.mean(weights)) if weights else 0.0,
            "fingerprint": fingerprint(self.rows),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> Shown | BrokenVideo:
        """The triplet, or what is wrong with its real video; a plain number is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        triplet, clip = self.triplets[index], row_clip(self.triplets[index].row)
        texts = (triplet.positive, triplet.negative.text)
        try:
            real = self.see(self.folder / clip.video, clip.start, clip.end)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        if not self._videos[index]:
            return Shown(*texts, real)
        drawn = int(np.random.default_rng([self.seed, epoch, index]).integers(len(self._videos[index])))
        weight = self._weights[index][drawn]
        if weight == 0:
            return Shown(*texts, real)
        try:
            return Shown(*texts, real, self.see(self.folder / self._videos[index][drawn].video, 0.0, None), weight)
        except VideoError as error:
            return Shown(*texts, real, broken=(BrokenVideo(error.path, error.cause),))
