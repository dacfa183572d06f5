"""Galleries of long videos that are joined from short clips, each encoded once.

`worlds_gallery` draws near duplicates whose facts are known (`mova.worlds.joined`). `clips_gallery` joins any captioned
clips, and `manifest_gallery` those of a manifest: a caption describes 2, 4 or 8 clips of a video in their order, and
each video has two near duplicates, in which two described clips take each other's place, or one is another clip.

Vectors are joined, not pixels: encoders that read neighboring frames see none beyond the end of a clip.

Shape legend: P clips of the pool, C clips of a video, S statements, V videos, T frames, d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.tasks.relations import STYLES
from mova.eval.tasks.split import EvalSplit
from mova.eval.tasks.worlds import CLIP_SECONDS, PIXELS
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.types import Frames
from mova.worlds.batches import holds_matrix
from mova.worlds.factors import FACTORS, Event
from mova.worlds.joined import LEAST_CLIPS, SENTENCES, JoinedGallery, joined_gallery
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event

STREAM = 2108
"""First part of the seeds of galleries, so that no training draw is repeated."""
LEAST_VIDEOS = 8
CLIP_MEMBERS = ("base", "swapped", "replaced")
AMBIGUOUS = 1.0
"""Captions of joined clips are long enough that fewer other videos than this are expected to show them by chance."""
SHARE = 0.25
"""Most clips of a video, as a share of all: videos that consist of the same clips can hardly be told apart."""

Progress = Callable[[int, int], None]
"""(clips done, total)."""


@dataclass(frozen=True)
class LongVideo:
    """A video of the gallery.

    Attributes:
        clips: indices (C,) into the pool, in order of time.
        statements: indices of the statements of its caption, in order of time.
        group: number of its group of near duplicates.
        member: its role in the group.
    """

    clips: tuple[int, ...]
    statements: tuple[int, ...]
    group: int
    member: str


@dataclass(frozen=True, eq=False)
class LongGallery:
    """Long videos and their captions; caption i belongs to video i.

    Attributes:
        pool: the clips (P,), with unit frame vectors.
        statements: sentences of Worlds, or captions of clips (S,).
        shown: bool, (S, P), whether a clip shows a statement.
        videos: (V,).
    """

    pool: Sequence[VideoEmbedding]
    statements: Sequence[str]
    shown: npt.NDArray[np.bool_]
    videos: Sequence[LongVideo]

    def caption(self, number: int) -> str:
        """Return the caption of a video."""
        return " ".join(self.statements[i] for i in self.videos[number].statements)

    def embedding(self, number: int) -> VideoEmbedding:
        """Return the vectors of a video, clip after clip."""
        clips = [self.pool[i] for i in self.videos[number].clips]
        starts = np.cumsum([0.0, *(clip.duration for clip in clips)])
        times = np.concatenate([clip.times + start for clip, start in zip(clips, starts, strict=False)])
        seen = [c.windows + start for c, start in zip(clips, starts, strict=False) if c.windows is not None]
        return VideoEmbedding(
            torch.cat([clip.frames for clip in clips]),
            times,
            float(starts[-1]),
            step=clips[0].step,
            windows=np.concatenate(seen) if seen else None,
        )

    def frame_clips(self, number: int) -> npt.NDArray[np.int64]:
        """Return the clip of each frame of a video, as an index into the pool: (T,)."""
        clips = np.array(self.videos[number].clips)
        return np.repeat(clips, [len(self.pool[i].times) for i in clips])

    def truth(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which frames show each statement of a video's caption: (statements, T)."""
        return self.shown[list(self.videos[number].statements)][:, self.frame_clips(number)]

    def satisfied(self) -> npt.NDArray[np.bool_]:
        """Return which videos show which captions, every statement by a later clip than the one before: (V, V)."""
        longest = max(len(video.statements) for video in self.videos)
        captions = np.full((len(self.videos), longest), -1)
        for row, video in zip(captions, self.videos, strict=True):
            row[: len(video.statements)] = video.statements
        result = np.empty((len(self.videos), len(self.videos)), dtype=np.bool_)
        for row, video in zip(result, self.videos, strict=True):
            count = len(video.clips)
            places = np.where(self.shown[:, list(video.clips)], np.arange(count), count)
            nearest = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]  # the next clip, from each place on
            nearest = np.pad(nearest, ((0, 0), (0, 2)), constant_values=count)
            place = np.zeros(len(captions), dtype=np.int64)
            for statement in captions.T:
                place = np.where(statement < 0, place, nearest[statement, place] + 1)
            row[:] = place <= count
        return result


