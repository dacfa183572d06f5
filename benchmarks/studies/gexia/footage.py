"""Source videos of Worlds, cut into clips: training data for granularity expansion, and test galleries.

Clips of one source share a style and a camera, and half of their events are near duplicates of each other; random clips
do not have this structure. Everything is rendered once and stored on disk.

Shape legend: C clips, S = 2 samples per clip, P dense vectors per sample, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.common.warm_backbone import HELD_OUT, SIZE
from mova.data.expansion.expand import expand
from mova.data.expansion.operations import parse_operations
from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.models.gexia.model import Gexia
from mova.text.summarize import Extractive
from mova.worlds.batches import SECONDS
from mova.worlds.captions import Claim, holds
from mova.worlds.factors import Event, facts, mutate, sample_event
from mova.worlds.galleries import NEAR_SHARE, RATE, true_line
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import TRAIN_STYLES, render_event

LEAST, MOST, TESTED = 4, 6, 5
"""Minimum and maximum clips of a training source, and clips of a test source."""
SAMPLES = 2
STILL = SAMPLES + 2
"""Index of the middle frame among the rendered frames of a clip; those before it are samples and neighbours."""
WORDS = 20
"""Words of a compressed text."""
OPERATIONS = "integrate:source,min=4 compress:extractive,words=20 image:middle,of=SVST"
RANDOM = f"integrate:random,min={LEAST},max={MOST},seed=0 compress:extractive,words=20"
CHUNK = 64
"""Clips encoded at once."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A clip before it is rendered: its file name, its source, its event and its caption."""

    video: str
    source: str
    seconds: float
    event: Event
    claim: Claim
    text: str


class Footage:
    """Clips of many sources, and their pixels.

    Args:
        seed: seed of all draws.
        sources: number of sources.
        clips: minimum and maximum clips per source.
        folder: stores the pixels.
        twins: number of additional sources that are near duplicates of the first ones.
    """

    def __init__(self, seed: int, sources: int, clips: tuple[int, int], folder: Path, twins: int = 0) -> None:
        rng = np.random.default_rng(seed)
        originals, changed_rows = [], []
        for i in range(sources):
            events = _related(rng, int(rng.integers(clips[0], clips[1] + 1)))
            if i < twins:
                mutated, changed, factor = _changed(events, rng)
                originals.append(_captioned(events, f"{seed}-{i:05d}", rng, {changed: factor}))
                changed_rows.append(_captioned(mutated, f"{seed}-{i:05d}-twin", rng, {changed: factor}))
            else:
                originals.append(_captioned(events, f"{seed}-{i:05d}", rng))
        self.sources, self.twins = originals + changed_rows, twins
        self.clips = [clip for source in self.sources for clip in source]
        self.index = {clip.video: i for i, clip in enumerate(self.clips)}
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "pixels.npy"
        if not path.exists():
            unfinished = path.with_suffix(".part.npy")
            np.save(unfinished, self._render(rng))
            unfinished.rename(path)
        self._pixels: Pixels = np.load(path, mmap_mode="r")
        self._dense: Dense | None = None

    def samples(self, clips: list[int]) -> Pixels:
        """Return samples of clips stacked with their neighbours, uint8 (C S, 9, h, w)."""
        pixels = self._pixels[clips]
        stacks = np.stack([pixels[:, s : s + 3] for s in range(SAMPLES)], axis=1)
        return stacks.reshape(-1, 9, SIZE, SIZE)

    def stills(self, clips: list[int]) -> Pixels:
        """Return middle frames of clips, stacked with themselves, uint8 (C, 9, h, w)."""
        return np.tile(self._pixels[clips, STILL], (1, 3, 1, 1))

    def dense(self, model: Gexia) -> Dense:
        """Return the dense features of the clips by encoders that all arms keep frozen; computed once."""
        if self._dense is None:
            self._dense = Dense(self, model)
        return self._dense

    def write_manifest(self) -> Path:
        """Write the clips as a manifest for `mova data expand`."""
        rows = [
            Row(
                clip.video.removesuffix(".mp4"),
                clip.video,
                clip.seconds,
                "train",
                (Caption(clip.text, (TimedSentence(clip.text, 0.0, clip.seconds),)),),
                source="worlds",
                meta={"source_video": clip.source},
            )
            for clip in self.clips
        ]
        return write_manifest(self.folder / "manifest.jsonl", rows)

    @cached_property
    def expanded(self) -> dict[str, dict[str, list[Row]]]:
        """Rows by way of integration ("source", "random") and granularity, as `mova data expand` creates them."""
        manifest = self.write_manifest()
        rows: dict[str, dict[str, list[Row]]] = {}
        for way, operations in (("source", OPERATIONS), ("random", RANDOM)):
            target = self.folder / f"{way}.jsonl"
            expand(manifest, target, parse_operations([operations]))
            rows[way] = {}
            for row in read_manifest(target):
                rows[way].setdefault(str(row.meta["granularity"]), []).append(row)
        return rows

    def clips_of(self, row: Row) -> list[int]:
        """Return the indices of a row's clips, in order."""
        return [self.index[part.video] for part in row.segments]

    def _render(self, rng: np.random.Generator) -> Pixels:
        """Render samples with both neighbours, then the middle frame, uint8 (C, S + 3, 3, h, w)."""
        pixels = np.empty((len(self.clips), STILL + 1, 3, SIZE, SIZE), dtype=np.uint8)
        index = 0
        for source in self.sources:
            style, look = TRAIN_STYLES[int(rng.integers(len(TRAIN_STYLES)))], sample_nuisance(rng)
            for clip in source:
                first = rng.uniform(0, clip.seconds - (SAMPLES - 1) / RATE)
                times = np.clip(first + np.arange(-1, SAMPLES + 1) / RATE, 0, clip.seconds)
                moments = [*times, clip.seconds / 2]
                frames = render_event(clip.event, look, style, moments, clip.seconds, SIZE)
                pixels[index] = frames.transpose(0, 3, 1, 2)
                index += 1
        return pixels


