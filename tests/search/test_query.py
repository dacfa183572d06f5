"""Moments against an oracle that looks at every frame of every video."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.scoring.spans import peaks
from mova.search import query
from mova.search.cold.snapshot import Snapshot
from mova.search.cold.snapshot_writer import write_snapshot
from mova.search.cold.text_tower import UnitVectors
from mova.search.export import export_clips
from mova.search.index import Index
from mova.search.query import Query, document
from mova.search.storage import upkeep
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.search.video_moments import find_moments
from mova.text.units import split_units
from mova.types import Moment
from mova.video.probe import probe
from tests.support.fakes import ColourEncoder, write_colours

DIM = 16


class Written:
    """A model whose text vectors are looked up."""

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def encode_text(self, texts: list[str]) -> UnitVectors:
        found = np.stack([self.vectors[text] for text in texts])
        return UnitVectors(found / np.linalg.norm(found, axis=1, keepdims=True))

    encode_sentences = encode_text


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def smooth_videos(rng: np.random.Generator, count: int, longest: int = 60) -> dict[str, StoredFrames]:
    """Videos made of scenes: frames around a few directions, so that relevance curves have real moments."""
    scenes = unit(rng, 12, DIM)
    made = {}
    for i in range(count):
        length = int(rng.integers(1, longest))
        chosen = scenes[np.repeat(rng.integers(0, 12, length), 4)[:length]]
        noisy = chosen + 0.2 * unit(rng, length, DIM)
        noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
        made[f"{i:032x}"] = StoredFrames(np.arange(length) / 2, noisy.astype(np.float16).astype(np.float32))
    return made


def filled(folder: Path, videos: dict[str, StoredFrames]) -> Store:
    made = Store(folder)
    made.create(Meta("m", "f", DIM, 2.0))
    made.append(list(videos), list(videos.values()))
    made.commit(
        [
            VideoRecord(f"/v/{c}.mp4", c, 1, 1, len(v.times) / 2, len(v.times), v.vectors.mean(axis=0))
            for c, v in videos.items()
        ]
    )
    return made


def brute_force(videos: dict[str, StoredFrames], vector: np.ndarray, k: int) -> list[Moment]:
    """Return the best of all moments of all videos."""
    moments = []
    for content, frames in videos.items():
        for peak in peaks(frames.vectors @ vector, frames.times, len(frames.times) / 2, k):
            moments.append(Moment(f"/v/{content}.mp4", peak.span.start, peak.span.end, peak.score))
    return sorted(moments, key=lambda m: (-round(m.score, 6), m.video, m.start))[:k]


def ask(store: Store, model: Written, text: str, k: int, *, min_score: float | None = None) -> list[Moment]:
    """Search without scoring the moments again."""
    return query.search(store, Query.prepare(model, text, "none"), k, min_score=min_score)  # type: ignore[arg-type]


def same(moments: list[Moment], expected: list[Moment]) -> bool:
    return len(moments) == len(expected) and all(
        (a.video, a.start, a.end) == (b.video, b.start, b.end) and abs(a.score - b.score) < 1e-4
        for a, b in zip(moments, expected, strict=True)
    )


@pytest.mark.parametrize("first_hits", [1, 256])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_one_sentence_equals_brute_force(
    k: int, first_hits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where few frames are looked at first, so that several rounds are needed."""
    monkeypatch.setattr(query, "FIRST_HITS", first_hits)
    monkeypatch.setattr(query, "HITS_PER_MOMENT", 1)
    monkeypatch.setattr(query, "BATCH_FRAMES", 64)
    rng = np.random.default_rng(k)
    videos = smooth_videos(rng, 40)
    made = filled(tmp_path / "index", videos)
    for seed in range(5):
        vector = unit(np.random.default_rng(seed), DIM)
        moments = ask(made, Written({"x": vector}), "x", k)
        assert same(moments, brute_force(videos, vector, k))


