"""`mova score` with both kinds of model: sentences, files of pairs, what is broken, and going on after a stop."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.data.manifest import read_manifest
from mova.data.pair_list import VideoText, read_pairs
from mova.errors import DataError, UsageError
from mova.models.video_llm.model import VideoLLM
from mova.search.score import (
    EntailmentScorer,
    SimilarityScorer,
    load_scorer,
    score_caption,
    score_embedding,
    score_pairs,
)
from tests.support.fakes import ColourEncoder, write_colours
from tests.support.tiny_videollms import build

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films, one file that is none, and a checkpoint."""
    root = tmp_path_factory.mktemp("scoring")
    write_colours(root / "one.mp4", [("red", 1.0), ("blue", 1.0)])
    write_colours(root / "two.mp4", [("green", 2.0)])
    (root / "broken.mp4").write_bytes(b"no video")
    build("internvl", root / "llm")
    return root


@pytest.fixture(scope="module")
def llm(folder: Path) -> VideoLLM:
    return VideoLLM.from_pretrained(folder / "llm", precision="fp32", device="cpu", max_frames=2)


def write_pairs(folder: Path, name: str, rows: list[tuple[str, str]], columns: tuple[str, str]) -> Path:
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder / name


ROWS = [
    ("one.mp4", "red then blue"),
    ("two.mp4", "a dog"),
    ("one.mp4", "a dog"),
    ("broken.mp4", "x"),
    ("two.mp4", "<s>"),
]


