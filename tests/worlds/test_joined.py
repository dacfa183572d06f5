"""Long videos of joined clips: what the near duplicates of a group have in common, and in what they differ."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np
import pytest

from mova.worlds.captions import holds
from mova.worlds.factors import Event, differing
from mova.worlds.joined import CLIPS, LEAST_CLIPS, MEMBERS, SENTENCES, JoinedGallery, JoinedVideo, joined_gallery

CLIPS_PER_VIDEO = 40


@pytest.fixture(scope="module")
def gallery() -> JoinedGallery:
    return joined_gallery(np.random.default_rng(3), videos=26, clips=CLIPS_PER_VIDEO)


def captioned(video: JoinedVideo) -> list[Event]:
    return [line.claim.event for line in video.lines]


def groups(gallery: JoinedGallery) -> list[list[JoinedVideo]]:
    return [list(members) for _, members in groupby(gallery.videos, lambda video: video.group)]


def test_groups_have_all_members_and_take_turns_in_length(gallery: JoinedGallery) -> None:
    *whole, last = groups(gallery)
    assert [[video.member for video in group] for group in whole] == [list(MEMBERS)] * 6
    assert [video.member for video in last] == ["base", "changed"]
    assert {len(video.clips) for video in gallery.videos} == {CLIPS_PER_VIDEO}
    lengths = [(len(group[0].lines), len(group[0].clips)) for group in whole]
    assert {count for count, _ in lengths} == set(SENTENCES)


def test_members_differ_from_the_base_as_their_names_say(gallery: JoinedGallery) -> None:
    for base, changed, swapped, replaced in groups(gallery)[:-1]:
        events = captioned(base)
        [(i, new)] = [(i, e) for i, e in enumerate(captioned(changed)) if e != events[i]]
        [factor] = differing(events[i], new)
        assert factor in changed.lines[i].claim.mentioned
        assert factor in base.lines[i].claim.mentioned
        moved = [i for i, event in enumerate(captioned(swapped)) if event != events[i]]
        assert len(moved) == 2
        assert Counter(captioned(swapped)) == Counter(events)
        [(i, new)] = [(i, e) for i, e in enumerate(captioned(replaced)) if e != events[i]]
        happening = {gallery.events[clip] for clip in replaced.clips}
        assert new in happening
        assert events[i] not in happening
        others = [Counter(gallery.events[c] for c in v.clips) - _shown(v, gallery) for v in (base, changed, swapped)]
        assert others[0] == others[1] == others[2]


def _shown(video: JoinedVideo, gallery: JoinedGallery) -> Counter[Event]:
    events = set(captioned(video))
    return Counter(gallery.events[clip] for clip in video.clips if gallery.events[clip] in events)


def test_captions_describe_consecutive_clips_in_order(gallery: JoinedGallery) -> None:
    seen = set()
    for video in gallery.videos:
        runs = [(event, len(list(run))) for event, run in groupby(video.clips, lambda clip: gallery.events[clip])]
        told = [(event, length) for event, length in runs if event in captioned(video)]
        assert [event for event, _ in told] == captioned(video)
        [length] = {length for _, length in told}
        seen.add(length)
    assert seen <= set(CLIPS)
    assert len(seen) > 1


def test_sentences_of_the_base_are_true_of_their_own_event_alone(gallery: JoinedGallery) -> None:
    ambiguous = 0
    for video in gallery.videos:
        for line in video.lines:
            true = {gallery.events[clip] for clip in video.clips if holds(gallery.events[clip], line.claim)}
            assert line.claim.event in true
            ambiguous += video.member == "base" and len(true) > 1
    assert ambiguous == 0


def test_the_seed_decides_everything_and_short_videos_are_refused() -> None:
    first, second, other = (joined_gallery(np.random.default_rng(seed), 8, LEAST_CLIPS) for seed in (1, 1, 2))
    assert (first.events, first.videos) == (second.events, second.videos)
    assert first.events != other.events
    with pytest.raises(ValueError, match=f"at least {LEAST_CLIPS} clips, not 3"):
        joined_gallery(np.random.default_rng(0), 8, 3)
