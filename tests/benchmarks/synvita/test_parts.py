"""Parts of the small SynViTA study: truth, the unreliable generator, the decoder's score."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from benchmarks.studies.synvita.arms import ARMS, Drawn, Entailment, weights_for
from benchmarks.studies.synvita.decoder import VOCABULARY, Decoder, Words, common_masks, padded
from benchmarks.studies.synvita.footage import LEVELS, add_artifact
from benchmarks.studies.synvita.generator import (
    FOLLOWS,
    KINDS,
    Triplet,
    is_common,
    is_true,
    new_caption,
    sample_triplets,
)
from benchmarks.studies.synvita.trials import Groups, near_duplicates, sample_group, truth_of
from benchmarks.studies.synvita.vqa import uniform
from mova.losses.entailment import synvita_loss
from mova.worlds.captions import holds

PER_KIND = 40


@pytest.fixture(scope="module")
def triplets() -> list[Triplet]:
    return sample_triplets(np.random.default_rng(5), PER_KIND * len(KINDS), biased=True)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(torch.randn(len(VOCABULARY), 16), Words().answers).double().eval()


def test_a_caption_is_true_if_its_sentences_hold_in_order(triplets: list[Triplet]) -> None:
    for triplet in triplets:
        for events in (triplet.real.events, triplet.synthetic.events):
            for lines in (triplet.real.lines, triplet.false.lines):
                rows = combinations(events, len(lines))
                every = any(all(holds(e, line.claim) for e, line in zip(row, lines, strict=True)) for row in rows)
                assert is_true(events, lines) == every
        assert is_true(triplet.real.events, triplet.real.lines)
        assert is_true(triplet.real.events, new_caption(triplet.real, np.random.default_rng(0)).lines)
        assert not is_true(triplet.real.events, triplet.false.lines)


def test_generated_videos_match_their_outcome_at_the_expected_rates(triplets: list[Triplet]) -> None:
    for triplet in triplets:
        events = triplet.synthetic.events
        shows = is_true(events, triplet.real.lines), is_true(events, triplet.false.lines)
        if triplet.outcome == "followed":
            assert shows[1]
        else:
            assert shows == ((True, False) if triplet.outcome == "original" else (False, False))
        assert triplet.useful == (shows == (False, True))
        assert all(is_common(event) for event in triplet.real.events)
    assert any(not is_common(e) for t in triplets for e in t.synthetic.events)
    for kind, rate in FOLLOWS.items():
        of_kind = [t for t in triplets if t.false.kind == kind]
        followed = sum(t.outcome == "followed" for t in of_kind) / len(of_kind)
        assert abs(followed - rate) < 4 * (rate * (1 - rate) / len(of_kind)) ** 0.5
        assert kind != "hallucination" or not any(t.useful for t in of_kind)  # what is added leaves the caption true


def test_each_near_duplicate_has_its_own_caption() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        members = sample_group(rng)
        assert (truth_of(members, members) == np.eye(len(members), dtype=bool)).all()
        assert len({len(short.events) for short in members}) == 1


def test_the_artifact_is_unique_and_leaves_no_gray_value() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 9, 16, 16), dtype=np.uint8)
    before = pixels.copy()
    marked = add_artifact(pixels, np.random.default_rng(1))
    assert marked.shape == pixels.shape
    assert (pixels == before).all()
    assert len(np.unique(marked)) == LEVELS
    gray = add_artifact(np.full((2, 1, 9, 16, 16), 128, np.uint8), np.random.default_rng(1))
    assert not (gray[0] == gray[1]).all()


def test_uniform_frames_are_one_per_quarter() -> None:
    assert uniform(8).tolist() == [1, 3, 5, 7]
    assert uniform(4).tolist() == [0, 1, 2, 3]


def test_scores_are_those_of_the_next_token_for_any_padding(decoder: Decoder) -> None:
    words = Words()
    prompts = [words.prompt(["A red star rises."]), words.prompt(["Two small blue rings.", "Then, a box spins."])]
    frames = torch.randn(2, 2, 4, 16, dtype=torch.float64)
    ids = padded(prompts)[None].expand(2, -1, -1)
    scores = decoder(frames, torch.nn.functional.pad(ids, (0, 5)))
    assert scores.shape == (2, 2, 2)
    for v in range(2):
        for s, prompt in enumerate(prompts):
            visual = torch.nn.functional.normalize(frames[1, v], dim=-1)
            tokens = decoder.llm.model.embed_tokens(torch.tensor(prompt))
            inputs = torch.cat([decoder.enter(visual), tokens])[None]
            chance = decoder.llm(inputs_embeds=inputs).logits[0, -1].softmax(-1)
            yes, no = chance[VOCABULARY.index("yes")], chance[VOCABULARY.index("no")]
            torch.testing.assert_close(scores[1, v, s].sigmoid(), yes / (yes + no), atol=1e-6, rtol=0)


def test_warm_up_trains_captioning_and_distinguishing_captions(decoder: Decoder) -> None:
    words = Words()
    captions = (["A red star rises."], ["Two small blue rings.", "Then, a box spins."], ["A cross falls."])
    prompts = [words.prompt(sentences) for sentences in captions]
    ids, frames = padded(prompts), torch.randn(3, 4, 16, dtype=torch.float64)
    loss, odds = decoder.warm_up(frames, ids)
    torch.testing.assert_close(odds, decoder(frames[:, None], torch.stack([ids, ids.roll(1, dims=0)], dim=1)))
    surprise = []
    for video, prompt in zip(frames, prompts, strict=True):
        visual = decoder.enter(torch.nn.functional.normalize(video, dim=-1))
        inputs = torch.cat([visual, decoder.llm.model.embed_tokens(torch.tensor(prompt))])[None]
        chances = decoder.llm(inputs_embeds=inputs).logits[0, len(visual) - 1 : -1].log_softmax(-1)
        surprise += [-chances[i, token].item() for i, token in enumerate(prompt)]
    assert loss.item() == pytest.approx(np.mean(surprise))


def test_masking_a_word_ignores_it_without_shifting_others(decoder: Decoder) -> None:
    words = Words()
    red, blue = words.prompt(["A red star rises."]), words.prompt(["A blue star rises."])
    shorter = words.prompt(["A star rises."])
    keep = common_masks(red, blue, len(red))
    assert keep.tolist() == [[i != 1 for i in range(len(red))]] * 2
    frames = torch.randn(1, 1, 4, 16, dtype=torch.float64)
    hidden = decoder(frames, torch.tensor([[red, blue]]), keep[None])
    torch.testing.assert_close(hidden[..., 0], hidden[..., 1])
    assert not torch.isclose(hidden[..., 0], decoder(frames, torch.tensor([[shorter]]))[..., 0])


def test_arms_differ_in_weights_and_read_what_they_need(decoder: Decoder, triplets: list[Triplet]) -> None:
    own, other, useful = np.array([0.9, 0.2]), np.array([0.5, 0.3]), np.array([True, False])
    assert weights_for(ARMS["oracle"], own, other, useful).tolist() == [1, 0]
    assert weights_for(ARMS["none (Eq. 2)"], own, other, useful).tolist() == [0, 0]
    torch.testing.assert_close(weights_for(ARMS["difference"], own, other, useful), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(weights_for(ARMS["difference, mean 1"], own, other, useful), torch.tensor([2.0, 0.0]))
    words = Words()
    prompts = [(words.prompt(t.real.sentences), words.prompt(t.false.sentences)) for t in triplets[:2]]
    ids = padded([prompt for pair in prompts for prompt in pair]).unflatten(0, (2, 2))
    batch = {
        "frames": torch.randn(2, 2, 4, 16, dtype=torch.float64),
        "ids": ids,
        "keep": torch.stack([common_masks(*pair, ids.shape[-1]) for pair in prompts]),
        "weights": torch.tensor([1.0, 0.5]),
    }
    for name, shape in (("none (Eq. 2)", (2, 1, 2)), ("difference + consistency", (2, 2, 2))):
        objective = Entailment(ARMS[name])
        vectors = objective.encode(decoder, batch)
        assert vectors["log_odds"].shape == shape
        loss, parts = objective.forward(batch, lambda _, v=vectors: v)
        if "common" in vectors:
            full_loss, _ = synvita_loss(vectors["log_odds"], batch["weights"], vectors["common"], 1.0)
            torch.testing.assert_close(loss, full_loss)
            assert parts.keys() == {"real", "synthetic", "consistency"}


def test_all_arms_see_the_same_batches_and_each_row_once_per_pass() -> None:
    rows = {"x": torch.arange(10)}
    batches, again = (Drawn(rows, 4, 5, seed=3) for _ in range(2))
    assert [b["x"].tolist() for b in (batches[i] for i in range(5))] == [again[i]["x"].tolist() for i in range(5)]
    assert sorted(torch.cat([batches[i]["x"] for i in range(5)])[:10].tolist()) == list(range(10))


def test_an_untrained_constant_decoder_is_at_chance() -> None:
    class Constant(Decoder):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, frames: torch.Tensor, ids: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
            return torch.zeros(len(frames), frames.shape[1], ids.shape[1])

    truth = np.tile(np.eye(5, dtype=bool), (3, 2, 1))
    groups = Groups(torch.zeros(3, 10, 4, 16), torch.ones(3, 5, 6, dtype=torch.int64), truth)
    results = near_duplicates(Constant(), groups)
    assert results["choice"] == pytest.approx(0.2)
    assert results["retrieval"] == pytest.approx(np.mean([_random_precision(10, 2)]))


def _random_precision(count: int, right: int) -> float:
    """Compute the expected average precision over all orders by enumeration."""
    values = []
    for ranks in combinations(range(1, count + 1), right):
        values.append(np.mean([(i + 1) / rank for i, rank in enumerate(ranks)]))
    return float(np.mean(values))
