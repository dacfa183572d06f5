"""Training triplets: a real video, its caption, a false caption, and optionally a video rendered from the latter.

Rows come from `mova data contrast`, with synthetic videos from `mova data synthesize` and their weights from
`mova data weights`. If a false caption has several synthetic videos, each epoch draws one; or each is an item of its
own, and the items of a caption share the weight of the real video, which counts once (SynViTA's Table 5, ALL). A
synthetic video of weight 0 has no effect on the loss, so it is never decoded.

Shape legend: n triplets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from mova.data.columns.items import row_clip
from mova.data.dataset import BrokenVideo, Draw
from mova.data.manifest import fingerprint, read_manifest
from mova.data.negatives.generate import Triplet, read_triplets
from mova.data.negatives.kinds import parse_kind
from mova.data.quarantine import without_quarantined
from mova.data.shards.members import video_file
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
        real_share: share of the real video that this item counts for.
        explanation: how the real video differs from `negative`, in words; None if the manifest has no such text.
        broken: the synthetic video, if it cannot be read.
    """

    positive: str
    negative: str
    real: Any
    synthetic: Any = None
    weight: float = 0.0
    real_share: float = 1.0
    explanation: str | None = None
    broken: tuple[BrokenVideo, ...] = ()


@dataclass(frozen=True)
class SyntheticChoice:
    """The synthetic videos that are used; the triplets of the others train on their real video alone.

    Attributes:
        kinds: kinds of misalignment (Table 2); None: all.
        generators: names of the models that rendered them; None: all.
        every: whether each is an item of its own (Table 5, ALL), or one per caption is drawn in each epoch.

    Raises:
        UsageError: an unknown kind.

    >>> SyntheticChoice(kinds=("counting",)).kinds
    ('count',)
    """

    kinds: tuple[str, ...] | None = None
    generators: tuple[str, ...] | None = None
    every: bool = False

    def __post_init__(self) -> None:
        if self.kinds is not None:
            object.__setattr__(self, "kinds", tuple(parse_kind(kind) for kind in self.kinds))

    def takes(self, triplet: Triplet, video: Synthetic) -> bool:
        """Return whether a synthetic video of a triplet is used."""
        of_kind = self.kinds is None or triplet.negative.kind in self.kinds
        return of_kind and (self.generators is None or maker(video) in self.generators)


def maker(video: Synthetic) -> str:
    """Return the name of the model that rendered a video.

    >>> maker(Synthetic("a.mp4", "a dog", "negative", 0, 0, 2.0, generator={"model": "LaVie"}))
    'LaVie'
    """
    return str(video.generator.get("model", "another program"))


class TripletVideos(Dataset[TripletItem | BrokenVideo]):
    """Triplets of one split of a manifest.

    Args:
        manifest: path of a `manifest.jsonl`; video paths are relative to its folder.
        split: name of the split.
        read_clip: decodes a clip.
        weigh: computes the weights of synthetic videos; None excludes all synthetic videos.
        seed: seed of the draws among several synthetic videos.
        quarantine: a quarantine list of `mova data check`; its rows are left out, and `left_out` has their ids.
        choice: the synthetic videos that are used. Default: all, one drawn per caption and epoch.

    Attributes:
        triplets: the n triplets, in manifest order.

    Raises:
        DataError: the manifest cannot be read, its split has no negatives, a row has several segments, or no synthetic
            video is of the chosen kinds and generators.
        UsageError: a negative is of none of the seven kinds, and kinds are chosen.
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
        choice: SyntheticChoice | None = None,
    ) -> None:
        rows, self.left_out = without_quarantined(read_manifest(manifest), quarantine)
        self.manifest, self.split, self.read_clip, self.seed = str(manifest), split, read_clip, seed
        self.folder = Path(manifest).resolve().parent
        self.rows = [row for row in rows if row.split == split]
        self.choice = choice or SyntheticChoice()
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
                self._videos.append([video for video in videos if self.choice.takes(triplet, video)])
        if not self.triplets:
            raise DataError(f"{manifest}: split {split!r} has no negatives; make them with `mova data contrast`")
        flat = [video for videos in self._videos for video in videos]
        if weigh is not None and not flat and (self.choice.kinds or self.choice.generators):
            self._refuse_choice()
        weights = weigh(flat) if weigh is not None and flat else np.zeros(0)
        ends = np.cumsum([len(videos) for videos in self._videos])[:-1]
        self._weights = [part.tolist() for part in np.split(weights, ends)]
        counts = [len(videos) if self.choice.every else 1 for videos in self._videos]
        self._items = [(index, place) for index, count in enumerate(counts) for place in range(max(count, 1))]

    def _refuse_choice(self) -> None:
        """Raise because no synthetic video is of the chosen kinds and generators."""
        found = [video for row in self.rows for video in synthetic_videos(row)]
        makers, kinds = sorted({maker(video) for video in found}), sorted({str(video.misalignment) for video in found})
        raise DataError(
            f"{self.manifest}: no synthetic video of split {self.split!r} is of the chosen kinds "
            f"({', '.join(self.choice.kinds or ('all',))}) and generators "
            f"({', '.join(self.choice.generators or ('all',))}); it has {len(found)}, of "
            f"{', '.join(kinds) or 'no kind'}, by {', '.join(makers) or 'none'}"
        )

    def __len__(self) -> int:
        return len(self._items)

    def to_json(self) -> dict[str, Any]:
        """Return the data section of a run's report."""
        weights = [weight for video_weights in self._weights for weight in video_weights]
        return {
            "manifest": self.manifest,
            "split": self.split,
            "rows": len(self.rows),
            "triplets": len(self.triplets),
            "items": len(self),
            "without_synthetic": sum(not video_weights for video_weights in self._weights),
            "synthetic": len(weights),
            "explained": sum(triplet.negative.explanation is not None for triplet in self.triplets),
            "of_weight_0": sum(weight == 0 for weight in weights),
            "mean_weight": float(np.mean(weights)) if weights else 0.0,
            "fingerprint": fingerprint(self.rows),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> TripletItem | BrokenVideo:
        """Return the triplet, or the error of its real video; an integer is an item of epoch 0."""
        number, epoch = key if isinstance(key, Draw) else (key, 0)
        index, choice = self._items[number]
        triplet, clip = self.triplets[index], row_clip(self.triplets[index].row)
        made = partial(TripletItem, triplet.positive, triplet.negative.text, explanation=triplet.negative.explanation)
        try:
            with video_file(self.folder / clip.video) as path:
                real = self.read_clip(path, clip.start, clip.end)
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        if not self._videos[index]:
            return made(real)
        count = len(self._videos[index])
        share = 1 / count if self.choice.every else 1.0
        if not self.choice.every:
            choice = int(np.random.default_rng([self.seed, epoch, index]).integers(count))
        weight = self._weights[index][choice]
        if weight == 0:
            return made(real, real_share=share)
        try:
            with video_file(self.folder / self._videos[index][choice].video) as path:
                clip_of = self.read_clip(path, 0.0, None)
        except VideoError as error:
            return made(real, real_share=share, broken=(BrokenVideo(error.path, error.cause),))
        return made(real, clip_of, weight, share)
