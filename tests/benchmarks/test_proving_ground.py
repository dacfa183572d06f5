"""The proving ground: its arms are what they are called, scores through masks are the model's, weight 0 can win."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.systems import System, Texts
from benchmarks.studies.proving_ground.arms import ABLATIONS, ARMS
from benchmarks.studies.proving_ground.scoring import ALPHAS, Shortlist, best_alpha
from benchmarks.studies.proving_ground.study import PARTS, THROUGH_MASKS
from benchmarks.studies.proving_ground.token_masks import TokenMasked, TokenObjective
from mova.data.batch import PairVectors
from mova.models.encoder import VideoEmbedding
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.mova import MovaObjective

WIDTH = 16
CAPTIONS = [["it is red"], ["it is cyan", "it is red"], ["red"]]


def backbone() -> WorldsTiny:
    torch.manual_seed(0)
    words = ["<pad>", "<unk>", "it", "is", "red", "cyan"]
    config = WorldsTinyConfig(
        vocabulary=words, image_size=32, stem=[8, 8], hidden_size=WIDTH, heads=2, embedding_dim=WIDTH
    )
    return WorldsTiny(config).eval()


def test_modular_scores_of_selected_pairs_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.common.systems.CHUNK", 2)
    model = Mova.from_backbone(backbone(), "paper", heads=2)
    system = System(model)
    texts, frames = system.texts(CAPTIONS), torch.randn(4, 5, WIDTH)
    selected = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    names: Any = ["agg", "mod", "mod-top", "tv-relevance"]
    scores = system.modular(frames, texts, selected, names)
    videos = [VideoEmbedding(row, np.arange(5.0), 5.0) for row in frames]
    for name in names:
        expected = model.modular_similarity(videos, texts.whole, name).numpy() * selected
        np.testing.assert_allclose(scores[name], expected, atol=1e-6)


def test_weight_zero_wins_unless_another_is_better() -> None:
    base = np.eye(3)
    every = np.ones((3, 3), dtype=bool)
    useless = Shortlist(base, every, every, {"mod": np.zeros((3, 3))})
    assert best_alpha([useless], "mod") == 0.0
    assert useless.recall("mod", 0.0) == (100.0, 100.0)
    harmful = Shortlist(base, every, every, {"mod": 1 - np.eye(3)})
    assert best_alpha([harmful], "mod") == 0.0
    assert harmful.recall("mod", 4.0) == (0.0, 0.0)
    wrong = np.roll(np.eye(3), 1, axis=0)
    helpful = Shortlist(0.6 * wrong, every, every, {"mod": np.eye(3)})
    assert best_alpha([helpful], "mod") == 1.0
    assert min(ALPHAS) == 0.0


def test_a_video_outside_the_shortlist_cannot_win() -> None:
    base = np.array([[0.9, 0.0], [0.1, 0.8]])
    forward = np.array([[True, False], [False, True]])
    parts = Shortlist(base, forward, forward, {"mod": np.array([[0.0, 0.0], [9.0, 0.0]])})
    assert parts.recall("mod", 1.0) == (100.0, 100.0)


def joined(network: TokenMasked, frame: Tensor, tokens: Tensor) -> Tensor:
    """The probability of every token, by a transformer over the sequence [frame; tokens]."""
    x = torch.cat([network.enter_frame(frame)[None], network.enter_token(tokens)])[None]
    for block in network.blocks:
        x = block(x)
    return network.logit(network.norm(x[0, 1:])).squeeze(-1).sigmoid()


def vectors(videos: int = 3) -> PairVectors:
    torch.manual_seed(1)
    lengths = torch.tensor([4, 2, 3])[:videos, None]
    return PairVectors(
        torch.randn(videos, 2, WIDTH),
        torch.arange(2) < torch.tensor([2, 1, 2])[:videos, None],
        torch.randn(videos, WIDTH),
        torch.arange(videos),
        torch.tensor(5.0),
        tokens=torch.randn(videos, 4, WIDTH),
        token_mask=torch.arange(4) < lengths,
    )


def test_masks_over_tokens_select_words() -> None:
    network, batch = TokenMasked(backbone(), heads=2), vectors()
    torch.nn.init.normal_(network.logit.weight, std=0.5)
    torch.nn.init.zeros_(network.logit.bias)
    tokens, token_mask = batch.with_tokens()
    masks = network.masks(batch.frames, batch.frame_mask, tokens, token_mask, batch.texts)
    chosen = 0
    for v, t in batch.frame_mask.nonzero().tolist():
        real = tokens[v, token_mask[v]]
        p = joined(network, batch.frames[v, t], real)
        torch.testing.assert_close(masks.p_t[v, t, token_mask[v]], p, atol=1e-5, rtol=1e-5)
        assert not masks.p_t[v, t, ~token_mask[v]].any()
        words = F.normalize(real, dim=-1)[p > 0.5]
        chosen += len(words)
        torch.testing.assert_close((masks.text[v] * masks.m_t[v, t]), words.sum(dim=0), atol=1e-5, rtol=1e-5)
    assert 0 < chosen < int((batch.frame_mask.sum(dim=1) * token_mask.sum(dim=1)).sum())


def test_their_objective_is_the_published_one_without_concept_masks() -> None:
    network, batch, objective = TokenMasked(backbone(), heads=2), vectors(), TokenObjective()
    positive = torch.eye(3, dtype=torch.bool)
    loss, parts = objective.losses(batch, positive, network)
    tokens, token_mask = batch.with_tokens()
    masks = network.masks(batch.frames, batch.frame_mask, tokens, token_mask, batch.texts)
    rows = batch.frame_mask.nonzero().tolist()
    logits = torch.stack(
        [
            torch.stack([F.cosine_similarity(batch.frames[a, b], masks.m_t[c, d], dim=0) for c, d in rows])
            for a, b in rows
        ]
    )
    scaled = (logits - 0.2 * torch.eye(len(rows))) / 0.07
    torch.testing.assert_close(parts["temporal"], F.cross_entropy(scaled, torch.arange(len(rows))))
    shares = [masks.p_t[v, t, token_mask[v]].mean() for v, t in rows]
    torch.testing.assert_close(parts["sparsity"], torch.stack(shares).mean())
    torch.testing.assert_close(loss, parts["pooled"] + parts["temporal"] + 0.01 * parts["sparsity"])
    loss.backward()
    assert network.logit.weight.grad is not None


def test_ablations_are_what_they_say() -> None:
    every = ARMS | ABLATIONS
    assert set(THROUGH_MASKS) <= set(every)
    for name, form in PARTS.items():
        assert form in every[name].forms, name
    concept = cast(Mova, every["paper, CMN alone (mask of the caption)"].build(backbone()))
    assert concept.temporal is None
    texts: Texts = System(concept).texts(CAPTIONS)
    real = torch.ones(3, 4, dtype=torch.bool)
    m_v = concept.masks(torch.randn(3, 4, WIDTH), real, texts.whole.tokens, texts.whole.mask, texts.whole.pooled).m_v
    assert torch.equal(m_v, m_v[:, :1].expand(-1, 4, -1)), "a mask of the caption alone"
    for name in ("paper, TMN alone (no L_vt)", "repaired, pair negatives alone, on tv"):
        assert not [form for form in every[name].forms if "mod" in form or "masks" in form], "no loss trains its CMN"
    options = {
        "paper, L_dfsm with the same video": ("different_frame_same_video", True),
        "paper, L_tv without the same video": ("temporal_same_video", False),
        "repaired, pair negatives alone, on mod": ("score", "mod"),
    }
    for name, (option, value) in options.items():
        objective = every[name].objective()
        assert isinstance(objective, MovaObjective)
        assert getattr(objective, option) == value
