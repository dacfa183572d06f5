"""Source videos of Worlds, cut into clips: what GEX expands to train on, and galleries to test with.

Clips of one source are of one style and one camera, and half of their events are near duplicates of one another: that
is what a source has and a random row of clips has not. Everything is rendered once and lies on the disk.

Shape legend: C clips, S = 2 samples a clip, P dense vectors a sample, D their width.
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
"""Clips of a source to train on (at least and at most), and of one to test with."""
SAMPLES = 2
STILL = SAMPLES + 2
"""Which of a clip's rendered frames is its middle one; those before it are samples with their neighbours."""
WORDS = 20
"""Of a compressed text."""
OPERATIONS = "integrate:source,min=4 compress:extractive,words=20 image:middle,of=SVST"
RANDOM = f"integrate:random,min={LEAST},max={MOST},seed=0 compress:extractive,words=20"
CHUNK = 64
"""Clips that are encoded at once."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A clip before it is rendered: its own file's name, its source's, what happens, and what is told."""

    video: str
    source: str
    seconds: float
    event: Event
    claim: Claim
    text: str


class Footage:
    """Clips of many sources, and their pixels.

    Args:
        seed: of all that is drawn.
        sources: how many.
        clips: least and most clips of one.
        folder: keeps the pixels.
        twins: so many further sources are near duplicates of the first ones.
    """

    def __init__(self, seed: int, sources: int, clips: tuple[int, int], folder: Path, twins: int = 0) -> None:
        rng = np.random.default_rng(seed)
        own, others = [], []
        for i in range(sources):
            events = _related(rng, int(rng.integers(clips[0], clips[1] + 1)))
            if i < twins:
                mutated, changed, factor = _changed(events, rng)
                own.append(_told(events, f"{seed}-{i:05d}", rng, {changed: factor}))
                others.append(_told(mutated, f"{seed}-{i:05d}-twin", rng, {changed: factor}))
            else:
                own.append(_told(events, f"{seed}-{i:05d}", rng))
        self.sources, self.twins = own + others, twins
        self.clips = [clip for source in self.sources for clip in source]
        self.place = {clip.video: i for i, clip in enumerate(self.clips)}
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
        """Samples of clips between their neighbours: uint8, (C S, 9, h, w)."""
        pixels = self._pixels[clips]
        stacks = np.stack([pixels[:, s : s + 3] for s in range(SAMPLES)], axis=1)
        return stacks.reshape(-1, 9, SIZE, SIZE)

    def stills(self, clips: list[int]) -> Pixels:
        """Middle frames of clips; a still frame is its own neighbour: uint8, (C, 9, h, w)."""
        return np.tile(self._pixels[clips, STILL], (1, 3, 1, 1))

    def dense(self, model: Gexia) -> Dense:
        """What encoders that all arms leave as they are make of the clips; made once."""
        if self._dense is None:
            self._dense = Dense(self, model)
        return self._dense

    def write_manifest(self) -> Path:
        """The clips as a manifest that `mova data expand` reads."""
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
        """Rows by way of integration ("source", "random") and granularity, as `mova data expand` makes them."""
        manifest = self.write_manifest()
        found: dict[str, dict[str, list[Row]]] = {}
        for way, operations in (("source", OPERATIONS), ("random", RANDOM)):
            target = self.folder / f"{way}.jsonl"
            expand(manifest, target, parse_operations([operations]))
            found[way] = {}
            for row in read_manifest(target):
                found[way].setdefault(str(row.meta["granularity"]), []).append(row)
        return found

    def clips_of(self, row: Row) -> list[int]:
        """Which clips a row shows, in order."""
        return [self.place[part.video] for part in row.segments]

    def _render(self, rng: np.random.Generator) -> Pixels:
        """uint8, (C, S + 3, 3, h, w): samples with both neighbours, then the middle frame."""
        pixels = np.empty((len(self.clips), STILL + 1, 3, SIZE, SIZE), dtype=np.uint8)
        place = 0
        for source in self.sources:
            style, look = TRAIN_STYLES[int(rng.integers(len(TRAIN_STYLES)))], sample_nuisance(rng)
            for clip in source:
                first = rng.uniform(0, clip.seconds - (SAMPLES - 1) / RATE)
                times = np.clip(first + np.arange(-1, SAMPLES + 1) / RATE, 0, clip.seconds)
                shown = [*times, clip.seconds / 2]
                frames = render_event(clip.event, look, style, shown, clip.seconds, SIZE)
                pixels[place] = frames.transpose(0, 3, 1, 2)
                place += 1
        return pixels