def test_a_text_is_scored_per_sentence_and_in_full(folder: Path, llm: VideoLLM, call: Call) -> None:
    text = "A red wall. Then a blue one."
    words = ("score", folder / "one.mp4", text, "--model", folder / "llm", "--max-frames", 2, "--precision", "fp32")
    code, out, _ = call(*words, "--device", "cpu", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["probability"] is True
    expected = llm.scores(folder / "one.mp4", ["A red wall.", "Then a blue one.", text]).tolist()
    assert [row["text"] for row in document["sentences"]] == ["A red wall.", "Then a blue one."]
    assert [row["score"] for row in document["sentences"]] == pytest.approx(expected[:2], abs=2e-6)
    assert document["score"] == pytest.approx(expected[2], abs=2e-6)
    _, table, _ = call(*words)
    assert "P(yes)" in table
    single, total = EntailmentScorer(llm).score_text(folder / "one.mp4", "A red wall.")
    assert (total, single[0].shown, single[0].absent) == (single[0].score, None, False)


def test_a_two_tower_model_gives_similarities(folder: Path, call: Call) -> None:
    model = ColourEncoder()
    scorer = SimilarityScorer(model)
    assert scorer.score_text(folder / "one.mp4", "Red. Blue.") == score_caption(model, folder / "one.mp4", "Red. Blue.")
    scores = scorer.score_texts(folder / "one.mp4", ["red", "blue"], 0.0, 0.9)
    assert scores[0] > 0.9 > scores[1]
    assert scorer.score_texts(folder / "one.mp4", ["blue"]) == [
        pytest.approx(scorer.score_text(folder / "one.mp4", "blue")[1])
    ]
    code, out, _ = call("score", folder / "one.mp4", "red", "--model", "mova-worlds-tiny", "--json")
    assert (code, json.loads(out)["probability"]) == (0, False)
    assert not load_scorer("mova-worlds-tiny").probability
    _, table, _ = call("score", folder / "one.mp4", "red", "--model", "mova-worlds-tiny")
    assert {"similarity", "shown"} <= set(table.split())
    with pytest.raises(UsageError, match="max_frames is for video LLMs only"):
        load_scorer("mova-worlds-tiny", max_frames=3)


def test_sentences_that_are_not_in_the_video_are_reported(folder: Path) -> None:
    """The probability is that of `model.align`: one decision for all sentences."""
    model = ColourEncoder(rate=8.0)
    video = model.encode_video(folder / "one.mp4")
    scores, _ = score_embedding(model, video, "Red. Green. Blue.")
    timeline = model.align(video, "Red. Green. Blue.")
    assert [row.shown for row in scores] == [row.shown for row in timeline.sentences]
    assert [row.absent for row in scores] == [False, True, False]
    assert [row.score for row in scores] == [float(row.relevance.max()) for row in timeline.sentences]


def test_pairs_share_passes_and_report_what_failed(folder: Path, llm: VideoLLM) -> None:
    path = write_pairs(folder, "pairs.csv", ROWS, ("videopath", "caption"))
    passes = []
    scorer = EntailmentScorer(llm)
    plain = scorer.score_texts
    scorer.score_texts = lambda *args: passes.append(args[0]) or plain(*args)  # type: ignore[method-assign,func-returns-value]
    report = score_pairs(scorer, read_pairs(path))
    assert [(row["video"], row["text"]) for row in report.rows] == ROWS[:3]
    expected = [float(llm.scores(folder / video, [text])) for video, text in ROWS[:3]]
    assert [row["score"] for row in report.rows] == pytest.approx(expected, abs=1e-6)
    assert [video for video, _ in report.broken] == ["broken.mp4"]
    assert [text for text, _ in report.refused] == ["<s>"]
    assert passes.count(folder / "one.mp4") == 1


def test_resuming_after_a_stop(folder: Path, llm: VideoLLM, tmp_path: Path) -> None:
    pairs = [VideoText(v, folder / v, t) for v, t in ROWS[:3]]
    out = tmp_path / "scores.jsonl"
    expected = score_pairs(EntailmentScorer(llm), pairs, out=out)
    lines = out.read_text().splitlines()
    assert len(lines) == 3
    out.write_text(lines[0] + "\n" + lines[1][:20])
    again = score_pairs(EntailmentScorer(llm), pairs, out=out)
    assert again.resumed == 1
    assert [row["score"] for row in again.rows] == pytest.approx([row["score"] for row in expected.rows], abs=1e-6)
    assert len(out.read_text().splitlines()) == 3
    with pytest.raises(UsageError, match="another model"):
        score_pairs(SimilarityScorer(ColourEncoder()), pairs, out=out)
    for other in (
        b"{}\n",
        b"{}",
        b"my notes",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b'{"video": 1}\nnotes without an end',
    ):
        out.write_bytes(other)
        with pytest.raises(UsageError, match="was not written by"):
            score_pairs(EntailmentScorer(llm), pairs, out=out)
        assert out.read_bytes() == other, "a file of someone else must stay as it is"


def test_resuming_with_texts_that_contain_other_line_ends(folder: Path, llm: VideoLLM, tmp_path: Path) -> None:
    """JSON leaves U+2028 and U+0085 as they are, and Python ends lines at them too."""
    pairs = [VideoText("one.mp4", folder / "one.mp4", text) for text in ("a red\u2028wall", "a blue\x85wall")]
    out = tmp_path / "scores.jsonl"
    expected = score_pairs(EntailmentScorer(llm), pairs, out=out)
    again = score_pairs(EntailmentScorer(llm), pairs, out=out)
    assert again.resumed == 2
    assert again.rows == expected.rows


def test_the_command_reads_every_form_of_file(folder: Path, tmp_path: Path, call: Call) -> None:
    options = ("--model", folder / "llm", "--max-frames", 2, "--precision", "fp32", "--device", "cpu")
    path = write_pairs(tmp_path, "p.csv", ROWS[:4], ("video", "text"))
    code, out, err = call(
        "score", "--pairs", path, "--videos", folder, *options, "--out", tmp_path / "o.jsonl", "--json"
    )
    document = json.loads(out)
    assert code == 0
    assert (document["pairs"], document["scored"], document["broken"][0]["video"]) == (4, 3, "broken.mp4")
    assert "broken.mp4" in err
    code, table, _ = call("score", "--pairs", path, "--videos", folder, *options)
    assert "3 of 4 pairs scored" in table
    bad = write_pairs(tmp_path, "bad.csv", ROWS[3:4], ("video", "text"))
    assert call("score", "--pairs", bad, "--videos", folder, *options)[0] == 1
    code, _, err = call("score", folder / "one.mp4", "--model", "mova-worlds-tiny")
    assert code == 2
    assert "--pairs" in err
    assert call("score", folder / "one.mp4", "x", "--pairs", path)[0] == 2
    assert call("score", folder / "one.mp4", "x", "--out", path)[0] == 2
    assert call("score", "--pairs", path, "--out", tmp_path / "none" / "o", *options)[0] == 2


def test_pairs_are_read_strictly(tmp_path: Path) -> None:
    prompted = (
        'The following is a talk.\nHuman: <|video|>\nHuman: Does this video entail the description: "A dog"?\nAI: '
    )
    path = write_pairs(tmp_path, "v.csv", [("a.avi", prompted), ("a.avi", "A dog")], ("videopath", "caption"))
    assert read_pairs(path) == [VideoText("a.avi", tmp_path / "a.avi", "A dog")]
    lines = tmp_path / "l.jsonl"
    lines.write_text('{"video": "a.mp4", "text": "x", "start": 1, "end": 2.5}\n')
    (tmp_path / "v").mkdir()
    assert read_pairs(lines, tmp_path / "v") == [VideoText("a.mp4", tmp_path / "v" / "a.mp4", "x", 1.0, 2.5)]
    with pytest.raises(UsageError, match="typo: no such folder of videos"):
        read_pairs(lines, tmp_path / "typo")
    for content, message in (
        ('{"video": "a.mp4"}\n', "'text' or 'caption'"),
        ('{"video": "a.mp4", "text": " "}\n', "expected a non-empty text"),
        ('{"video": "a.mp4", "text": "x", "start": 3, "end": 2}\n', "0 <= start < end"),
        ("[1]\n", "an object"),
        ("", "no pairs"),
    ):
        lines.write_text(content)
        with pytest.raises(DataError, match=message):
            read_pairs(lines)
    with pytest.raises(UsageError, match="no such file"):
        read_pairs(tmp_path / "none.csv")
    shutil.copy(path, tmp_path / "v.txt")
    with pytest.raises(UsageError, match=r"a \.csv or \.jsonl file"):
        read_pairs(tmp_path / "v.txt")


def test_a_manifest_is_a_file_of_pairs(worlds_manifest: Path) -> None:
    pairs = read_pairs(worlds_manifest)
    assert len(pairs) == sum(len(row.captions) for row in read_manifest(worlds_manifest))
    assert all(pair.path.is_file() for pair in pairs)


def test_the_original_videocon_file_is_read_unchanged(shared_data: Path) -> None:
    pairs = read_pairs(shared_data / "annotations" / "videocon" / "eval_ssv2_temporal.csv")
    assert len(pairs) == 3888
    assert pairs[0].text == "Covering [something] with [something]"
    assert not any("Human:" in pair.text for pair in pairs)


def test_an_error_of_one_video_does_not_end_the_pairs(tmp_path: Path) -> None:
    class Failing(SimilarityScorer):
        def __init__(self) -> None:
            self.name = "failing"

        def fingerprint(self) -> str:
            return "0" * 16

        def score_texts(self, video: str | Path, texts: object, start: float = 0.0, end: float | None = None):
            if Path(video).stem == "a":
                raise MemoryError
            if Path(video).stem == "b":
                raise OSError(5, "Input/output error")
            return [0.5]

    pairs = [VideoText(f"{name}.mp4", tmp_path / f"{name}.mp4", "A dog") for name in "abc"]
    report = score_pairs(Failing(), pairs)
    assert [row["video"] for row in report.rows] == ["c.mp4"]
    assert [video for video, _ in report.broken] == ["a.mp4", "b.mp4"]


def test_a_score_that_is_not_finite_is_reported_and_not_written(folder: Path, tmp_path: Path) -> None:
    class Unstable(SimilarityScorer):
        def score_texts(self, video, texts, start=0.0, end=None):  # type: ignore[no-untyped-def]
            return [float("nan") if text == "bad" else 0.5 for text in texts]

    pairs = [VideoText("one.mp4", folder / "one.mp4", text) for text in ("good", "bad")]
    report = score_pairs(Unstable(ColourEncoder()), pairs, out=tmp_path / "scores.jsonl")
    assert [row["text"] for row in report.rows] == ["good"]
    assert report.refused == [("bad", "its score is not finite")]
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 1