def worlds_gallery(
    model: DualEncoder,
    *,
    videos: int = 200,
    minutes: float = 10.0,
    style: str = "unseen",
    seed: int = 0,
    progress: Progress | None = None,
) -> LongGallery:
    """Render clips of Worlds, encode each once, and join them to long videos (`mova.worlds.joined`).

    Args:
        model: any dual encoder whose vectors belong to frames or windows.
        videos: V.
        minutes: length of a video.
        style: "seen" (styles that `mova-worlds-tiny` was trained with) or "unseen".
        seed: draws events, captions and pixels.
        progress: called after every clip of the pool.

    Raises:
        UsageError: an unknown style, too few videos, too short videos, or a model with one vector per video.

    >>> import mova
    >>> gallery = worlds_gallery(mova.load("mova-worlds-tiny"), videos=8, minutes=1)
    >>> len(gallery.videos), gallery.embedding(0).frames.shape, gallery.embedding(0).duration
    (8, torch.Size([120, 192]), 60.0)
    """
    clips = _check_size(videos, minutes)
    if style not in STYLES:
        raise UsageError(f"style {style!r} is unknown; choose one of {', '.join(STYLES)}")
    drawn = joined_gallery(np.random.default_rng([STREAM, seed]), videos, clips)
    rng = np.random.default_rng([STREAM, seed, 1])
    pool = []
    for number, event in enumerate(drawn.events, start=1):
        pool.append(_encode_event(model, event, STYLES[style], rng))
        if progress is not None:
            progress(number, len(drawn.events))
    return gallery_of(drawn, pool)


def gallery_of(drawn: JoinedGallery, pool: Sequence[VideoEmbedding]) -> LongGallery:
    """Return the gallery of drawn videos, given the unit vectors of their pool."""
    lines = [line for video in drawn.videos for line in video.lines]
    mentioned = np.array([[factor in line.claim.mentioned for factor in FACTORS] for line in lines])
    shown = holds_matrix(drawn.events, [line.claim.event for line in lines], mentioned).T
    numbers = np.split(np.arange(len(lines)), np.cumsum([len(video.lines) for video in drawn.videos])[:-1])
    videos = [
        LongVideo(video.clips, tuple(own.tolist()), video.group, video.member)
        for video, own in zip(drawn.videos, numbers, strict=True)
    ]
    return LongGallery(list(pool), [line.text for line in lines], shown, videos)