class Dense:
    """What a GEXIA's encoders make of all clips of a footage, as soon as it is asked for."""

    def __init__(self, footage: Footage, model: Gexia) -> None:
        self._footage, self._model = footage, model

    @cached_property
    def clips(self) -> Tensor:
        """float32, (C, S, P, D)."""
        return self._encode(self._footage.samples).unflatten(0, (-1, SAMPLES))

    @cached_property
    def stills(self) -> Tensor:
        """Of middle frames, float32, (C, P, D)."""
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
        clips: of each video, in order.
        texts: each as its sentences.
        ceiling: R@1 (percent) of texts for videos and of videos for texts by one who knows every fact.
    """

    clips: list[list[int]]
    texts: list[list[str]]
    ceiling: tuple[float, float]


def galleries(footage: Footage) -> dict[str, Queries]:
    """What is tested: "short" clips with sentences (two of each source), "long" videos with paragraphs, the "twins"
    among them with their near duplicates, long videos with "brief" texts, and "image", middle frames of the clips."""
    starts = np.cumsum([0, *(len(source) for source in footage.sources)])
    every = [list(range(a, b)) for a, b in pairwise(starts.tolist())]
    whole, twins = every[: -footage.twins], [*every[: footage.twins], *every[-footage.twins :]]
    singles = [[i] for video in whole for i in (video[0], video[-1])]
    summaries = Extractive(WORDS).summarize([[footage.clips[i].text for i in video] for video in whole])
    brief = [[video[k] for k in found.kept] for video, found in zip(whole, summaries, strict=True)]
    ways = {"short": (singles, singles), "long": (whole, whole), "twins": (twins, twins), "brief": (whole, brief)}
    return {name: _queries(footage, *way) for name, way in {**ways, "image": ways["short"]}.items()}


def _queries(footage: Footage, shown: list[list[int]], told: list[list[int]]) -> Queries:
    events = [[footage.clips[i].event for i in video] for video in shown]
    claims = [[footage.clips[i].claim for i in text] for text in told]
    truth = np.array([[_shows(video, text) for text in claims] for video in events])
    best = [100.0 * float((1 / truth.sum(axis=axis)).mean()) for axis in (0, 1)]
    return Queries(shown, [[footage.clips[i].text for i in text] for text in told], (best[0], best[1]))


def _shows(events: list[Event], claims: list[Claim]) -> bool:
    return all(any(holds(event, claim) for event in events) for claim in claims)


def _related(rng: np.random.Generator, count: int) -> list[Event]:
    """The events of one source, all different, many of them near duplicates of one before."""
    events = [sample_event(rng)]
    while len(events) < count:
        near = events[int(rng.integers(len(events)))]
        event = mutate(near, _factor(near, rng), rng) if rng.random() < NEAR_SHARE else sample_event(rng)
        if event not in events:
            events.append(event)
    return events


def _changed(events: list[Event], rng: np.random.Generator) -> tuple[list[Event], int, str]:
    """The events with one fact of one of them changed; which event and which fact."""
    while True:
        place = int(rng.integers(len(events)))
        factor = _factor(events[place], rng)
        event = mutate(events[place], factor, rng)
        if event not in events:
            return [*events[:place], event, *events[place + 1 :]], place, factor


def _factor(event: Event, rng: np.random.Generator) -> str:
    names = [name for name, value in facts(event).items() if value is not None]
    return names[int(rng.integers(len(names)))]


def _told(
    events: list[Event], source: str, rng: np.random.Generator, must: Mapping[int, str] = MappingProxyType({})
) -> list[Clip]:
    """The clips of one source, each told by a sentence that is true of none of the others.

    `must` names a fact that the sentence of an event tells.
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
    """Sources to train on."""
    return Footage(2_000 + seed, sources, (LEAST, MOST), folder / "train")


def test_footage(seed: int, sources: int, folder: Path) -> Footage:
    """Sources to test with, half of them with a twin; no seed trains on them."""
    return Footage(HELD_OUT + 2_000 + seed, sources, (TESTED, TESTED), folder / "test", twins=sources // 2)