class Dense:
    """Dense features of all clips of a footage by the encoders of a GEXIA, computed on first use."""

    def __init__(self, footage: Footage, model: Gexia) -> None:
        self._footage, self._model = footage, model

    @cached_property
    def clips(self) -> Tensor:
        """Features of samples, float32, (C, S, P, D)."""
        return self._encode(self._footage.samples).unflatten(0, (-1, SAMPLES))

    @cached_property
    def stills(self) -> Tensor:
        """Features of middle frames, float32, (C, P, D)."""
        return self._encode(self._footage.stills)

    @torch.no_grad()
    def _encode(self, pixels: Callable[[list[int]], Pixels]) -> Tensor:
        every = list(range(len(self._footage.clips)))
        parts = (torch.from_numpy(pixels(every[i : i + CHUNK])) for i in range(0, len(every), CHUNK))
        return torch.cat([self._model.dense_of(part) for part in parts])


@dataclass(frozen=True, eq=False)
class Queries:
    """A gallery: text i belongs to video i.

    Attributes:
        clips: clips of each video, in order.
        texts: sentences of each text.
        ceiling: R@1 (percent) text-to-video and video-to-text of an oracle that knows every fact.
    """

    clips: list[list[int]]
    texts: list[list[str]]
    ceiling: tuple[float, float]


def galleries(footage: Footage) -> dict[str, Queries]:
    """Build the test galleries.

    "short" clips with sentences (two per source), "long" videos with paragraphs, "twins" (long videos with their near
    duplicates), long videos with "brief" texts, and "image" (middle frames of the clips).
    """
    starts = np.cumsum([0, *(len(source) for source in footage.sources)])
    every = [list(range(a, b)) for a, b in pairwise(starts.tolist())]
    whole, twins = every[: -footage.twins], [*every[: footage.twins], *every[-footage.twins :]]
    singles = [[i] for video in whole for i in (video[0], video[-1])]
    summaries = Extractive(WORDS).summarize([[footage.clips[i].text for i in video] for video in whole])
    brief = [[video[k] for k in summary.kept] for video, summary in zip(whole, summaries, strict=True)]
    ways = {"short": (singles, singles), "long": (whole, whole), "twins": (twins, twins), "brief": (whole, brief)}
    return {name: _queries(footage, *way) for name, way in {**ways, "image": ways["short"]}.items()}


def _queries(footage: Footage, videos: list[list[int]], texts: list[list[int]]) -> Queries:
    events = [[footage.clips[i].event for i in video] for video in videos]
    claims = [[footage.clips[i].claim for i in text] for text in texts]
    truth = np.array([[_is_true(video, text) for text in claims] for video in events])
    best = [100.0 * float((1 / truth.sum(axis=axis)).mean()) for axis in (0, 1)]
    return Queries(videos, [[footage.clips[i].text for i in text] for text in texts], (best[0], best[1]))


def _is_true(events: list[Event], claims: list[Claim]) -> bool:
    return all(any(holds(event, claim) for event in events) for claim in claims)


def _related(rng: np.random.Generator, count: int) -> list[Event]:
    """Draw the events of one source, all different, many of them near duplicates of a previous one."""
    events = [sample_event(rng)]
    while len(events) < count:
        near = events[int(rng.integers(len(events)))]
        event = mutate(near, _factor(near, rng), rng) if rng.random() < NEAR_SHARE else sample_event(rng)
        if event not in events:
            events.append(event)
    return events


def _changed(events: list[Event], rng: np.random.Generator) -> tuple[list[Event], int, str]:
    """Change one factor of one event; return the events, and which event and factor changed."""
    while True:
        index = int(rng.integers(len(events)))
        factor = _factor(events[index], rng)
        event = mutate(events[index], factor, rng)
        if event not in events:
            return [*events[:index], event, *events[index + 1 :]], index, factor


def _factor(event: Event, rng: np.random.Generator) -> str:
    names = [name for name, value in facts(event).items() if value is not None]
    return names[int(rng.integers(len(names)))]


def _captioned(
    events: list[Event], source: str, rng: np.random.Generator, must: Mapping[int, str] = MappingProxyType({})
) -> list[Clip]:
    """Caption the clips of one source, each with a sentence that is true of no other clip.

    `must` names a factor that the sentence of an event has to mention.
    """
    clips, begin = [], 0.0
    for i, event in enumerate(events):
        seconds = round(float(rng.uniform(*SECONDS)), 2)
        line = true_line(event, events, rng, [must[i]] if i in must else [])
        video = f"{source}_{begin:09.2f}_{begin + seconds:09.2f}.mp4"
        clips.append(Clip(video, source, seconds, event, line.claim, line.text))
        begin += seconds
    return clips


def train_footage(seed: int, sources: int, folder: Path) -> Footage:
    """Return the training sources."""
    return Footage(2_000 + seed, sources, (LEAST, MOST), folder / "train")


def test_footage(seed: int, sources: int, folder: Path) -> Footage:
    """Return the test sources, half of them with a twin; no seed trains on them."""
    return Footage(HELD_OUT + 2_000 + seed, sources, (TESTED, TESTED), folder / "test", twins=sources // 2)
