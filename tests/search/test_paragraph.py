"""Passages: sentences of a paragraph that follow each other in a video, with their times."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mova.search import paragraph
from mova.search.index import Index
from mova.types import Moment, MomentSentence
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]
STORY = "It turns red. Then it is blue. Finally all is green."


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("passages")
    films = {
        "story": [("white", 2), ("red", 2), ("black", 3), ("blue", 2), ("black", 2), ("green", 2), ("white", 1)],
        "back": [("green", 2), ("black", 3), ("blue", 2), ("black", 2), ("red", 2)],
        "part": [("black", 2), ("blue", 2), ("white", 3), ("cyan", 2)],
    }
    for name, parts in films.items():
        write_colours(folder / "v" / f"{name}.mp4", parts)
    made = Index(folder / "index", ColourEncoder())
    made.add([folder / "v"])
    return made


def name(moment: Moment) -> str:
    return Path(moment.video).stem


def test_a_passage_is_from_the_first_sentence_to_the_last_with_the_time_of_each(index: Index) -> None:
    best = index.search(STORY, k=5)[0]
    assert (name(best), best.start, best.end) == ("story", 2.0, 13.0)
    assert [(row.text, row.start, row.end) for row in best.sentences] == [
        ("It turns red.", 2.0, 4.0),
        ("Then it is blue.", 7.0, 9.0),
        ("Finally all is green.", 11.0, 13.0),
    ]
    assert all(row.posterior > 0.5 for row in best.sentences)
    stored = index.stored(best.video)
    assert stored is not None
    vectors = index.model.encode_text(["red", "blue", "green"]).pooled.numpy()
    inside = (stored.times >= best.start) & (stored.times < best.end)
    cosines = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ stored.frames.numpy()[inside].T
    assert best.score == pytest.approx(cosines.max(axis=1).mean(), abs=2e-3)


def test_a_passage_replaces_the_moments_inside_and_no_others(index: Index) -> None:
    moments = index.search(STORY, k=10)
    assert sum(name(moment) == "story" for moment in moments) == 1
    assert all(not moment.sentences for moment in moments if name(moment) == "part"), "one sentence is no passage"
    assert all(a.score >= b.score - 1e-9 for a, b in pairwise(moments))


def test_sentences_out_of_order_stay_moments_of_their_own(index: Index) -> None:
    whole = [moment for moment in index.search(STORY, k=10) if name(moment) == "back"]
    assert all(len(moment.sentences) < 3 for moment in whole)


def test_long_gaps_separate_passages(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped = paragraph.group_placed
    monkeypatch.setattr(paragraph, "group_placed", lambda placed: grouped(placed, gap=2.5))
    moments = [moment for moment in index.search(STORY, k=10) if name(moment) == "story"]
    assert [(m.start, m.end, len(m.sentences)) for m in moments] == [(7.0, 13.0, 2), (2.0, 4.0, 0)]


def test_one_sentence_and_windows_of_words_have_no_passages(index: Index) -> None:
    assert all(not moment.sentences for moment in index.search("It turns red.", k=5))
    words = "it turns red and then it is blue and after that finally all is green again"
    assert all(not moment.sentences for moment in index.search(words, k=5))


def test_relevance_that_finds_no_moments_makes_no_passages(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the order alone would place the sentences, and the passage would be the whole video."""
    monkeypatch.setattr(paragraph, "moment_strength", lambda *_: 0.2)
    assert all(not moment.sentences for moment in index.search(STORY, k=5))


def test_only_the_best_videos_are_aligned(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraph, "MOST_VIDEOS", 0)
    assert all(not moment.sentences for moment in index.search(STORY, k=5))


def test_the_document_and_the_table_have_the_sentences() -> None:
    sentences = (MomentSentence("It turns red.", 2.00049, 4.0, 0.98765432),)
    assert Moment("v.mp4", 2.0, 13.0, 0.9, sentences).to_json()["sentences"] == [
        {"text": "It turns red.", "start": 2.0, "end": 4.0, "posterior": 0.987654}
    ]
    assert "sentences" not in Moment("v.mp4", 2.0, 13.0, 0.9).to_json()


def test_without_order_there_are_no_passages(index: Index) -> None:
    assert all(not moment.sentences for moment in index.search(STORY, k=10, order="no"))


def test_the_command_prints_the_sentences(tmp_path: Path, call: Call) -> None:
    call("data", "worlds", tmp_path / "films", "--videos", 1, "--seconds", 40, "--seed", 3)
    folder = tmp_path / "index"
    assert call("index", tmp_path / "films", "--index", folder, "--model", "mova-worlds-tiny")[0] == 0
    row = json.loads((tmp_path / "films" / "manifest.jsonl").read_text().splitlines()[0])
    text = " ".join(sentence["text"] for sentence in row["captions"][0]["sentences"])
    code, out, _ = call("search", text, "--index", folder, "-k", 1, "--json")
    (found,) = json.loads(out)["results"]
    assert (code, len(found["sentences"])) == (0, len(row["captions"][0]["sentences"]))
    assert found["start"] == found["sentences"][0]["start"]
    _, table, _ = call("search", text, "--index", folder, "-k", 1)
    assert found["sentences"][0]["text"][:20] in table
    _, out, _ = call("search", text, "--index", folder, "--order", "no", "--json")
    assert all("sentences" not in moment for moment in json.loads(out)["results"])