def clips_gallery(
    clips: Sequence[VideoEmbedding],
    captions: Sequence[str],
    *,
    videos: int = 200,
    minutes: float = 10.0,
    seed: int = 0,
) -> LongGallery:
    """Join captioned clips to long videos.

    A video has clips in random order until it is long enough, or has `SHARE` of all clips; then the shortest are
    repeated in place. Its caption describes 2, 4 or 8 of them, at most half, in their order; captions that several
    videos would show by chance are avoided. Groups have the members `CLIP_MEMBERS`.

    Args:
        clips: (P,), from `encode_video` or a store.
        captions: (P,), one of each clip; clips with equal captions show both of them.
        videos: V; the last group is not complete if this is not a multiple of three.
        minutes: least length of a video.
        seed: draws everything.

    Raises:
        UsageError: too few videos, too short ones, or a model with one vector per video.
        DataError: too few clips with different captions.

    >>> clips = [VideoEmbedding(torch.eye(30)[[i]], np.array([0.0]), duration=10.0) for i in range(30)]
    >>> gallery = clips_gallery(clips, [f"Clip {i}." for i in range(30)], videos=9, minutes=1)
    >>> [(video.member, len(video.clips)) for video in gallery.videos[:3]]
    [('base', 6), ('swapped', 6), ('replaced', 6)]
    >>> gallery.caption(0)
    'Clip 18. Clip 13.'
    """
    _check_size(videos, minutes)
    texts = np.array(list(captions))
    shown = texts[:, None] == texts[None, :]
    rng = np.random.default_rng([STREAM, seed])
    drawn: list[LongVideo] = []
    while len(drawn) < videos:
        drawn += _clip_group(rng, clips, shown, 60 * minutes, len(drawn) // len(CLIP_MEMBERS), videos)
    return LongGallery(unit_clips(clips), list(captions), shown, drawn[:videos])


def manifest_gallery(split: EvalSplit, *, videos: int = 200, minutes: float = 10.0, seed: int = 0) -> LongGallery:
    """Join the clips of a split of a manifest, each with its first caption; see `clips_gallery`.

    Args:
        split: from `mova.eval.tasks.split.open_split`; unreadable rows are in its `excluded`.
        videos, minutes, seed: see `clips_gallery`.

    Raises:
        UsageError, DataError: see `clips_gallery`; or no row has a caption, or none can be read.
    """
    _check_size(videos, minutes)
    split.keep(lambda row: bool(row.captions), "it has no caption")
    clips, captions = [], []
    for group in split.groups():
        for embedding, rows in group:
            clips += unit_clips([_from_zero(embedding, rows[0])])
            captions.append(rows[0].captions[0].text)
    return clips_gallery(clips, captions, videos=videos, minutes=minutes, seed=seed)


def _from_zero(embedding: VideoEmbedding, row: Row) -> VideoEmbedding:
    """Count the times of a clip within a file from the start of the clip."""
    start = 0.0 if row.parts else row.start or 0.0
    windows = None if embedding.windows is None else embedding.windows - start
    return replace(embedding, times=embedding.times - start, duration=embedding.duration - start, windows=windows)


def unit_clips(pool: Sequence[VideoEmbedding]) -> list[VideoEmbedding]:
    """Return clips with unit frame vectors.

    Raises:
        UsageError: the model has one vector per video.
    """
    if any(clip.whole is not None for clip in pool):
        raise UsageError(
            "the model has one vector for a whole video, which cannot be joined from those of clips; "
            "use `mova eval retrieval` on long files"
        )
    return [replace(clip, frames=F.normalize(clip.frames.float(), dim=-1)) for clip in pool]


def _check_size(videos: int, minutes: float) -> int:
    """Return the number of Worlds clips of a video."""
    if videos < LEAST_VIDEOS:
        raise UsageError(f"a gallery needs at least {LEAST_VIDEOS} videos, not {videos}")
    if not (math.isfinite(minutes) and minutes * 60 >= LEAST_CLIPS * CLIP_SECONDS):
        raise UsageError(f"videos must last at least {LEAST_CLIPS * CLIP_SECONDS / 60:g} minutes, not {minutes:g}")
    return round(minutes * 60 / CLIP_SECONDS)


def _encode_event(model: DualEncoder, event: Event, styles: Sequence[str], rng: np.random.Generator) -> VideoEmbedding:
    times = np.arange(0, CLIP_SECONDS, 1 / model.frame_rate)
    style = styles[int(rng.integers(len(styles)))]
    pixels = render_event(event, sample_nuisance(rng), style, times, CLIP_SECONDS, PIXELS)
    return unit_clips([replace(model.encode_video(Frames(pixels, times)), duration=CLIP_SECONDS)])[0]


def _clip_group(
    rng: np.random.Generator,
    clips: Sequence[VideoEmbedding],
    shown: npt.NDArray[np.bool_],
    seconds: float,
    group: int,
    videos: int,
) -> list[LongVideo]:
    """Draw a video of captioned clips, and its near duplicates."""
    order = rng.permutation(len(clips))
    long_enough = int(np.searchsorted(np.cumsum([clips[i].duration for i in order]), seconds)) + 1
    count = min(long_enough, int(SHARE * len(clips)))
    inside, outside = order[:count], order[count:]
    other = [int(i) for i in outside if not shown[i, inside].any()]
    fitting = [k for k in SENTENCES if 2 * k <= count]
    if not fitting or not other:
        raise DataError(
            f"a video of {seconds / 60:g} minutes can have {count} of the {len(clips)} clips; at least "
            f"{2 * SENTENCES[0]} are needed, and other captions for its near duplicates, so add clips"
        )
    chance = count / len(clips)
    clear = [k for k in fitting if videos * chance**k / math.factorial(k) < AMBIGUOUS]
    lengths = clear or fitting[-1:]
    places = np.sort(rng.choice(count, lengths[group % len(lengths)], replace=False))
    first, second = rng.choice(places, 2, replace=False)
    swapped, replaced = inside.copy(), inside.copy()
    swapped[[first, second]] = inside[[second, first]]
    replaced[rng.choice(places)] = rng.choice(other)
    return [
        LongVideo(_repeated(members, clips, seconds), tuple(members[places].tolist()), group, name)
        for name, members in zip(CLIP_MEMBERS, (inside, swapped, replaced), strict=True)
    ]


def _repeated(members: npt.NDArray[np.int64], clips: Sequence[VideoEmbedding], seconds: float) -> tuple[int, ...]:
    """Repeat clips in place, each time the one that takes the least time, until they last long enough."""
    durations = np.array([clips[i].duration for i in members])
    times = np.ones(len(members), dtype=np.int64)
    while (times * durations).sum() < seconds:
        times[np.argmin(times * durations)] += 1
    return tuple(np.repeat(members, times).tolist())
