"""Captions that compare two moments: how they are read, and how they are scored."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.eval.tasks.scoring_forms import ScoringForm
from mova.models.embeddings import VideoEmbedding
from mova.models.inputs.captions import encode_captions, score_captions
from mova.models.registry import load
from mova.models.relations.basis import Relations
from mova.models.relations.comparisons import Comparison, read_comparisons
from mova.scoring.respects import Respect, best_pair, shared_scores
from mova.search.score import score_embedding
from mova.worlds.captions import holds
from mova.worlds.factors import facts
from mova.worlds.relations import COMPARED, comparison_pairs
from tests.models.relations.test_relations import relations

KNOWN = ("color", "place", "time of day", "motion")


@pytest.mark.parametrize(
    ("text", "left", "found"),
    [
        ("A heart of the same colour.", "A heart.", [("color", True)]),
        ("It moves in another setting, slowly.", "It moves, slowly.", [("place", False)]),
        ("The same color and a different PLACE: a dog.", "and: a dog.", [("color", True), ("place", False)]),
        ("A dog at the same time of day.", "A dog.", [("time of day", True)]),
        ("At the same time, a dog.", "At the same time, a dog.", []),
        ("Another dog in the same hat.", "Another dog in the same hat.", []),
        ("The same placemat.", "The same placemat.", []),
        ("In the same place.", "In the same place.", [("place", True)]),
    ],
)
def test_comparisons_are_read_and_left_out(text: str, left: str, found: list[tuple[str, bool]]) -> None:
    units, comparisons = read_comparisons(["A star in the same place.", "A sun.", text], KNOWN)
    assert units == ["A star in the same place.", "A sun.", left]  # the first has no earlier one
    assert comparisons == [Comparison(2, 1, concept, same) for concept, same in found]


def test_a_model_without_concepts_compares_nothing() -> None:
    assert read_comparisons(["A sun.", "In the same place."], ()) == (["A sun.", "In the same place."], [])


@pytest.mark.parametrize("frames", [2, 3, 7])
def test_the_best_pair_is_that_of_an_exhaustive_search(frames: int) -> None:
    draws = torch.Generator().manual_seed(frames)
    first, second = torch.rand(2, 50, frames, generator=draws)
    one, two = best_pair(first, second)
    for a, b, i, j in zip(first, second, one.tolist(), two.tolist(), strict=True):
        assert i != j
        assert float(a[i] + b[j]) == pytest.approx(max(float(a[k] + b[n]) for k, n in permutations(range(frames), 2)))


def test_a_single_frame_says_nothing_and_a_frame_is_not_compared_with_itself() -> None:
    respect = Respect(torch.eye(2)[:, 1:], torch.zeros(2))
    words = torch.tensor([[1.0, 0.0]])
    assert shared_scores(torch.tensor([[1.0, 0.5]]), words, words, respect).tolist() == [0.0]
    frames = torch.tensor([[1.0, 0.1], [0.9, -0.1], [-1.0, 0.0]])
    assert shared_scores(frames, words, words, respect).tolist() == pytest.approx([-1.0])


class Plain:
    """A model whose sentences are the vectors of `vectors`, with a respect along the last axis."""

    def __init__(self, weight: float) -> None:
        worlds = load("mova-worlds-tiny", device="cpu")
        self.rule, self.units, self.comparison_weight = worlds.rule, worlds.units, weight
        self.rule = replace(self.rule, g=1.0, beta=0.0, global_share=None)

    def respects(self) -> list[str]:
        return ["place"]

    def respect(self, by: object, center: object = None) -> Respect:
        return Respect(torch.tensor([[0.0], [0.0], [1.0]]), torch.zeros(3))

    def encode_unit_lists(self, units: Any) -> list[torch.Tensor]:
        words = {"star": [1.0, 0.0, 0.0], "heart": [0.0, 1.0, 0.0]}
        return [torch.tensor([words["heart" if "heart" in unit else "star"] for unit in text]) for text in units]

    def encode_units(self, texts: Any) -> list[torch.Tensor]:
        return self.encode_unit_lists([self.units.split(text) for text in texts])


STAY = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, -0.1]])
MOVE = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5], [0.0, 0.0, -0.1]])


def test_same_and_another_are_told_apart_by_the_weight_alone() -> None:
    texts = ["A star. A heart in the same place.", "A star. A heart in another place.", "A star. A heart."]
    blind: Any = Plain(0.0)
    scores = score_captions(blind, [STAY, MOVE], encode_captions(blind, texts))
    assert torch.equal(scores[:, :1].expand(-1, 3), scores)
    assert torch.allclose(scores[0], scores[1], atol=1e-6)
    weighted: Any = Plain(0.25)
    captions = encode_captions(weighted, texts)
    again = score_captions(weighted, [STAY, MOVE], captions)
    expected = scores + 2 * 0.25 * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])  # two units, g = 1
    torch.testing.assert_close(again, expected)
    torch.testing.assert_close(score_captions(weighted, [MOVE], captions.only(1)), again[1:, 1:2])


def test_the_weight_is_saved_with_the_basis(tmp_path: Any) -> None:
    relations(weight=0.4).save(tmp_path)
    read = Relations.read(tmp_path)
    assert read is not None
    assert read.weight == 0.4


def test_every_way_to_score_a_caption_uses_it() -> None:
    model = load("mova-worlds-tiny", device="cpu")
    assert model.relations is not None
    draws = torch.Generator().manual_seed(0)
    video = VideoEmbedding(F.normalize(torch.randn(6, model.embedding_dim, generator=draws), dim=-1), np.arange(6.0), 6)
    texts = ["A red star rises. A heart spins in the same place.", "A red star rises. A heart spins."]
    plain = [form_score(model, video, text) for text in texts]
    kept, model.relations = model.relations, replace(model.relations, weight=0.5)
    try:
        scores = [form_score(model, video, text) for text in texts]
        assert scores[1] == plain[1]
        assert scores[0] != pytest.approx(plain[1], abs=1e-4)
        assert float(model.score([video], texts[0])[0, 0]) == pytest.approx(scores[0])
        rows, total = score_embedding(model, video, texts[0])
        assert total == pytest.approx(scores[0])
        assert rows[0].compared == rows[1].compared[1:] == ()
        [said] = rows[1].compared
        assert (said.respect, said.same) == ("place", True)
        units = model.encode_unit_lists([["A red star rises.", "A heart spins."]])[0]
        expected = shared_scores(video.frames, units[:1], units[1:], model.respect("place"))
        assert said.similarity == pytest.approx(float(expected))
    finally:
        model.relations = kept


def form_score(model: Any, video: VideoEmbedding, text: str) -> float:
    form = ScoringForm(model, "rule")
    return float(form.score([video], form.encode([text]))[0, 0])


@pytest.mark.parametrize("concept", COMPARED)
def test_pairs_of_videos_differ_in_the_comparison_alone(concept: str) -> None:
    shorts = comparison_pairs(np.random.default_rng(1), concept, 4)
    assert [short.member for short in shorts] == ["the same", "another"] * 4
    for same, other in zip(shorts[::2], shorts[1::2], strict=True):
        assert same.captioned == other.captioned
        assert same.sentences[0] == other.sentences[0]
        assert same.sentences[1].replace("the same", "another") == other.sentences[1]
        for video in (same, other):
            one, two = (facts(video.events[i])[concept] for i in video.captioned)
            assert (one == two) == (video.member == "the same")
            for claimed in (same, other):  # without the comparison, each sentence is true of both videos' own event
                shown = [[holds(event, line.claim) for event in video.events] for line in claimed.lines]
                assert [row.index(True) for row in shown] == list(video.captioned)
                assert all(concept not in line.claim.mentioned for line in claimed.lines)
