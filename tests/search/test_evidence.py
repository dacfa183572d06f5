"""Whether an index shows a text at all: rates, words, and the file that keeps what they are computed from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.scoring.false_alarm import FalseAlarms
from mova.search import evidence
from mova.search.evidence import NAME, Answer, Background, judge, measure
from mova.search.index import Index
from mova.search.query import document
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Moment
from tests.support.known import WIDTH, KnownEncoder, drawn

SENTENCES = tuple(f"background {number}" for number in range(60))
RATE = 2.0


class Described(KnownEncoder):
    """Known vectors, with a background of random ones."""

    background = SENTENCES


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def put(store: Store, content: str, vectors: np.ndarray) -> None:
    store.append([content], [StoredFrames(np.arange(len(vectors)) / RATE, vectors)])
    store.commit([VideoRecord(f"/{content}", content, 1, 1, len(vectors) / RATE, len(vectors), vectors.mean(axis=0))])


@pytest.fixture
def index(tmp_path: Path) -> Index:
    model = Described()
    store = Store(tmp_path / "index")
    store.create(Meta(model.name, model.fingerprint(), WIDTH, RATE))
    rng = np.random.default_rng(0)
    for number in range(8):
        put(store, f"{number:032x}", unit(rng.normal(size=(30, WIDTH))))
    return Index(tmp_path / "index", model)


def test_random_texts_are_answered_as_often_as_the_bar_says_and_stored_frames_always(index: Index) -> None:
    answers = [index.search(f"something else {number}", k=2, false_alarm=0.1) for number in range(100)]
    assert np.mean([answer.evidence != "none" for answer in answers]) == pytest.approx(0.1, abs=0.08)
    assert isinstance(index.model, Described)
    frames = index._store.fetch([f"{3:032x}"])[f"{3:032x}"]
    index.model.texts["what it shows"] = frames.vectors[7].tolist()
    answer = index.search("what it shows", k=3)
    assert answer.evidence == "strong"
    assert answer.false_alarm == answer[0].false_alarm <= 0.01  # type: ignore[operator]
    assert (answer[0].video, answer[0].evidence) == (f"/{3:032x}", "strong")
    assert [m.false_alarm for m in answer] == sorted(m.false_alarm for m in answer)  # type: ignore[type-var]
    strict = index.search("what it shows", k=3, false_alarm=0.0001)
    assert strict.evidence == "none"
    assert list(strict) == [m for m in strict if m.evidence == "none"]
    assert [m.score for m in strict] == [m.score for m in answer], "the nearest are shown all the same"


def test_the_rate_of_a_sentence_is_the_share_of_background_sentences_that_score_as_high(index: Index) -> None:
    frames = np.concatenate([f.vectors for f in index._store.fetch([f"{n:032x}" for n in range(8)]).values()])
    background = unit(np.stack([drawn(text)[0].numpy() for text in SENTENCES]))
    best = (background @ frames.T).max(axis=1)
    for number in range(20):
        (moment,) = index.search(f"text {number}", k=1)
        counted = (1 + (best >= moment.score).sum()) / (len(best) + 1)
        if counted > 0.15:
            assert moment.false_alarm == pytest.approx(counted, abs=0.02)


def test_a_paragraph_about_one_place_is_evidence_and_a_random_one_is_not(index: Index) -> None:
    assert isinstance(index.model, Described)
    frames = index._store.fetch([f"{5:032x}"])[f"{5:032x}"].vectors
    for number, row in enumerate((9, 10, 11)):
        index.model.texts[f"Part {number}."] = frames[row].tolist()
    shown = index.search("Part 0. Part 1. Part 2.", k=1)
    assert shown.evidence == "strong"
    paragraphs = [f"One {n}. Two {n}. Three {n}." for n in range(40)]
    assert np.mean([index.search(text, k=5).evidence == "none" for text in paragraphs]) >= 0.95


def test_statistics_are_kept_and_measured_again_when_the_videos_change(index: Index) -> None:
    assert isinstance(index.model, Described)
    path = index._store.folder / NAME  # type: ignore[operator]
    before = index.search("text", k=1)
    encoded = len(index.model.encoded)
    kept = path.read_bytes()
    again = Index(index._store.folder, index.model).search("text", k=1)  # type: ignore[arg-type]
    assert again[0].score == before[0].score
    assert again.false_alarm == pytest.approx(before.false_alarm, rel=0.01)
    assert len(index.model.encoded) == encoded + 1, "only the query"
    put(index._store, f"{99:032x}", unit(np.stack([drawn(text)[0].numpy() for text in SENTENCES])))
    after = index.search("text", k=1)
    assert path.read_bytes() != kept
    assert after.false_alarm == 1.0, "now every background sentence is in the index"
    assert after.background is not None
    assert after.background.frames == 8 * 30 + len(SENTENCES)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"stamp": 1}', "\x00"])
def test_a_damaged_file_is_measured_again(index: Index, content: str) -> None:
    path = index._store.folder / NAME  # type: ignore[operator]
    first = index.search("text", k=1).false_alarm
    path.write_text(content, encoding="utf-8")
    fresh = Index(index._store.folder, index.model)  # type: ignore[arg-type]
    assert fresh.search("text", k=1).false_alarm == pytest.approx(first)
    assert json.loads(path.read_text(encoding="utf-8"))["alarms"]["frames"] == 240


def test_without_the_file_search_works_and_with_too_few_sentences_nothing_is_claimed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evidence, "replacing", full)
    assert index.search("text", k=1).evidence in {"strong", "weak", "none"}
    monkeypatch.setattr(index.model, "background", SENTENCES[:5])
    answer = index.search("text", k=1)
    assert (answer.evidence, answer.false_alarm, answer.to_json()) == (None, None, {})
    assert answer[0].to_json().keys() == {"video", "start", "end", "score"}


def test_a_large_index_is_sampled_in_whole_videos(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.stack([drawn(text)[0].numpy() for text in SENTENCES]))
    whole = measure(index._store, vectors)
    monkeypatch.setattr(evidence, "MOST_FRAMES", 100)
    monkeypatch.setattr(evidence, "BATCH_FRAMES", 30)
    sample = measure(index._store, vectors)
    assert whole is not None
    assert sample is not None
    assert (sample.sampled, sample.frames, whole.sampled) == (120, 240, 240)
    assert sample.growth > 0
    middle = float(np.median(whole.maxima))
    assert sample.rate(middle) == pytest.approx(whole.rate(middle), abs=0.15)


def test_the_document_says_it_and_bars_are_checked(index: Index) -> None:
    answer = index.search("text", k=2, false_alarm=0.2)
    row = document("text", "known", 0.1, answer)
    assert list(row) == [
        *("query", "model", "elapsed_seconds"),
        *("false_alarm", "evidence", "false_alarm_bar", "background", "results"),
    ]
    assert row["background"] == {"sentences": 60, "frames": 240, "frames_sampled": 240}
    assert (row["false_alarm_bar"], row["evidence"]) == (0.2, answer.evidence)
    assert row["results"][0]["false_alarm"] == row["false_alarm"]
    for bar in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="false-alarm rate"):
            index.search("text", false_alarm=bar)


def test_an_empty_answer_is_no_evidence(index: Index) -> None:
    answer = index.search("text", min_score=2.0)
    assert (list(answer), answer.evidence, answer.false_alarm) == ([], "none", None)
    assert Answer().evidence is None
    assert judge([Moment("v", 0, 1, 0.5)], None) == [Moment("v", 0, 1, 0.5)]


def test_no_frames_give_no_statistics(tmp_path: Path) -> None:
    store = Store(tmp_path / "empty")
    store.create(Meta("known", "known", WIDTH, RATE))
    background = Background(lambda: store)
    assert background.measured(SENTENCES, lambda: np.zeros((60, WIDTH), np.float32)) is None
    assert background.read(SENTENCES) is None


def test_moments_keep_the_rate_of_their_cosine() -> None:
    alarms = FalseAlarms(10, 10, 0.0, np.linspace(0.6, 0.1, 99))
    low, high = judge([Moment("v", 0, 1, 0.3), Moment("v", 2, 3, 0.7)], alarms, bar=0.05)
    assert (low.evidence, high.evidence) == ("none", "strong")
    assert high.false_alarm == alarms.rate(0.7)
