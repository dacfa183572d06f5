"""Long videos as sequences of short clips from one pool: near duplicates, and captions of a few of their many events.

A clip is rendered and encoded once, however many videos it is part of, so a gallery of ten-minute videos costs as much
as its pool. Videos are in groups of four, in the order of `MEMBERS`:

- base: 2, 4 or 8 captioned events in order of time, each shown by 1, 3 or 9 consecutive clips, among other events;
- changed: one captioned event differs in one factor, which its sentence mentions;
- swapped: two captioned events take each other's place in time;
- replaced: one captioned event does not happen, and another one happens in its place.

All members have the same other events, in an order of their own: two near duplicates of each captioned event, and
events from a background that all groups share. A captioned event was rendered twice, and a member has either clip.

Shape legend: P clips of the pool, C clips of a video, V videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mova.worlds.captions import Claim, describe
from mova.worlds.factors import Event, draw_factor, mutate, sample_event
from mova.worlds.galleries import true_line
from mova.worlds.negatives import Line

MEMBERS = ("base", "changed", "swapped", "replaced")
SENTENCES, CLIPS = (2, 4, 8), (1, 3, 9)
"""Captioned events of a video, and clips of each; groups take turns, as far as half of a video is enough."""
TAKES, NEAR, BACKGROUND = 2, 2, 2
"""Clips rendered of a captioned event, its near duplicates, and clips of the background per clip of a video."""
LEAST_CLIPS = 12


@dataclass(frozen=True)
class JoinedVideo:
    """A long video.

    Attributes:
        clips: indices (C,) into the pool, in order of time.
        lines: sentences of its caption, in order of time.
        group: number of its group.
        member: one of `MEMBERS`.
    """

    clips: tuple[int, ...]
    lines: tuple[Line, ...]
    group: int
    member: str


@dataclass(frozen=True, eq=False)
class JoinedGallery:
    """A pool and its videos.

    Attributes:
        events: what each clip of the pool shows (P,); several clips may show one event.
        videos: (V,), group by group.
    """

    events: tuple[Event, ...]
    videos: tuple[JoinedVideo, ...]


def joined_gallery(rng: np.random.Generator, videos: int, clips: int) -> JoinedGallery:
    """Draw a pool and videos made of it.

    Args:
        rng: draws everything.
        videos: V; the last group is not complete if this is not a multiple of four.
        clips: C, at least `LEAST_CLIPS`.

    Raises:
        ValueError: videos of fewer clips.

    Example:
        >>> gallery = joined_gallery(np.random.default_rng(0), videos=8, clips=20)
        >>> [(video.group, video.member, len(video.lines)) for video in gallery.videos[3:6]]
        [(0, 'replaced', 2), (1, 'base', 2), (1, 'changed', 2)]
        >>> gallery.videos[0].lines[1].text
        'The video shows two large purple hearts blinking in the desert.'
    """
    if clips < LEAST_CLIPS:
        raise ValueError(f"joined videos need at least {LEAST_CLIPS} clips, not {clips}")
    events = [sample_event(rng) for _ in range(BACKGROUND * clips)]
    background = list(range(len(events)))
    shapes = [(sentences, shown) for sentences in SENTENCES for shown in CLIPS if 2 * sentences * shown <= clips]
    drawn: list[JoinedVideo] = []
    while len(drawn) < videos:
        number = len(drawn) // len(MEMBERS)
        sentences, shown = shapes[number % len(shapes)]
        drawn += _Group(rng, events, background, clips, sentences, shown).members(number)
    return JoinedGallery(tuple(events), tuple(drawn[:videos]))


class _Group:
    """Draws the videos of a group; clips that it needs are added to the pool `events`.

    Args:
        rng, events: see above.
        background: indices of shared clips.
        clips: of a video.
        sentences: captioned events of a video.
        shown: clips of each captioned event.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        events: list[Event],
        background: Sequence[int],
        clips: int,
        sentences: int,
        shown: int,
    ) -> None:
        self._rng, self._events, self._shown = rng, events, shown
        self._takes: dict[Event, list[int]] = {}
        self._captioned: list[Event] = []
        while len(self._captioned) < sentences:
            event = sample_event(rng)
            if event not in self._captioned:
                self._captioned.append(event)
        others = clips - sentences * shown
        near = [mutate(event, draw_factor(event, rng), rng) for event in self._captioned for _ in range(NEAR)]
        near = [event for event in near if event not in self._captioned][: others // 2]
        shared = rng.choice(background, others - len(near), replace=False).tolist()
        self._others = [*(self._add(event) for event in near), *shared]

    def members(self, number: int) -> list[JoinedVideo]:
        """Return the four videos of group `number`."""
        rng, captioned = self._rng, self._captioned
        changed, replaced = (int(rng.integers(len(captioned))) for _ in range(2))
        first, second = sorted(rng.choice(len(captioned), 2, replace=False).tolist())
        happening = [*captioned, *(self._events[clip] for clip in self._others)]
        factor, event = self._changed(captioned[changed], happening)
        lines = [true_line(own, happening, rng, [factor] if i == changed else []) for i, own in enumerate(captioned)]
        new = sample_event(rng)
        while new in happening:
            new = sample_event(rng)
        contents: dict[str, list[Line]] = {
            "base": lines,
            "changed": _with(lines, {changed: _about(lines[changed], event)}),
            "swapped": _with(lines, {first: lines[second], second: lines[first]}),
            "replaced": _with(lines, {replaced: true_line(new, happening, rng)}),
        }
        return [self._video(contents[member], number, member) for member in MEMBERS]

    def _changed(self, event: Event, happening: Sequence[Event]) -> tuple[str, Event]:
        """Draw a factor, and an event that differs in it and does not happen."""
        while True:
            factor = draw_factor(event, self._rng)
            other = mutate(event, factor, self._rng)
            if other not in happening:
                return factor, other

    def _video(self, lines: Sequence[Line], number: int, member: str) -> JoinedVideo:
        """Place the captioned events at random among the others, in their order, and word the caption anew."""
        rng = self._rng
        others = rng.permutation(self._others).tolist()
        places = np.sort(rng.integers(0, len(others) + 1, len(lines))).tolist()
        clips: list[int] = []
        for line, (begin, end) in zip((None, *lines), pairwise((0, *places, len(others))), strict=True):
            if line is not None:
                takes = self._takes_of(line.claim.event)
                clips += [takes[int(rng.integers(len(takes)))]] * self._shown
            clips += others[begin:end]
        worded = tuple(replace(line, wording=int(rng.integers(2**31))) for line in lines)
        return JoinedVideo(tuple(clips), worded, number, member)

    def _takes_of(self, event: Event) -> list[int]:
        if event not in self._takes:
            self._takes[event] = [self._add(event) for _ in range(TAKES if event in self._captioned else 1)]
        return self._takes[event]

    def _add(self, event: Event) -> int:
        self._events.append(event)
        return len(self._events) - 1


def _about(line: Line, event: Event) -> Line:
    """Return a line that mentions the same factors of another event."""
    mentioned = describe(event, np.random.default_rng(0), mention=line.claim.mentioned).mentioned
    return Line(Claim(event, mentioned), line.wording)


def _with(lines: Sequence[Line], changes: Mapping[int, Line]) -> list[Line]:
    return [changes.get(i, line) for i, line in enumerate(lines)]
