"""Retrieval with a model: ranks against a written-out matrix, caption modes, who is left out, transductive rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mova.data.manifest import Caption, Row, TimedSentence, fingerprint
from mova.errors import DataError, UsageError
from mova.eval import score_reports
from mova.eval.protocols import Protocol, find_protocol
from mova.eval.tasks import score_table
from mova.eval.tasks.retrieval import evaluate_retrieval, texts_of
from tests.support.known import Clips, KnownEncoder, cosines, drawn, known_split, pooled, row

ROWS = [row(f"v{i}", f"text {i}") for i in range(40)]


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scores are kept while they are computed."""
    if request.param == "file":
        monkeypatch.setattr(score_table, "IN_MEMORY", 0)
        monkeypatch.setattr(score_reports, "_BLOCK", 100)


def truth(rows: list[Row]) -> np.ndarray:
    """Scores (texts, videos) of the global form, float64."""
    texts = torch.cat([drawn(caption.text) for r in rows for caption in r.captions])
    return cosines(texts, torch.stack([pooled(drawn(r.video, 5)) for r in rows]))


def test_metrics_equal_those_of_the_full_matrix(place: None, tmp_path: Path) -> None:
    report = evaluate_retrieval(known_split(ROWS), find_protocol("pairs"), scores_file=tmp_path / "s.npy").to_json()
    scores = truth(ROWS)
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), scores, atol=1e-6)
    for direction, matrix in (("t2v", scores), ("v2t", scores.T)):
        ranks = 1 + (matrix > np.diag(matrix)[:, None]).sum(axis=1)
        assert report[direction]["R@5"] == pytest.approx(100 * (ranks <= 5).mean())
        assert report[direction]["MnR"] == pytest.approx(ranks.mean())
        assert report[direction]["MdR"] == np.median(ranks)
    assert report["fingerprint"] == fingerprint(ROWS)
    assert report["model"] == {"name": "known", "fingerprint": "known"}
    assert report["settings"]["form"] == "global"
    assert "transductive" not in report


def test_broken_videos_and_rows_without_captions_are_named_and_change_the_test(place: None) -> None:
    rows = [*ROWS, row("mute")]
    test = known_split(rows, clips=Clips(broken=["v3.mp4", "v7.mp4"]))
    report = evaluate_retrieval(test, find_protocol("pairs")).to_json()
    remaining = [r for r in ROWS if r.id not in ("v3", "v7")]
    expected = evaluate_retrieval(known_split(remaining), find_protocol("pairs")).to_json()
    assert report["t2v"] == expected["t2v"]
    assert report["fingerprint"] == expected["fingerprint"] != fingerprint(ROWS)
    assert [entry["id"] for entry in report["excluded"]] == ["mute", "v3", "v7"]
    assert report["excluded"][1] == {"id": "v3", "video": "v3.mp4", "cause": "it is not there"}
    sized = Protocol("forty", "forty pairs", "retrieval", "one", "one", 40, 40)
    assert evaluate_retrieval(known_split(ROWS), sized).to_json()["protocol"] == "forty"
    part = evaluate_retrieval(known_split(ROWS, clips=Clips(broken=["v3.mp4"])), sized).to_json()
    assert part["protocol"] == "forty-incomplete"
    with pytest.raises(DataError, match=r"none of the 40 rows.*it is not there"):
        evaluate_retrieval(known_split(ROWS, clips=Clips(broken=[r.video for r in ROWS])), sized)


def test_a_wrong_size_is_refused_before_anything_is_encoded() -> None:
    clips = Clips()
    with pytest.raises(UsageError, match="40 texts instead of 1000"):
        evaluate_retrieval(known_split(ROWS, clips=clips), find_protocol("msrvtt-1ka"))
    assert clips.asked == []


def test_each_caption_of_a_video_is_one_query(place: None) -> None:
    rows = [row(f"v{i}", *(f"text {i} {k}" for k in range(3))) for i in range(12)]
    report = evaluate_retrieval(known_split(rows), find_protocol("captions")).to_json()
    scores, owners = truth(rows), np.repeat(np.arange(12), 3)
    ranks = 1 + (scores > scores[np.arange(36), owners][:, None]).sum(axis=1)
    assert report["queries"] == 36
    assert report["t2v"]["R@1"] == pytest.approx(100 * (ranks == 1).mean())
    best = np.array([scores[owners == v, v].max() for v in range(12)])
    back = 1 + np.array([(scores[owners != v, v] > best[v]).sum() for v in range(12)])
    assert report["v2t"]["MnR"] == pytest.approx(back.mean())
    assert set(report["conventions"]) == {"any-caption", "max-over-captions"}
    highest = replace(find_protocol("msvd"), videos=None)
    (transductive,) = (
        evaluate_retrieval(known_split(rows), highest, dual_softmax=True).to_json()["transductive"].values()
    )
    prior = np.exp(100 * (scores - scores.max(axis=1, keepdims=True)))
    scaled = scores * prior / prior.sum(axis=1, keepdims=True)
    among = np.array([[scaled[owners == owner, v].max() for owner in range(12)] for v in range(12)])
    assert transductive["v2t"]["MnR"] == pytest.approx((1 + (among > np.diag(among)[:, None]).sum(axis=1)).mean())


