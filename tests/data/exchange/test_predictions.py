"""Predictions in the files of QVHighlights and ActivityNet: their keys, and that they are read back and measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.data.exchange.predictions import Prediction, of_moments, of_timeline, write_predictions
from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.errors import UsageError
from mova.eval.moment_files import read_moments
from mova.types import Moment, ScoredSpan, SentenceTimeline, Span, Timeline

Call = Callable[..., tuple[int, str, str]]


def test_a_timeline_gives_one_query_per_sentence_best_window_first(tmp_path: Path) -> None:
    spans = (ScoredSpan(Span(1.0, 2.0), 0.9, 0.3), ScoredSpan(Span(5.0, 8.25), 0.5, 0.8))
    curve = np.zeros(10, np.float32)
    rows = (SentenceTimeline("A dog.", curve, spans), SentenceTimeline("A cat.", curve, ()))
    found = of_timeline(Timeline("films/v_abc.mp4", 10.0, np.arange(10.0), rows, ()))
    lines = write_predictions(found, tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "qid": 1,
        "query": "A dog.",
        "vid": "v_abc",
        "pred_relevant_windows": [[5.0, 8.25, 0.8], [1.0, 2.0, 0.3]],
    }
    assert json.loads(lines[1])["pred_relevant_windows"] == []
    document = json.loads(write_predictions(found, tmp_path / "p.json").read_text(encoding="utf-8"))
    assert set(document) == {"version", "results", "external_data"}
    assert document["results"]["v_abc"][0] == {
        "sentence": "A dog.",
        "timestamp": [5.0, 8.25],
        "label": "A dog.",
        "segment": [5.0, 8.25],
        "score": 0.8,
    }


def test_moments_are_grouped_by_video() -> None:
    moments = [Moment("a.mp4", 1, 2, 0.9), Moment("b.mp4", 0, 1, 0.8), Moment("a.mp4", 5, 6, 0.7)]
    assert [(p.vid, len(p.windows)) for p in of_moments("a dog", moments)] == [("a", 2), ("b", 1)]
    assert of_moments("a dog", []) == []


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in .jsonl \(QVHighlights\) or .json \(ActivityNet\)"):
        write_predictions([], tmp_path / "p.csv")
    assert Prediction("a/0", "x", "v.mp4", ()).to_line()["qid"] == "a/0"


def truth_file(manifest: Path, path: Path) -> Path:
    """Write the sentences of the split "test" with their windows as QVHighlights annotates them."""
    lines = []
    for row in read_manifest(manifest):
        for c, caption in enumerate(row.captions):
            for s, sentence in enumerate(caption.sentences):
                if row.split == "test" and sentence.start is not None:
                    windows = [[sentence.start, sentence.end]]
                    lines.append({"qid": f"{row.id}/{c}/{s}", "query": sentence.text, "relevant_windows": windows})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plain_manifest(worlds_manifest: Path) -> Path:
    """Two sentences with one window each."""
    rows = [row for row in read_manifest(worlds_manifest) if row.split == "test"]
    captions = (Caption("A. B.", (TimedSentence("A red ball.", 1.0, 4.0), TimedSentence("A blue star.", 3.0, 9.0))),)
    plain = [Row(row.id, row.video, row.duration, "test", captions) for row in rows]
    return write_manifest(worlds_manifest.parent / "plain.jsonl", plain)


@pytest.mark.parametrize("paragraph", [[], ["--paragraph"]], ids=str)
def test_what_eval_writes_measures_the_same(
    call: Call, plain_manifest: Path, tmp_path: Path, paragraph: list[str]
) -> None:
    path = tmp_path / "p.jsonl"
    words = ["--manifest", plain_manifest, "--model", "mova-worlds-tiny", "--predictions", path, "--json"]
    code, out, err = call("eval", "moments", *words, *paragraph)
    assert code == 0, err
    report = json.loads(out)
    scores = read_moments(path, truth_file(plain_manifest, tmp_path / "truth.jsonl"))
    assert len(scores.predictions) == report["queries"] == 4
    code, again, err = call(
        "eval", "matrix", path, "--protocol", "moments", "--truth", tmp_path / "truth.jsonl", "--json"
    )
    assert code == 0, err
    assert json.loads(again)["figures"]["moments"] == pytest.approx(report["figures"]["moments"], abs=0.01)


def test_align_and_search_write_predictions(call: Call, plain_manifest: Path, tmp_path: Path) -> None:
    folder = plain_manifest.parent
    videos = sorted(folder.glob("*.mp4"))[:2]
    text = "A red ball moves. A blue star turns."
    code, _, err = call(
        "align", *videos, "--text", text, "--model", "mova-worlds-tiny", "--predictions", tmp_path / "a.jsonl"
    )
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["qid"], line["vid"]) for line in lines] == [
        (number, videos[(number - 1) // 2].stem) for number in (1, 2, 3, 4)
    ]
    index = tmp_path / "films.mova"
    assert call("index", *videos, "--index", index, "--model", "mova-worlds-tiny")[0] == 0
    code, out, err = call("search", "a red ball", "--index", index, "--json", "--predictions", tmp_path / "s.json")
    assert code == 0, err
    document = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    best = json.loads(out)["results"][0]
    entry = document["results"][Path(best["video"]).stem][0]
    assert (entry["sentence"], entry["segment"], entry["score"]) == (
        "a red ball",
        [best["start"], best["end"]],
        best["score"],
    )
    code, _, err = call("search", "a red ball", "--index", index, "--predictions", tmp_path / "s.csv")
    assert (code, "must end in .jsonl" in err) == (2, True)
