"""MoVA's objective: its terms are the losses it names, its diagnostics tell a shortcut, and every preset trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.eval.tasks.scoring_forms import ScoringForm
from mova.losses.global_contrast import mean_pooled_scores, score_nce
from mova.losses.masked_contrast import concept_nce, temporal_nce
from mova.models.embeddings import VideoEmbedding
from mova.models.inputs.captions import Captions
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.scoring.masked import modular_score
from mova.train.objectives.base import CachedEncoder
from mova.train.objectives.mova import WEIGHTS, MovaObjective
from mova.train.recipe import Recipe
from mova.train.run import train
from mova.worlds.batches import vocabulary
from tests.support.pair_batches import unread_batch

WIDTH = 16


def around(preset: str, **settings: Any) -> Mova:
    torch.manual_seed(0)
    backbone = WorldsTiny(
        WorldsTinyConfig(
            vocabulary=vocabulary(), image_size=32, stem=[8, 8], hidden_size=WIDTH, heads=2, embedding_dim=WIDTH
        )
    )
    return Mova.from_backbone(backbone, preset, heads=2, **settings)


def pairs(videos: int = 4) -> PairVectors:
    torch.manual_seed(1)
    shapes = {"frames": (5, WIDTH), "texts": (WIDTH,), "tokens": (6, WIDTH), "units": (3, WIDTH)}
    vectors = {name: torch.randn(videos, *shape, requires_grad=True) for name, shape in shapes.items()}
    return PairVectors(
        **vectors,
        scale=torch.tensor(5.0),
        frame_mask=torch.arange(5) < torch.tensor([5, 3, 1, 4])[:videos, None],
        token_mask=torch.arange(6) < torch.tensor([6, 2, 1, 4])[:videos, None],
        unit_mask=torch.arange(3) < torch.tensor([3, 1, 2, 1])[:videos, None],
        group=torch.arange(videos),
    )


def run(objective: MovaObjective, net: Mova, vectors: PairVectors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return objective.forward(unread_batch(len(vectors)), CachedEncoder(net, vectors))


@pytest.mark.parametrize("preset", WEIGHTS)
def test_the_loss_is_the_weighted_sum_of_its_parts(preset: str) -> None:
    objective = MovaObjective(preset, diagnose_every=0)
    vectors = pairs()
    loss, parts = run(objective, around(preset), vectors)
    terms = {name: weight for name, weight in objective.weights.items() if weight}
    assert set(parts) == {*terms, "scale", "dropped_tokens"}
    assert float(loss.detach()) == pytest.approx(
        sum(weight * float(parts[name].detach()) for name, weight in terms.items()), rel=1e-5
    )
    loss.backward()
    assert all(bool(value.grad.isfinite().all()) for value in vectors.tensors().values() if value.grad is not None)


def test_published_terms_are_the_written_losses_on_the_models_masks() -> None:
    net = around("paper")
    vectors = pairs()
    _, parts = run(MovaObjective("paper", diagnose_every=0), net, vectors)
    real = vectors.frame_mask
    masks = net.masks(vectors.frames, real, vectors.tokens, vectors.token_mask, vectors.texts)
    inputs = (vectors.frames, real, vectors.texts, masks.m_t)
    assert torch.allclose(parts["temporal"], temporal_nce(*inputs, 1 / 0.07))
    for name, value in zip(("same_frame", "different_frame"), concept_nce(*inputs, masks.m_v, 1 / 0.07), strict=True):
        assert torch.allclose(parts[name], value)
    assert torch.allclose(parts["pooled"], score_nce(mean_pooled_scores(*inputs[:3]), vectors.scale))


def test_repaired_frames_are_weighted_and_detached_masks_leave_the_backbone_alone() -> None:
    vectors = pairs()
    masks_alone = {"pooled": 0.0, "relevance": 0.0}
    _, plain = run(MovaObjective("repaired", diagnose_every=0), around("repaired", frame_weights=False), vectors)
    _, weighted = run(MovaObjective("repaired", diagnose_every=0), around("repaired"), vectors)
    assert not torch.allclose(plain["temporal"], weighted["temporal"])
    loss, _ = run(
        MovaObjective("repaired", diagnose_every=0, **masks_alone), around("repaired", detached=True), vectors
    )
    loss.backward()
    assert all(value.grad is None for value in vectors.tensors().values())


def test_diagnostics_come_with_the_first_step_and_then_at_their_interval() -> None:
    net, objective = around("paper"), MovaObjective("paper", diagnose_every=3)
    vectors = pairs()
    logged = [set(run(objective, net, vectors)[1]) for _ in range(4)]
    expected = {
        "rolled/temporal/gap",
        "rolled/same_frame/gap",
        "match/auc",
        "match/auc_gain",
        "m_t/density",
        "m_v/dead",
    }
    assert [expected <= names for names in logged] == [True, False, False, True]
    single = run(MovaObjective("paper", diagnose_every=1), net, pairs(1))[1]
    assert "match/auc" not in single


def test_pair_negatives_score_mismatched_pairs_with_masks_of_their_own() -> None:
    vectors = pairs()
    _, parts = run(
        MovaObjective("repaired", diagnose_every=0, pairs=1.0), around("repaired", pair_negatives=2), vectors
    )
    assert 0 < float(parts["pairs"].detach()) < 100
    with pytest.raises(UsageError, match="pair_negatives"):
        run(MovaObjective("repaired", pairs=1.0), around("repaired"), vectors)


@pytest.mark.parametrize("score", ["agg", "mod", "tv-top"])
def test_pair_negatives_use_the_score_of_the_objective(score: Any) -> None:
    """With as many negatives as other rows, all pairs are drawn: both cross-entropies of the whole score matrix."""
    net, vectors, scale = around("repaired", pair_negatives=3), pairs(), 1 / 0.07
    objective = MovaObjective("repaired", diagnose_every=0, pairs=1.0, score=score)
    _, parts = run(objective, net, vectors)
    scores = torch.zeros(4, 4)
    for v in range(4):
        for n in range(4):
            rows = [x[i : i + 1] for x, i in ((vectors.frames, v), (vectors.frame_mask, v), (vectors.tokens, n))]
            masks = net.masks(*rows, vectors.token_mask[n : n + 1], vectors.texts[n : n + 1])
            scores[v, n] = modular_score(masks.frames, masks.text, masks.m_t, masks.m_v, rows[1], score)
    target = torch.arange(4)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(scale * scores, target) + cross_entropy(scale * scores.T, target)) / 2
    torch.testing.assert_close(parts["pairs"], expected)
    others = dict.fromkeys(("relevance", "pooled", "temporal", "same_frame", "different_frame"), 0.0)
    alone = MovaObjective("repaired", **others, pairs=1.0, score=score)
    assert alone.scoring_form == ("modular" if score == "agg" else score)
    torch.testing.assert_close(alone.scores(vectors, net), scores)


@pytest.mark.parametrize(("term", "form"), [("temporal", "tv"), ("different_frame", "mod")])
def test_the_form_of_mask_terms_alone_is_the_mean_over_frames_of_what_they_contrast(term: str, form: Any) -> None:
    weights: Any = dict.fromkeys(("pooled", "temporal", "same_frame", "different_frame"), 0.0) | {term: 1.0}
    objective = MovaObjective("paper", **weights)
    assert objective.scoring_form == form
    net, vectors = around("paper"), pairs()
    masks = net.masks(vectors.frames, vectors.frame_mask, vectors.tokens, vectors.token_mask, vectors.texts)
    own = modular_score(masks.frames, masks.text, masks.m_t, masks.m_v, vectors.frame_mask, form)
    torch.testing.assert_close(objective.scores(vectors, net).diagonal(), own)


@pytest.mark.parametrize(
    ("weights", "trained"),
    [
        ({"same_frame": 0.0, "different_frame": 0.0}, True),
        ({"same_frame": 0.0, "different_frame": 0.0, "pairs": 1.0, "score": "tv"}, True),
        ({"temporal": 0.0, "same_frame": 0.0, "different_frame": 0.0}, False),
    ],
)
def test_sparsity_leaves_a_mask_alone_that_no_loss_trains(weights: dict[str, Any], trained: bool) -> None:
    """No loss trains the concept mask; the temporal mask is trained or not."""
    net, vectors = around("paper", pair_negatives=1), pairs()
    loss, parts = run(MovaObjective("paper", diagnose_every=0, **weights), net, vectors)
    loss.backward()
    masks = net.masks(vectors.frames, vectors.frame_mask, vectors.tokens, vectors.token_mask, vectors.texts)
    assert ("sparsity" in parts) == trained
    if trained:
        torch.testing.assert_close(parts["sparsity"], masks.p_t[vectors.frame_mask].mean())

    def learns(network: Any) -> bool:
        return any(weight.grad is not None and bool(weight.grad.any()) for weight in network.parameters())

    assert not learns(net.concept)
    assert learns(net.temporal) == trained


def test_the_concept_mask_alone_has_no_temporal_mask_to_train() -> None:
    net, vectors = around("paper", masks="concept", concept_inputs="text"), pairs()
    loss, parts = run(MovaObjective("paper", diagnose_every=1, temporal=0.0), net, vectors)
    assert float(parts["m_t/density"]) == 1.0
    masks = net.masks(vectors.frames, vectors.frame_mask, vectors.tokens, vectors.token_mask, vectors.texts)
    torch.testing.assert_close(parts["sparsity"], masks.p_v[vectors.frame_mask].mean())
    inputs = (vectors.frames, vectors.frame_mask, vectors.texts, torch.ones_like(vectors.frames), masks.m_v)
    torch.testing.assert_close(parts["same_frame"], concept_nce(*inputs, 1 / 0.07)[0])
    loss.backward()
    wrong: list[dict[str, Any]] = [{"temporal": 1.0}, {"temporal": 0.0, "score": "tv"}]
    for options in wrong:
        with pytest.raises(UsageError, match="need a temporal mask"):
            run(MovaObjective("paper", **options), net, vectors)


def test_captions_of_one_video_are_not_negatives_of_each_other() -> None:
    vectors = pairs()
    vectors = replace(vectors, group=torch.tensor([0, 0, 1, 2]))
    _, shared = run(MovaObjective("control"), around("control"), vectors)
    vectors = replace(vectors, group=torch.arange(4))
    _, apart = run(MovaObjective("control"), around("control"), vectors)
    assert float(shared["late"].detach()) < float(apart["late"].detach())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "best"}, "preset"),
        ({"temporal_form": "ce"}, "temporal_form"),
        ({"tau": 0.0}, "tau"),
        ({"pooled": -1.0}, "all weights 0 or more"),
        ({"score": "sub"}, "objective.score"),
    ],
)
def test_invalid_settings_are_reported(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MovaObjective(**options)


def test_mask_losses_need_masks_over_dimensions() -> None:
    vectors = pairs()
    with pytest.raises(UsageError, match="masks over dimensions"):
        run(MovaObjective("paper"), around("subsets"), vectors)


@pytest.mark.parametrize("preset", WEIGHTS)
def test_every_preset_trains_from_a_recipe_and_loads_again(
    preset: str, tiny_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        "small",
        seed=3,
        model={"kind": "mova", "preset": preset, "source": str(tiny_clip)},
        data={"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0, "frames": 3, "captions": "paragraph"},
        objective={"kind": "mova", "preset": preset},
        training={
            "max_steps": 2,
            "logging_steps": 1,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "encoder_learning_rate": 1e-5,
            "bf16": False,
            "report_to": [],
            "cache_chunk": 1,
        },
    )
    model = train(recipe, tmp_path / "run")
    again = load(tmp_path / "run", precision="fp32", device="cpu")
    assert isinstance(again, Mova)
    assert again.config.preset == preset
    for (name, weight), reloaded in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(weight, reloaded), name


def test_captions_of_one_video_are_right_in_every_term() -> None:
    """Rows 0 and 2 are two captions of one video: every term has fewer negatives (a hinge is a mean over them)."""
    net, vectors = around("paper"), pairs()
    twins = replace(vectors, group=torch.tensor([0, 1, 0, 3]))
    nce, hinge = MovaObjective("paper", diagnose_every=0), MovaObjective("paper", "hinge", diagnose_every=0)
    apart, together = run(nce, net, vectors)[1], run(nce, net, twins)[1]
    for name in ("pooled", "temporal", "same_frame", "different_frame"):
        assert float(together[name].detach()) < float(apart[name].detach()), name
    assert not torch.equal(run(hinge, net, vectors)[1]["temporal"], run(hinge, net, twins)[1]["temporal"])


def test_negatives_of_the_same_video_are_a_setting() -> None:
    net, vectors = around("paper"), pairs()
    published = run(MovaObjective("paper", diagnose_every=0), net, vectors)[1]
    fewer = run(MovaObjective("paper", diagnose_every=0, temporal_same_video=False), net, vectors)[1]
    more = run(MovaObjective("paper", diagnose_every=0, different_frame_same_video=True), net, vectors)[1]
    assert float(fewer["temporal"].detach()) < float(published["temporal"].detach())
    assert float(more["different_frame"].detach()) > float(published["different_frame"].detach())
    assert torch.equal(more["same_frame"], published["same_frame"])
    hinges = [
        run(MovaObjective("paper", "hinge", diagnose_every=0, temporal_same_video=x), net, vectors)[1] for x in (0, 1)
    ]
    assert float(hinges[0]["temporal"].detach()) < float(hinges[1]["temporal"].detach())
    with pytest.raises(UsageError, match="cosine for temporal_form hinge"):
        MovaObjective("paper", "hinge", energy="distance")


@pytest.mark.parametrize("preset", WEIGHTS)
def test_a_model_keeps_the_scoring_form_that_it_was_trained_by(preset: str, tmp_path: Path) -> None:
    """The scores of the objective on vectors equal those of the evaluation with the saved model's form."""
    objective, net, vectors = MovaObjective(preset), around(preset).eval(), pairs()
    net.scoring_form = objective.scoring_form
    net.save_pretrained(tmp_path)
    model = load(tmp_path)
    forms = {"control": "rule", "subsets": "modular", "paper": "global", "repaired": "relevance"}
    assert model.scoring_form == forms[preset]
    videos = [
        VideoEmbedding(frames[mask].detach(), np.arange(int(mask.sum()), dtype=float), 10.0, step=1.0)
        for frames, mask in zip(vectors.frames, vectors.frame_mask, strict=True)
    ]
    form = ScoringForm(model, model.scoring_form)
    if form.name in ("rule", "modular"):
        encoded = [units[mask].detach() for units, mask in zip(vectors.units, vectors.unit_mask, strict=True)]
        encoded = [encoded] if form.name == "modular" else Captions(encoded, [[] for _ in encoded])
    else:
        encoded = vectors.texts.detach()
    expected = objective.scores(replace(vectors, frames=vectors.frames.detach()), net)
    torch.testing.assert_close(form.score(videos, encoded), expected.detach(), atol=1e-5, rtol=0)
