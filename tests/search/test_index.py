"""The public class `Index`: opening, refusing another model, listing, removing; aligning with its frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.errors import IndexMismatchError, UsageError
from mova.scoring.caption_score import EvidenceRule
from mova.search.align import align
from mova.search.index import Index
from mova.search.score import score_caption
from mova.search.storage.records import Meta, StoredFrames
from mova.search.storage.store import Store
from tests.support.fakes import ColourEncoder, write_colours


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 3), ("green", 1)])


@pytest.fixture
def index(tmp_path: Path, film: Path) -> Index:
    made = Index(tmp_path / "index", ColourEncoder())
    made.add([film])
    return made


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_opening_creates_nothing_and_a_missing_index_is_reported(tmp_path: Path) -> None:
    nowhere = Index(tmp_path / "nowhere", ColourEncoder())
    assert not nowhere.exists
    assert nowhere.videos() == []
    assert len(nowhere) == 0
    with pytest.raises(UsageError, match="no index here"):
        Index(tmp_path / "nowhere").search("red")
    with pytest.raises(UsageError, match="no index here"):
        nowhere.remove(["x"])
    assert not (tmp_path / "nowhere").exists()


def test_listing_needs_no_model(index: Index, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mova.search.index import Index\nindex = Index(sys.argv[1])\n"
        "assert len(index) == 1 and index.model_name == 'colours-a'\n"
        "assert 'mova.models.registry' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "index")], check=True)


def test_the_model_named_in_the_index_is_loaded(
    index: Index, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.models import registry

    requested = []

    def load(name: str) -> ColourEncoder:
        requested.append(name)
        return ColourEncoder()

    monkeypatch.setattr(registry, "load", load)
    moments = Index(tmp_path / "index").search("red", k=1)
    assert requested == ["colours-a"]
    assert [(m.video, m.start, m.end) for m in moments] == [(str(film), 0.0, 2.0)]


@pytest.mark.parametrize(
    ("model", "message"),
    [(ColourEncoder(variant="b"), "fingerprint"), (ColourEncoder(width=12), "dim 8, not 12")],
)
def test_another_model_is_refused_and_nothing_is_changed(
    model: ColourEncoder, message: str, index: Index, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(tmp_path / "index")
    with pytest.raises(IndexMismatchError, match=message):
        Index(tmp_path / "index", model)
    from mova.models import registry

    monkeypatch.setattr(registry, "load", lambda name: model)
    for use in (lambda named: named.search("red"), lambda named: named.add([film])):
        with pytest.raises(IndexMismatchError, match=r"Nothing was changed\. Use the model"):
            use(Index(tmp_path / "index", "some name"))
    assert snapshot(tmp_path / "index") == before


def test_another_frame_rate_is_refused_and_the_stored_one_is_kept(index: Index, film: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path / "index")
    with pytest.raises(IndexMismatchError, match=r"frame rate 4\.0, not 2\.0"):
        index.add([film], fps=2)
    assert snapshot(tmp_path / "index") == before
    made = Index(tmp_path / "slow", ColourEncoder())
    made.add([film], fps=2)
    new_film = write_colours(tmp_path / "films" / "b.mp4", [("cyan", 3)])
    assert made.add([new_film]).frames == 6
    with pytest.raises(UsageError, match="above 0"):
        Index(tmp_path / "third", ColourEncoder()).add([film], fps=0)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "old")
    store.create(Meta("m", "f", 8, 1.0, schema=0))
    with pytest.raises(IndexMismatchError, match="layout 0"):
        Index(tmp_path / "old").videos()


def test_remove_takes_files_and_folders(index: Index, film: Path, tmp_path: Path) -> None:
    write_colours(tmp_path / "films" / "deep" / "b.mp4", [("cyan", 3)])
    index.add([tmp_path / "films"])
    assert index.remove([tmp_path / "films" / "deep"]) == [str(tmp_path / "films" / "deep" / "b.mp4")]
    assert [v.path for v in index.videos()] == [str(film)]
    assert index.remove([film]) == [str(film)]
    assert index.search("red") == []


def test_a_single_string_is_one_path(index: Index, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert index.remove("films/other.mp4") == []  # its "/" is not the whole disk
    assert index.add("films").unchanged == [str(film)]
    assert index.add(film).unchanged == [str(film)]
    assert index.remove(str(film)) == [str(film)]


def test_quotes_in_names_are_not_sql(tmp_path: Path) -> None:
    strange = write_colours(tmp_path / "films" / 'it\'s (1) [%] "ü" 我.mp4', [("red", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([strange.parent])
    assert index.search("red")[0].video == str(strange)
    assert index.remove([strange]) == [str(strange)]


def test_another_process_sees_what_was_added(index: Index, tmp_path: Path) -> None:
    reader = Index(tmp_path / "index", ColourEncoder())
    assert len(reader) == 1
    index.add([write_colours(tmp_path / "films" / "b.mp4", [("yellow", 2)])])
    assert len(reader) == 2
    assert reader.search("yellow", k=1)[0].video.endswith("b.mp4")


def test_stored_frames_come_back_in_order_to_half_precision(tmp_path: Path) -> None:
    store = Store(tmp_path / "index")
    store.create(Meta("m", "f", 16, 1.0))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = np.arange(40) / 2
    store.append(["b", "a"], [StoredFrames(times[20:], vectors[20:]), StoredFrames(times, vectors)])
    store.append(["b"], [StoredFrames(times[:20], vectors[:20])])
    stored = store.fetch(["a", "b", "c"])
    assert sorted(stored) == ["a", "b"]
    for part in stored.values():
        assert part.times.tolist() == times.tolist()
        assert np.abs(part.vectors - vectors).max() < 5e-4


def test_align_reuses_frames_of_the_same_content_only(index: Index, film: Path, tmp_path: Path) -> None:
    model = ColourEncoder()
    caption = "It is blue. It is red."
    fresh = align(model, film, caption)
    frames_before = model.frames_seen
    assert frames_before == 24
    again = align(model, film, caption, index=index)
    elsewhere = film.rename(tmp_path / "moved.mp4")
    moved = align(model, elsewhere, caption, index=index)
    assert model.frames_seen == frames_before
    for timeline in (again, moved):
        assert timeline.times.tolist() == fresh.times.tolist()
        assert timeline.duration == fresh.duration
        assert [row.spans[0].span for row in timeline.sentences] == [row.spans[0].span for row in fresh.sentences]
        for row, expected in zip(timeline.sentences, fresh.sentences, strict=True):
            assert np.abs(row.relevance - expected.relevance).max() < 1e-3
    assert moved.video == str(elsewhere)
    assert [(s.start, s.end) for s in fresh.irrelevant] == [(5.0, pytest.approx(6.0, abs=0.01))]
    write_colours(elsewhere, [("red", 2), ("cyan", 3), ("green", 1)])
    assert align(model, elsewhere, caption, index=index).sentences[0].spans == ()
    assert model.frames_seen == 2 * frames_before
    align(model, elsewhere, caption, index=index, fps=2)
    assert model.frames_seen == 2 * frames_before + 12


def test_align_refuses_an_index_of_another_model(index: Index, film: Path) -> None:
    with pytest.raises(IndexMismatchError):
        align(ColourEncoder(variant="b"), film, "red", index=index)


def test_score_is_the_best_frame_of_each_sentence(film: Path) -> None:
    scores, _ = score_caption(ColourEncoder(), film, "Red here. Then blue and green. Cyan.")
    assert [row.text for row in scores] == ["Red here.", "Then blue and green.", "Cyan."]
    assert [row.score for row in scores] == pytest.approx([1.0, 2**-0.5, 0.0], abs=0.02)


def test_a_full_caption_is_scored_by_the_rule_of_the_model(film: Path) -> None:
    model, text = ColourEncoder(), "Red here. Then blue."
    rows, total = score_caption(model, film, text)
    assert [row.text for row in rows] == ["Red here.", "Then blue."]
    assert total == pytest.approx(np.mean([row.score for row in rows]))
    model.rule = EvidenceRule(g=0.5, theta=0.1, beta=1.0)
    again, ruled = score_caption(model, film, text)
    assert again == rows
    assert ruled == pytest.approx(model.score([model.encode_video(film)], text).item())
    assert ruled != pytest.approx(total)


def test_align_reports_a_missing_index_and_a_video_that_is_not_in_it(
    index: Index, film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ColourEncoder()
    with pytest.raises(UsageError, match="no index here"):
        align(model, film, "red", index=Index(tmp_path / "typo"))
    not_indexed = write_colours(tmp_path / "other.mp4", [("red", 1)])
    with caplog.at_level("INFO", logger="mova"):
        align(model, not_indexed, "red", index=index)
        assert "not in the index; decoding the video" in caplog.text
        caplog.clear()
        align(model, film, "red", index=index, fps=2)
        assert "at 2 per second" in caplog.text
        caplog.clear()
        monkeypatch.setattr(index._reader(), "fetch", lambda contents: {})  # removed by another process just now
        align(model, film, "red", index=index)
        assert "not in the index" in caplog.text


def test_a_pattern_stands_for_its_files_and_update_knows_them(tmp_path: Path, call: Any) -> None:
    for name, colour in (("a.mp4", "red"), ("b.mp4", "blue"), ("deep/c.mp4", "green")):
        write_colours(tmp_path / "films" / name, [(colour, 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    assert sorted(Path(path).name for path in index.add(str(tmp_path / "films" / "*.mp4")).indexed) == [
        "a.mp4",
        "b.mp4",
    ]
    assert [Path(root.path).name for root in index.sources.roots] == ["a.mp4", "b.mp4"]
    assert len(index.add(tmp_path / "films" / "**" / "*.mp4").indexed) == 1
    assert len(index.add(tmp_path / "films" / "**" / "*.mp4").unchanged) == 3
    code, _, err = call("index", tmp_path / "films" / "*.avi", "--index", tmp_path / "index")
    assert (code, "no file or folder fits this pattern" in err) == (2, True)
