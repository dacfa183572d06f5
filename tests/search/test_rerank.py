"""Moments scored again by the rule or by masks."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from mova.errors import UsageError
from mova.models.encoder import VideoEmbedding
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.masked import ModularScore
from mova.search.index import Index
from mova.search.query import Masked, Query
from mova.search.rerank import rescore
from tests.support.fakes import ColourEncoder, write_colours

RED_FIRST, CYAN_FIRST = "It is red. It is cyan.", "It is cyan. It is red."


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("rescore")
    write_colours(folder / "v" / "a.mp4", [("cyan", 2), ("red", 2)])
    write_colours(folder / "v" / "b.mp4", [("red", 2), ("cyan", 2)])
    index = Index(folder / "index", ColourEncoder())
    index.add([folder / "v"])
    return index


def first(index: Index, text: str, **options: str) -> str:
    return Path(index.search(text, k=1, **options)[0].video).stem  # type: ignore[arg-type]


def test_a_paragraph_ranks_the_moment_in_its_order_first(colours: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first(colours, RED_FIRST) == first(colours, CYAN_FIRST) == "a", "a tie by path, without an order term"
    monkeypatch.setattr(colours.model, "rule", EvidenceRule(beta=0.25))
    assert (first(colours, RED_FIRST), first(colours, CYAN_FIRST)) == ("b", "a")
    assert first(colours, RED_FIRST, rescore="none") == "a"


def test_scores_are_the_rule_over_the_frames_inside(colours: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours.model, "rule", EvidenceRule(g=0.5, theta=0.1, beta=0.25))
    plain = colours.search(RED_FIRST, k=5, rescore="none")
    again = rescore(colours._store, colours.model, Query.prepare(colours.model, RED_FIRST, "rule"), plain)
    assert {(m.video, m.start, m.end) for m in again} == {(m.video, m.start, m.end) for m in plain}
    for moment in again:
        video = colours.stored(moment.video)
        assert video is not None
        inside = torch.from_numpy((video.times >= moment.start) & (video.times < moment.end))
        part = VideoEmbedding(video.frames[inside], video.times[inside.numpy()], moment.end)
        assert moment.score == pytest.approx(float(colours.model.score([part], RED_FIRST)), abs=1e-5)
    assert [m.score for m in again] == sorted((m.score for m in again), reverse=True)


def test_auto_rescores_paragraphs_if_the_rule_has_an_order_term(
    colours: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Query.prepare(colours.model, RED_FIRST).rescoring == "none"
    monkeypatch.setattr(colours.model, "rule", EvidenceRule(beta=0.25))
    query = Query.prepare(colours.model, RED_FIRST)
    assert (query.rescoring, query.sentences) == ("rule", ("It is red.", "It is cyan."))
    assert query.vectors.shape == (2, colours.model.embedding_dim)
    assert Query.prepare(colours.model, "It is red.").rescoring == "none"
    assert Query.prepare(colours.model, RED_FIRST, "none").rescoring == "none"


def test_the_score_of_one_sentence_is_a_cosine(colours: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = colours.search("It is red.", k=3)
    monkeypatch.setattr(colours.model, "rule", EvidenceRule(beta=0.25))
    assert colours.search("It is red.", k=3) == plain


@pytest.mark.parametrize(
    ("preset", "names"), [("subsets", ["masks"]), ("paper", ["masks", "mod", "tv", "mod-top", "tv-relevance"])]
)
def test_masks_are_those_of_a_mova(preset: str, names: list[str], tmp_path: Path) -> None:
    config = WorldsTinyConfig(
        vocabulary=["<pad>", "<unk>", "it", "is", "red", "cyan"], factors={"colour": 2}, image_size=32,
        stem=[8, 8, 8, 8], hidden_size=16, frame_layers=1, text_layers=1, heads=2, embedding_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Mova.from_backbone(WorldsTiny(config), preset, heads=2).eval()
    write_colours(tmp_path / "v" / "a.mp4", [("cyan", 2), ("red", 2)])
    index = Index(tmp_path / "index", model)
    index.add([tmp_path / "v"])
    for name in names:
        moments = index.search(RED_FIRST, k=2, rescore=name)  # type: ignore[arg-type]
        assert moments
        video = index.stored(moments[0].video)
        assert video is not None
        inside = (video.times >= moments[0].start) & (video.times < moments[0].end)
        part = VideoEmbedding(video.frames[torch.from_numpy(inside)], video.times[inside], moments[0].end)
        score = model.modular_similarity([part], RED_FIRST, None if name == "masks" else name)  # type: ignore[arg-type]
        assert moments[0].score == pytest.approx(float(score), abs=1e-5)
    if preset == "subsets":
        with pytest.raises(UsageError, match="has no masks for --rescore mod; use --rescore masks"):
            index.search(RED_FIRST, rescore="mod")


def test_every_modular_score_can_be_asked_for() -> None:
    assert {*get_args(Masked), "agg"} == {*get_args(ModularScore), "masks"}


def test_masks_of_a_model_without_them_and_unknown_names_are_refused(colours: Index) -> None:
    with pytest.raises(UsageError, match="no frame masks"):
        colours.search(RED_FIRST, rescore="masks")
    with pytest.raises(UsageError, match="'best' is unknown"):
        colours.search(RED_FIRST, rescore="best")  # type: ignore[arg-type]