def test_few_moments_read_few_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    videos = smooth_videos(rng, 120)
    made = filled(tmp_path / "index", videos)
    read: list[str] = []
    fetch = made.fetch
    monkeypatch.setattr(query, "BATCH_FRAMES", 1)
    monkeypatch.setattr(made, "fetch", lambda contents: (read.extend(contents), fetch(contents))[1])
    ask(made, Written({"x": unit(rng, DIM)}), "x", 2)
    assert len(read) == len(set(read)) < 30


def test_min_score_truncates_the_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    videos = smooth_videos(rng, 10)
    made = filled(tmp_path / "index", videos)
    vector = unit(rng, DIM)
    everything = ask(made, Written({"x": vector}), "x", 500)
    bar = everything[len(everything) // 3].score
    assert ask(made, Written({"x": vector}), "x", 500, min_score=bar) == [
        moment for moment in everything if moment.score >= bar
    ]


def test_a_paragraph_ranks_moments_by_how_much_they_show(tmp_path: Path) -> None:
    write_colours(tmp_path / "v" / "both.mp4", [("white", 2), ("red", 2), ("blue", 2), ("white", 2)])
    write_colours(tmp_path / "v" / "apart.mp4", [("red", 2), ("white", 3), ("blue", 2), ("black", 2)])
    write_colours(tmp_path / "v" / "one.mp4", [("black", 2), ("red", 3), ("cyan", 2)])
    write_colours(tmp_path / "v" / "none.mp4", [("black", 2), ("green", 3), ("cyan", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([tmp_path / "v"])
    moments = index.search("It turns red. Then blue comes.", k=10)
    rows = [(Path(m.video).name, m.start, m.end, round(m.score, 2)) for m in moments]
    assert rows == [
        ("both.mp4", 2.0, 6.0, 1.0),
        ("apart.mp4", 0.0, 7.0, 1.0),
        ("one.mp4", 2.0, 5.0, 0.5),
    ]


def test_a_paragraph_of_the_same_sentence_is_that_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    videos = smooth_videos(rng, 30)
    made = filled(tmp_path / "index", videos)
    model = Written({"It is x.": unit(rng, DIM)})
    sentence = ask(made, model, "It is x.", 5)
    twice = ask(made, model, "It is x. It is x.", 5)
    assert twice[0].score == pytest.approx(sentence[0].score, abs=1e-6)
    assert (twice[0].video, twice[0].start <= sentence[0].start < twice[0].end) == (sentence[0].video, True)


def test_a_long_text_without_punctuation_is_searched_in_windows(tmp_path: Path) -> None:
    write_colours(tmp_path / "v" / "both.mp4", [("white", 2), ("red", 2), ("blue", 2), ("white", 2)])
    write_colours(tmp_path / "v" / "one.mp4", [("black", 2), ("red", 3), ("cyan", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([tmp_path / "v"])
    text = "at first there is a wall that turns red and later on another one that is blue"
    moments = index.search(text, k=10)
    windows = [f"{unit}." for unit in split_units(text)]
    assert len(windows) == 4
    assert moments == index.search(" ".join(windows), k=10, order="no")
    assert (Path(moments[0].video).name, moments[0].start, moments[0].end) == ("both.mp4", 2.0, 6.0)


def test_paragraph_scores_are_the_mean_of_the_best_cosines_inside() -> None:
    rng = np.random.default_rng(5)
    frames = next(iter(smooth_videos(rng, 1).values()))
    queries = unit(rng, 3, DIM)
    moments = find_moments(queries, frames, len(frames.times) / 2, np.full(3, 0.2, dtype=np.float32), 5)
    assert moments
    curves = queries @ frames.vectors.T
    for span, score in moments:
        inside = (frames.times >= span.start) & (frames.times < span.end)
        assert score == pytest.approx(curves[:, inside].max(axis=1).mean())
    ends = [(span.start, span.end) for span, _ in moments]
    assert all(b[0] - a[1] > 0.5 for a, b in pairwise(ends))


@pytest.mark.parametrize("sentences", [2, 40, 400])
def test_moments_of_many_sentences_are_all_their_spans_merged(sentences: int) -> None:
    """The oracle marks the frames of every span, also after they cover the whole video."""
    rng = np.random.default_rng(sentences)
    for missing in (False, True):
        frames = next(iter(smooth_videos(rng, 1, longest=200).values()))
        if missing:
            frames.times[len(frames.times) // 2 :] += 30
        duration, queries = frames.times[-1] + 0.5, unit(rng, sentences, DIM)
        thresholds = rng.uniform(0.1, 0.5, sentences).astype(np.float32)
        shown = np.zeros(len(frames.times), bool)
        for vector, least in zip(queries, thresholds.tolist(), strict=True):
            for peak in peaks(frames.vectors @ vector, frames.times, duration, 64, step=0.5, least=least):
                shown |= (frames.times >= peak.span.start) & (frames.times < peak.span.end)
        near = np.diff(frames.times) < 1
        dips = np.flatnonzero(~shown[1:-1] & shown[:-2] & shown[2:] & near[:-1] & near[1:]) + 1
        shown[dips] = True  # spans one frame apart are one moment
        edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(int)))
        expected = [(first, last) for first, last in edges.reshape(-1, 2)]
        if missing:
            middle = len(frames.times) // 2
            parts = [((a, min(b, middle)), (max(a, middle), b)) for a, b in expected]
            expected = [(a, b) for pair in parts for a, b in pair if a < b]
        moments = find_moments(queries, frames, duration, thresholds, 5, 0.5)
        found = [np.flatnonzero((frames.times >= span.start) & (frames.times < span.end)) for span, _ in moments]
        assert [(rows[0], rows[-1] + 1) for rows in found] == expected
        curves = queries.astype(np.float64) @ frames.vectors.T
        for rows, (_, score) in zip(found, moments, strict=True):
            assert score == pytest.approx(curves[:, rows].max(axis=1).mean(), abs=1e-6)


def test_the_first_moment_of_a_paragraph_does_not_depend_on_k(tmp_path: Path) -> None:
    """Each sentence's best peak is far from the other's; only a second peak makes the moment that shows both."""
    rng = np.random.default_rng(8)
    vectors = {"One.": unit(rng, DIM), "Two.": unit(rng, DIM)}
    between = (vectors["One."] + vectors["Two."]) / np.linalg.norm(vectors["One."] + vectors["Two."])
    opposite = -between
    near = 0.98 * between + 0.02 * vectors["One."]
    vectors_in_order = [
        opposite,
        vectors["One."],
        *[opposite] * 4,
        near,
        near,
        *[opposite] * 4,
        vectors["Two."],
        opposite,
    ]
    frames = np.stack(vectors_in_order) / np.linalg.norm(vectors_in_order, axis=1, keepdims=True)
    made = filled(tmp_path / "index", {f"{1:032x}": StoredFrames(np.arange(len(frames)) / 2, frames)})
    model = Written(vectors)
    assert ask(made, model, "One. Two.", 1) == ask(made, model, "One. Two.", 20)[:1]


def test_ties_are_broken_by_path_and_start(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_colours(tmp_path / "v" / f"{name}.mp4", [("red", 1), ("cyan", 1 + ord(name) % 4), ("red", 1)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([tmp_path / "v"])
    moments = index.search("red", k=5)
    assert [Path(m.video).stem for m in moments] == ["a", "a", "b", "b", "c"]
    assert moments[0].start < moments[1].start


def test_the_approximate_index_finds_nearly_all_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ANN_ROWS", 2000)
    monkeypatch.setattr(upkeep, "LOCAL_ANN_ROWS", 2000)
    rng = np.random.default_rng(6)
    videos = smooth_videos(rng, 120)
    made = filled(tmp_path / "index", videos)
    assert made.count_frames() >= 2000
    made.tidy()
    assert {index.name for index in made._frames.list_indices()} == {"vector_idx", "video_idx"}
    extra = smooth_videos(rng, 125)
    late = {content: frames for content, frames in extra.items() if content not in videos}
    made.append(list(late), list(late.values()))
    made.commit(
        [
            VideoRecord(f"/v/{c}.mp4", c, 1, 1, len(v.times) / 2, len(v.times), v.vectors.mean(axis=0))
            for c, v in late.items()
        ]
    )
    hits = 0
    for seed in range(20):
        vector = unit(np.random.default_rng(seed), DIM)
        moments = ask(made, Written({"x": vector}), "x", 10)
        expected = brute_force(videos | late, vector, 10)
        hits += len({(m.video, m.start) for m in moments} & {(m.video, m.start) for m in expected})
    assert hits >= 190


def test_queries_without_words_and_k_below_one_are_refused(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([write_colours(tmp_path / "a.mp4", [("red", 1)])])
    for k in (0, -1):
        with pytest.raises(UsageError, match="k must be"):
            index.search("red", k)
    with pytest.raises(UsageError, match="words"):
        index.search(" ... ", 5)


def test_the_json_document_is_exactly_as_promised() -> None:
    assert document("a q", "m", 0.12345, [Moment("v.mp4", 1.23456, 2.5, 0.98765432)]) == {
        "query": "a q",
        "model": "m",
        "elapsed_seconds": 0.123,
        "results": [{"video": "v.mp4", "start": 1.235, "end": 2.5, "score": 0.987654}],
    }


def test_exported_clips_are_named_in_order_and_last_as_long(tmp_path: Path) -> None:
    video = write_colours(tmp_path / "it's/a b:c.mp4", [("red", 2), ("blue", 3)])
    moments = [Moment(str(video), 2.0, 4.5, 0.9), Moment(str(video), 0.0, 2.0, 0.8)]
    clips, failures = export_clips(moments, tmp_path / "out" / "clips")
    assert not failures
    assert [clip.name for clip in clips] == ["01_a_b_c_0002.00-0004.50.mp4", "02_a_b_c_0000.00-0002.00.mp4"]
    assert [probe(clip).duration for clip in clips] == pytest.approx([2.5, 2.0], abs=0.13)


def test_a_failed_clip_does_not_prevent_the_others(tmp_path: Path) -> None:
    video = write_colours(tmp_path / "a.mp4", [("red", 2)])
    moments = [
        Moment(str(tmp_path / "gone.mp4"), 0.0, 1.0, 0.9),
        Moment(str(video), 0.0, 1.0, 0.8),
        Moment(str(video), 5.0, 6.0, 0.7),
    ]
    clips, failures = export_clips(moments, tmp_path / "out")
    assert [clip.name for clip in clips] == ["02_a_0000.00-0001.00.mp4"]
    assert [path for path, _ in failures] == [moments[0].video, moments[2].video]
    assert "no such file" in failures[0][1]
    assert "within 2." in failures[1][1]
    with pytest.raises(UsageError, match="cannot create this folder"):
        export_clips(moments, video / "below")


def test_videos_removed_by_another_process_have_no_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    videos = smooth_videos(rng, 12)
    made, vector = filled(tmp_path / "index", videos), unit(rng, DIM)
    gone = Path(brute_force(videos, vector, 1)[0].video).stem
    real = Store.fetch

    def fetch(self: Store, names: list[str]) -> dict[str, StoredFrames]:
        other = Store(tmp_path / "index")  # removes it after the records were read
        other.drop([f"/v/{gone}.mp4"])
        other.discard([gone])
        return real(self, names)

    monkeypatch.setattr(Store, "fetch", fetch)
    rest = {content: frames for content, frames in videos.items() if content != gone}
    assert same(ask(made, Written({"x": vector}), "x", 5), brute_force(rest, vector, 5))


def test_a_k_beyond_the_frames_returns_all_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    videos, vector = smooth_videos(rng, 4), unit(rng, DIM)
    made = filled(tmp_path / "index", videos)
    assert same(ask(made, Written({"x": vector}), "x", 10**12), brute_force(videos, vector, 10**6))


def test_an_interrupted_build_of_the_approximate_index_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    made = filled(tmp_path / "index", smooth_videos(rng, 60))
    monkeypatch.setattr(upkeep, "ANN_ROWS", 500)
    monkeypatch.setattr(upkeep, "LOCAL_ANN_ROWS", 500)
    made._frames.create_index(
        "vector", config=upkeep.IvfRq(distance_type="dot", num_bits=upkeep.BITS), name="vector_idx"
    )  # killed here
    made.tidy()
    assert {index.name for index in made._frames.list_indices()} == {"vector_idx", "video_idx"}


def test_a_query_that_is_too_long_is_refused_at_once() -> None:
    nobody = Written({})
    with pytest.raises(UsageError, match="the query has 3,000 sentences, but at most 2,048 are searched at once"):
        Query.prepare(nobody, "A dog runs. " * 3000)
    with pytest.raises(UsageError, match="the query has 1,000,000 characters, at most 250,000"):
        Query.prepare(nobody, "x" * 10**6)


@pytest.mark.parametrize("kind", ["alike", "spread"])
def test_many_sentences_find_in_one_product_what_they_find_one_by_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    videos = smooth_videos(rng, 80)
    made = filled(tmp_path / "index", videos)
    made.drop(["/v/" + name + ".mp4" for name in list(videos)[5:9]])
    assert write_snapshot(made)
    opened = Snapshot.open(tmp_path / "index")
    assert opened is not None
    near = next(frames.vectors for frames in videos.values() if len(frames.times) > 40)
    vectors = unit(rng, 300, DIM) if kind == "spread" else near[:40] + 0.3 * unit(rng, 40, DIM)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    for count in (40, len(vectors)):
        request = Query("x", ("x",) * count, vectors[:count], "none")
        monkeypatch.setattr(query, "MANY_SENTENCES", 1 << 40)
        monkeypatch.setattr(query, "MAX_WITHOUT_SNAPSHOT", 1 << 40)
        expected = [query.search(reader, request, 7) for reader in (opened, made)]
        monkeypatch.undo()
        found = query.search(opened, request, 7)
        assert len(found) == 7
        for moments in expected:
            assert [(m.video, m.start, m.end) for m in moments] == [(m.video, m.start, m.end) for m in found]
            np.testing.assert_allclose([m.score for m in moments], [m.score for m in found], atol=2e-6)
    with pytest.raises(UsageError, match="without which a query has at most 256 sentences, not 300"):
        query.search(made, Query("x", ("x",) * 300, unit(rng, 300, DIM), "none"), 7)


def test_names_of_255_bytes_in_any_script_are_exported_under_unique_names(tmp_path: Path) -> None:
    first = write_colours(tmp_path / f"{'映' * 83}.mp4", [("red", 2)])
    second = write_colours(tmp_path / f"{'й' * 120}.mp4", [("red", 2)])
    moments = [Moment(str(path), start, start + 1, 0.9) for path in (first, second) for start in (0.0, 1.0)]
    clips, failures = export_clips(moments, tmp_path / "out")
    assert not failures
    assert len({clip.name for clip in clips}) == 4
    assert all(len(clip.name.encode()) <= 160 and clip.is_file() for clip in clips)
    assert clips[0].name == f"01_{'映' * 40}_0000.00-0001.00.mp4"


def test_of_several_paths_with_one_content_the_one_that_exists_is_returned_and_exported(tmp_path: Path) -> None:
    old, new = tmp_path / "a", tmp_path / "b"
    write_colours(old / "film.mp4", [("red", 2), ("blue", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([old])
    old.rename(new)
    (gone,) = index.search("red", k=1)
    assert gone.video == str(old / "film.mp4")
    clips, failures = export_clips([gone], tmp_path / "out")
    assert not clips
    assert [path for path, _ in failures] == [gone.video]
    assert "moved or deleted since it was indexed" in failures[0][1]
    assert "mova forget" in failures[0][1]
    index.add([new])
    assert [video.path for video in index.videos()] == [str(old / "film.mp4"), str(new / "film.mp4")]
    (moment,) = index.search("red", k=1)
    assert moment.video == str(new / "film.mp4")
    clips, failures = export_clips([moment], tmp_path / "out")
    assert len(clips) == 1
    assert not failures
    assert index.remove([old]) == [str(old / "film.mp4")]
    assert [video.path for video in index.videos()] == [str(new / "film.mp4")]