def test_caption_modes_by_name() -> None:
    sentences = (TimedSentence("One."), TimedSentence("Two."))
    several = Row(
        "a",
        "a.mp4",
        None,
        "test",
        (Caption("Short."), Caption("One. Two.", sentences), Caption("Three. Four.", sentences)),
    )
    assert texts_of([several], "paragraph") == (["a"], ["One. Two."])
    assert texts_of([several], "first") == (["a"], ["Short."])
    assert texts_of([several], "each")[1] == ["Short.", "One. Two.", "Three. Four."]
    assert texts_of([row("b", "Only.")], "paragraph") == (["b"], ["Only."])
    with pytest.raises(UsageError, match="'a' has 3 captions"):
        texts_of([several], "one")
    with pytest.raises(UsageError, match="'b' has 2 captions"):
        texts_of([row("b", "One.", "Two.")], "paragraph")


def test_transductive_metrics_are_separate_and_the_bank_contains_no_test_text() -> None:
    training = [row(f"t{i}", f"train {i}", split="train") for i in range(9)] + [row("same", "text 4", split="train")]
    model = KnownEncoder()
    test = known_split([*ROWS, *training], model=model)
    report = evaluate_retrieval(test, find_protocol("pairs"), dual_softmax=True, bank="train").to_json()
    plain = evaluate_retrieval(known_split(ROWS), find_protocol("pairs")).to_json()
    assert report["t2v"] == plain["t2v"]
    assert report["fingerprint"] == plain["fingerprint"]
    names = list(report["transductive"])
    assert len(names) == 2
    bank = report["transductive"][next(name for name in names if "QB" in name)]["bank"]
    assert (bank["texts"], bank["left_out"], bank["split"]) == (9, 1, "train")
    assert sorted(model.encoded) == sorted([f"text {i}" for i in range(40)] + [f"train {i}" for i in range(9)])
    with pytest.raises(UsageError, match="not the split that is evaluated"):
        evaluate_retrieval(known_split(ROWS), find_protocol("pairs"), bank="test")
    same = [row("same", "text 4", split="train")]
    with pytest.raises(UsageError, match="all 1 texts of that split"):
        evaluate_retrieval(known_split([*ROWS, *same]), find_protocol("pairs"), bank="train")
    with pytest.raises(UsageError, match="no row of that split"):
        evaluate_retrieval(known_split(ROWS), find_protocol("pairs"), bank="train")


def test_a_constant_model_is_at_chance() -> None:
    model = KnownEncoder({r.captions[0].text: [1.0] + [0.0] * 15 for r in ROWS})
    report = evaluate_retrieval(
        known_split(ROWS, model=model, clips=Clips({r.video: [[1.0] * 16] for r in ROWS})), find_protocol("pairs")
    ).to_json()
    assert report["t2v"]["R@1"] == pytest.approx(100 / 40)
    assert report["ties"] == {"t2v": 40, "v2t": 40}


def test_nan_is_refused_with_the_row() -> None:
    model = KnownEncoder({"text 5": [float("nan")] * 16})
    with pytest.raises(ValueError, match="'v5' contain NaN"):
        evaluate_retrieval(known_split(ROWS, model=model), find_protocol("pairs"))


def test_scores_without_room_on_disk_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(score_table, "IN_MEMORY", 0)
    monkeypatch.setattr(score_table.os, "posix_fallocate", full, raising=False)
    with pytest.raises(UsageError, match=r"0\.0 GB.*No space left on device.*TMPDIR"):
        score_table.ScoreTable(3, 2)


@pytest.mark.parametrize("limit", [0, 1 << 28])
def test_a_table_keeps_some_texts_and_videos(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_table, "IN_MEMORY", limit)
    scores = np.random.default_rng(0).random((7, 5)).astype(np.float32)
    for texts, videos in (([0, 2, 6], [1, 2, 4]), (range(7), [0, 4]), ([3], range(5)), (range(7), range(5)), ([], [])):
        table = score_table.ScoreTable(7, 5)
        assert np.isnan(score_table.ScoreTable(7, 5).keep(range(7), range(5))).all()
        for video in range(5):
            table.set(video, scores[:, video])
        np.testing.assert_array_equal(table.keep(texts, videos), scores[np.ix_(list(texts), list(videos))])
