"""What two moments share, on films with an object that recurs: the concepts, the subspace, and where it is active."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from mova.errors import UsageError
from mova.explain.shared import SharedSubspace, activity_of, shared_subspace
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.models.two_tower.model import TwoTower
from mova.plots.shared import draw_shared
from mova.scoring.respects import Respect
from mova.scoring.similarity import cosine, unit
from mova.video.writer import write_mp4
from mova.worlds.captions import describe
from mova.worlds.factors import Event, is_possible, sample_event
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event
from tests.explain.test_masks import SENTENCES, masked
from tests.support.fakes import write_colours

Call = Callable[..., tuple[int, str, str]]
SECONDS, RATE = 4, 4
RECURRING, SAID = (0, 3, 6, 8), (0, 3)
"""Events with the object, and those of the two sentences."""


@dataclass(frozen=True)
class Film:
    """Ten events; in four of them one object recurs, elsewhere only its shape or only its color does."""

    path: Path
    events: list[Event]
    sentences: list[str]


def make_film(folder: Path, seed: int) -> Film:
    rng = np.random.default_rng(seed)
    actor = sample_event(rng)
    events: list[Event] = []
    while len(events) < 10:
        event, index = replace(sample_event(rng), count=1, relation=None), len(events)
        if index in RECURRING:
            event = replace(event, shape=actor.shape, colour=actor.colour)
            earlier = [events[i] for i in RECURRING if i < index]
            fits = all(event.motion != other.motion and event.place != other.place for other in earlier)
        else:
            event = replace(event, **[{}, {"shape": actor.shape}, {"colour": actor.colour}][index % 3])
            fits = (event.shape, event.colour) != (actor.shape, actor.colour)
        if fits and is_possible(event):
            events.append(event)
    times = np.arange(SECONDS * RATE) / RATE
    pixels = [render_event(event, sample_nuisance(rng), "flat", times, SECONDS, 64) for event in events]
    mention = ("shape", "colour", "motion", "place")
    sentences = [describe(events[i], rng, mention=mention).text for i in SAID]
    return Film(write_mp4(folder / f"{seed}.mp4", pixels, fps=RATE), events, sentences)


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    return load("mova-worlds-tiny", device="cpu")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return [make_film(tmp_path_factory.mktemp("films"), seed) for seed in (2, 4, 6)]


def elsewhere(curve: np.ndarray, times: np.ndarray) -> float:
    """AUC of frames with the recurring object against all others, in the events that no sentence is about."""
    index = (times // SECONDS).astype(int)
    rest = ~np.isin(index, SAID)
    return float(roc_auc_score(np.isin(index, RECURRING)[rest], curve[rest]))


def test_a_recurring_object_is_found_by_two_sentences_about_it(model: DualEncoder, films: list[Film]) -> None:
    ours, plain = [], []
    for film in films:
        found = shared_subspace(model, film.path, film.sentences)
        assert found.source == "learned basis"
        assert {"shape", "color"} <= set(found.shared)
        assert not {"motion", "place"} & set(found.shared), "the sentences say them differently"
        ours.append(elsewhere(found.activity, found.times))
        texts = model.encode_text(film.sentences).pooled
        cosines = cosine(texts, model.encode_video(film.path).frames).amin(dim=0).numpy()
        plain.append(elsewhere(cosines, found.times))
        others = [peak for peak in found.peaks if not found.given(peak)]
        assert int(found.times[found.top(others[0])]) // SECONDS in RECURRING
    assert np.mean(ours) > 0.85
    assert np.mean(ours) > np.mean(plain)


def test_two_moments_share_a_named_concept(model: DualEncoder, films: list[Film]) -> None:
    film = films[0]
    found = shared_subspace(model, film.path, moments=(2.0, 14.0), by="the colour")
    assert [(concept.name, concept.shared) for concept in found.concepts] == [("color", True)]
    assert [int(found.times[moment]) // SECONDS for moment in found.moments] == list(SAID)
    index = (found.times // SECONDS).astype(int)
    same = np.array([film.events[i].colour == film.events[0].colour for i in index])
    rest = ~np.isin(index, SAID)
    assert roc_auc_score(same[rest], found.activity[rest]) > 0.85
    both = [found.activity[moment] for moment in found.moments]
    assert both[0] == pytest.approx(both[1], abs=1e-5), "the lowest cosine of each is the one with the other"


def test_activity_is_the_lower_cosine_on_average_over_concepts() -> None:
    rng = np.random.default_rng(3)
    frames = rng.normal(size=(6, 5))
    projections = [rng.normal(size=(5, r)) for r in (2, 3)]
    center = 0.1 * rng.normal(size=5)
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True) - center
    rows = []
    for projection in projections:
        seen = unit @ projection
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        rows.append(np.minimum(seen @ seen[1], seen @ seen[4]))
    respects = [Respect(torch.from_numpy(p).float(), torch.from_numpy(center).float()) for p in projections]
    activity = activity_of(torch.from_numpy(frames).float(), [1, 4], respects)
    assert np.allclose(activity.numpy(), np.mean(rows, axis=0), atol=1e-5)


def test_a_mova_intersects_the_concept_masks_of_its_moments(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "film.mp4", [("red", 3), ("white", 3), ("blue", 2)])
    model = masked("paper")
    found = shared_subspace(model, film, SENTENCES)
    frames = model.encode_video(film).frames
    one, two = found.moments
    masks = []
    for sentence, moment in zip(SENTENCES, found.moments, strict=True):
        text = model.encode_text([sentence])
        pair = model.masks(
            frames[None, [moment]], torch.ones(1, 1, dtype=torch.bool), text.tokens, text.mask, text.pooled
        )
        masks.append(pair.m_v[0, 0].detach().numpy())
    mask = masks[0] * masks[1]
    seen = frames.detach().numpy() * mask
    seen = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    assert found.source == "masks"
    assert found.dimensions == int(mask.sum())
    assert np.allclose(found.activity, np.minimum(seen @ seen[one], seen @ seen[two]), atol=1e-5)


def test_models_without_a_basis_use_the_words_of_concepts(tiny_clip: Path, tmp_path: Path) -> None:
    film = write_colours(tmp_path / "film.mp4", [("red", 3), ("white", 3), ("blue", 2)])
    plain = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    for model in (plain, masked("subsets")):
        found = shared_subspace(model, film, moments=(0.5, 4.0), by=["a red star", "a blue ring"])
        assert found.source == "word subspaces"
        assert found.dimensions == 1
        respect = model.respect(["a red star", "a blue ring"], unit(model.encode_video(film).frames).mean(dim=0))
        seen = respect.similarity(model.encode_video(film).frames, model.encode_video(film).frames).numpy()
        assert np.allclose(found.activity, seen[list(found.moments)].min(axis=0), atol=1e-5)


def test_the_command_draws_and_prints_it(call: Call, films: list[Film], tmp_path: Path) -> None:
    film, picture = films[0], tmp_path / "shared.png"
    caption = ("--text", f"{film.sentences[0]} A blue ring. {film.sentences[1]}")
    options = ("--method", "shared", "--plot", picture, "--model", "mova-worlds-tiny")
    code, out, err = call("explain", film.path, *caption, "--sentences", "1,3", *options, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["sentences"] == film.sentences
    assert len(document["activity"]) == len(document["times"])
    assert [peak["score"] for peak in document["peaks"]] == sorted(
        (p["score"] for p in document["peaks"]), reverse=True
    )
    assert np.asarray(Image.open(picture).convert("L")).std() > 10
    code, out, err = call("explain", film.path, "--moments", "0:02,0:14", "--by", "color", *options)
    assert (code, "color" in out) == (0, True), err
    for wrong, message in (
        ((*caption,), "two sentences, not 3"),
        (("--moments", "1,2,3"), "two times"),
        (("--moments", "1,soon"), "soon"),
        (("--moments", "1,400"), "outside the video"),
        (("--moments", "1,1.1"), "same sampled frame"),
        (("--moments", "2,14", "--by", "mood"), "not a known concept"),
    ):
        code, _, err = call("explain", film.path, *wrong, *options)
        assert (code, message in err) == (2, True), err


def test_moments_that_share_nothing_are_reported(
    model: DualEncoder, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.explain.shared.AGREEMENT", 1.01)
    with pytest.raises(UsageError, match=r"agree in no concept .*--by"):
        shared_subspace(model, films[0].path, films[0].sentences)


def test_a_picture_of_masks_has_no_concepts(tmp_path: Path) -> None:
    shared = SharedSubspace(
        video="film.mp4",
        model="m",
        source="masks",
        sentences=(),
        moments=(0, 2),
        concepts=(),
        dimensions=7,
        duration=3.0,
        times=np.arange(3.0),
        step=1.0,
        activity=np.array([0.8, 0.1, 0.8], dtype=np.float32),
        peaks=(),
        frame_indices=(0, 2),
        pictures=np.zeros((2, 90, 40, 3), dtype=np.uint8),
    )
    draw_shared(shared, tmp_path / "shared.png")
    assert (tmp_path / "shared.png").stat().st_size > 1000
