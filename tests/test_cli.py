"""The command line: documents as documented, exit codes, and errors without tracebacks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.video.writer import write_mp4
from mova.worlds.batches import vocabulary

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = WorldsTinyConfig(
        vocabulary=vocabulary(),
        image_size=32,
        stem=[8, 8],
        hidden_size=16,
        heads=2,
        embedding_dim=16,
        background=["a red star", "a blue ring rises"],
    )
    WorldsTiny(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for name in ("one.mp4", "[red] two.mp4"):
        write_mp4(folder / name, [rng.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)], fps=4.0)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def index_folder(films: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mova.models.registry import load
    from mova.search.index import Index

    folder = tmp_path_factory.mktemp("index") / "films"
    Index(folder, load(model_folder)).add([films])
    return folder


def document(out: str) -> dict[str, Any]:
    result = json.loads(out)
    assert isinstance(result, dict)
    return result


def test_index_reports_what_it_skipped_and_is_incremental(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    code, out, _ = call("index", films, "--index", tmp_path / "i", "--model", model_folder, "--json")
    result = document(out)
    assert code == 0
    assert len(result["indexed"]) == 2
    assert [Path(row["path"]).name for row in result["failed"]] == ["broken.mp4"]
    code, out, err = call("index", films, "--index", tmp_path / "i", "--model", model_folder)
    assert code == 0
    assert "2 unchanged, 1 skipped" in out
    assert "broken.mp4" in err


def test_index_exits_with_1_only_if_no_file_was_indexed(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    code, _, err = call("index", films / "broken.mp4", "--index", tmp_path / "i", "--model", model_folder)
    assert code == 1
    assert "broken.mp4" in err


def test_search_prints_the_promised_document(call: Call, index_folder: Path, model_folder: Path) -> None:
    code, out, _ = call("search", "a red star rises", "--index", index_folder, "-k", 3, "--json")
    result = document(out)
    assert code == 0
    assert list(result) == ["query", "model", "elapsed_seconds", "results"]
    assert result["query"] == "a red star rises"
    assert result["model"] == str(model_folder)
    assert 1 <= len(result["results"]) <= 3
    for row in result["results"]:
        assert list(row) == ["video", "start", "end", "score"]
        assert 0 <= row["start"] < row["end"] <= 6.0
    scores = [row["score"] for row in result["results"]]
    assert scores == sorted(scores, reverse=True)


def test_search_prints_paths_without_markup_and_exports_clips(
    call: Call, films: Path, index_folder: Path, tmp_path: Path
) -> None:
    code, out, err = call("search", "a ring", "--index", index_folder, "--export", tmp_path / "clips")
    assert code == 0
    assert str(films / "[red] two.mp4") in out
    assert err.count("wrote ") == len(list((tmp_path / "clips").glob("*.mp4"))) > 0


def test_align_prints_the_promised_document_and_draws(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    caption = tmp_path / "caption.txt"
    caption.write_text("A red star rises. Two blue rings spin.", encoding="utf-8")
    for suffix in ("png", "html"):
        picture = tmp_path / f"timeline.{suffix}"
        code, out, _ = call(
            "align", films / "one.mp4", "--text-file", caption, "--model", model_folder, "--plot", picture, "--json"
        )
        assert code == 0
        assert picture.stat().st_size > 1000
    result = document(out)
    assert list(result) == ["video", "duration", "times", "sentences", "irrelevant", "order"]
    assert list(result["order"]) == ["choice", "evidence", "free"]
    assert result["duration"] == pytest.approx(6.0)
    assert result["times"] == [i / 2 for i in range(12)]
    assert [row["text"] for row in result["sentences"]] == ["A red star rises.", "Two blue rings spin."]
    for row in result["sentences"]:
        place = [] if row["spans"] else ["likely"]
        assert list(row) == ["text", "relevance", "spans", "shown", *place, "posterior"]
        assert len(row["relevance"]) == len(row["posterior"]) == 12
        assert 0 <= row["shown"] <= 1
        assert all(list(span) == ["start", "end", "score", "posterior"] for span in row["spans"])
    uncovered = sum(s["end"] - s["start"] for s in result["irrelevant"])
    assert 0 <= uncovered <= 6.0


def test_align_writes_exports_and_leaves_curves_out(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    files = [word for name in ("srt", "vtt", "csv", "chapters") for word in (f"--{name}", tmp_path / f"a.{name}")]
    text = ("A red star rises. Two blue rings spin.", "--order", "no", "--no-curves", "--json")
    code, out, err = call("align", films / "one.mp4", "--model", model_folder, "--text", *text, *files)
    result = document(out)
    assert code == 0
    assert list(result) == ["video", "duration", "sentences", "irrelevant", "order"]
    assert result["order"] == {"choice": "free", "evidence": {}, "free": [0, 1]}
    for row in result["sentences"]:
        assert list(row) == ["text", "spans", "shown", *([] if row["spans"] else ["likely"])]
    assert err.count("wrote ") == 4
    assert (tmp_path / "a.csv").read_text().startswith("video,sentence,text,start,end,score,posterior,shown")
    code, out, _ = call("align", films / "one.mp4", "--model", model_folder, "--text", text[0])
    assert code == 0
    assert "temporal order of the sentences: " in out
    code, _, err = call(
        "align", films / "one.mp4", "--model", model_folder, "--text", "x", "--csv", tmp_path / "no" / "a"
    )
    assert code == 2
    assert "cannot be written" in err


def test_align_of_several_videos_goes_on_after_one_that_fails(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    words = ("--model", model_folder, "--text", "A red star rises.", "--no-curves")
    alone = document(call("align", films / "one.mp4", *words, "--json")[1])
    code, out, err = call("align", films / "one.mp4", films / "gone.mp4", films, *words, "--json")
    result = document(out)
    assert code == 0
    assert list(result) == ["videos", "failed"]
    assert [Path(row["video"]).name for row in result["videos"]] == ["one.mp4", "[red] two.mp4"]
    assert result["videos"][0] == alone
    assert [Path(row["video"]).name for row in result["failed"]] == ["gone.mp4", "broken.mp4"]
    assert all(row["cause"] for row in result["failed"])
    assert err.count("not aligned: ") == 2
    code, out, _ = call("align", films, *words)
    assert code == 0
    assert "2 of 3 videos aligned" in out
    code, out, _ = call("align", films / "broken.mp4", films / "gone.mp4", *words, "--json")
    assert code == 1
    assert document(out)["videos"] == []
    code, _, err = call("align", films, *words, "--srt", tmp_path / "a.srt")
    assert code == 2
    assert "--srt writes a file for one video" in err
    (tmp_path / "empty").mkdir()
    code, _, err = call("align", tmp_path / "empty", *words)
    assert code == 2
    assert "no videos found" in err


def test_align_goes_on_after_a_video_that_does_not_fit_into_memory(
    call: Call, films: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.search import align

    whole = align.align

    def limited(model: Any, video: Path, **options: Any) -> Any:
        if video.name == "one.mp4":
            raise MemoryError
        return whole(model, video, **options)

    monkeypatch.setattr(align, "align", limited)
    words = ("--model", model_folder, "--text", "A star.", "--no-curves", "--json")
    code, out, err = call("align", films / "one.mp4", films / "[red] two.mp4", *words)
    assert code == 0
    assert [Path(row["video"]).name for row in document(out)["videos"]] == ["[red] two.mp4"]
    assert "one.mp4: its frames do not fit into memory" in err


@pytest.mark.parametrize("command", ["align", "score"])
def test_a_decoder_that_hangs_is_stopped(
    call: Call, films: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from mova.video import isolated
    from tests.video.test_isolated import HANG, broken

    broken(monkeypatch, HANG)
    assert "sleep" in isolated.START
    text = ("--text", "A star.") if command == "align" else ("A star.",)
    code, _, err = call(command, films / "one.mp4", *text, "--model", model_folder, "--time-limit", 0.7)
    assert code == 1
    assert "one.mp4: decoding stood still for 0.7 s" in err


@pytest.mark.parametrize("command", ["index", "data check"])
def test_a_time_limit_of_zero_is_an_error(
    call: Call, films: Path, model_folder: Path, tmp_path: Path, command: str
) -> None:
    model = ("--model", model_folder, "--index", tmp_path / "new") if command == "index" else ()
    code, _, err = call(*command.split(), films / "one.mp4", *model, "--time-limit", 0)
    assert code == 2
    assert "the time limit must be a positive number of seconds, not 0" in err


def test_a_line_break_in_a_name_is_escaped(call: Call, model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a\nb.mp4").write_bytes(b"not a video")
    (folder / "notes.a\nb").touch()
    for words in (("align", folder, "--text", "A star."), ("index", folder, "--index", tmp_path / "i")):
        code, _, err = call(*words, "--model", model_folder)
        assert code == 1
        assert r"a\nb.mp4: " in err
        assert "a\nb" not in err


def test_align_from_an_index_equals_align_from_the_file(
    call: Call, films: Path, model_folder: Path, index_folder: Path
) -> None:
    text = ("--text", "A red star rises.", "--json")
    fresh = document(call("align", films / "one.mp4", "--model", model_folder, *text)[1])
    stored = document(call("align", films / "one.mp4", "--index", index_folder, *text)[1])
    assert stored["times"] == fresh["times"]
    assert stored["sentences"][0]["relevance"] == pytest.approx(fresh["sentences"][0]["relevance"], abs=2e-3)


def test_score_prints_one_number_per_sentence_and_their_mean(call: Call, films: Path, model_folder: Path) -> None:
    code, out, _ = call("score", films / "one.mp4", "A red star. A blue ring.", "--model", model_folder, "--json")
    result = document(out)
    assert code == 0
    assert [row["text"] for row in result["sentences"]] == ["A red star.", "A blue ring."]
    assert result["score"] == pytest.approx(np.mean([row["score"] for row in result["sentences"]]), abs=1e-5)


def test_worlds_and_check(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("data", "worlds", tmp_path / "w", "--videos", 1, "--seconds", 10, "--size", 64, "--json")
    assert code == 0
    manifest = Path(document(out)["manifest"])
    row = json.loads(manifest.read_text().splitlines()[0])
    assert {"id", "video", "duration", "split", "captions"} <= row.keys()
    code, out, _ = call("data", "check", tmp_path / "w", "--json")
    assert code == 0
    assert document(out) == {"readable": 1, "broken": []}


def test_models_are_listed_with_their_license(call: Call) -> None:
    code, out, _ = call("models", "--json")
    result = document(out)
    assert code == 0
    assert result["default"] == "google/siglip2-base-patch32-256"
    assert all(row["licence"] for row in result["models"])


def test_the_table_of_models_shows_how_to_install_an_extra(call: Call) -> None:
    code, out, _ = call("models")
    assert code == 0
    assert "[natural]" in out


def test_pulling_needs_a_hub_model_and_uses_the_cache(
    call: Call, tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, message in (("mova-worlds-tiny", "come with mova"), ("mova-natural", "pip install 'mova[natural]'")):
        code, _, err = call("models", "pull", name)
        assert (code, message in err) == (2, True)
    code, _, err = call("models", "push", "mova-natural")
    assert (code, "mova models pull NAME" in err) == (2, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--someone--clip"
    shutil.copytree(tiny_clip, folder / "snapshots" / "0123abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")
    code, out, _ = call("models", "pull", "someone/clip", "--json")
    assert code == 0
    assert document(out) == {"model": "someone/clip", "folder": str(folder / "snapshots" / "0123abc")}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["search", "x", "--index", "{tmp}/none"], 2, "none"),
        (["search", "x", "-k", "0"], 2, ""),
        (["align", "{tmp}/a.mp4"], 2, "exactly one of --text and --text-file"),
        (["align", "{tmp}/a.mp4", "--text", " "], 2, "caption is empty"),
        (["align", "{tmp}/a.mp4", "--text", "x.", "--plot", "{tmp}/a.gif"], 2, "must end in .png or .html"),
        (["index", "{tmp}/nothing-here"], 2, "nothing-here"),
        (["data", "worlds", "{tmp}/w", "--style", "baroque"], 2, "sketch"),
        (["train", "no-such-recipe"], 2, "no-such-recipe"),
        (["train", "worlds-tiny", "--steps"], 2, "value is missing"),
        (["eval", "everything"], 2, "No such command"),
        (["bench", "nothing"], 2, "no such benchmark"),
        (["no-such-command"], 2, ""),
    ],
)
def test_invalid_requests_print_one_message_and_set_the_exit_code(
    call: Call, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    got, out, err = call(*(word.replace("{tmp}", str(tmp_path)) for word in words))
    assert got == code
    assert out == ""
    assert message in err.replace("\n", " ")


def test_an_unreadable_video_exits_with_1(call: Call, films: Path, model_folder: Path) -> None:
    code, _, err = call("align", films / "broken.mp4", "--text", "A star.", "--model", model_folder)
    assert code == 1
    assert "broken.mp4" in err


def test_a_missing_model_is_reported_with_a_way_to_get_it(call: Call, films: Path) -> None:
    code, _, err = call("align", films / "one.mp4", "--text", "A star.")
    assert code == 1
    assert "siglip2-base-patch32-256" in err
    assert "--model" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_failed_export_or_plot_does_not_lose_the_result(
    call: Call, films: Path, model_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "films"
    shutil.copytree(films, gone)
    call("index", gone, "--index", tmp_path / "i", "--model", model_folder)
    shutil.rmtree(gone)
    code, out, err = call("search", "a ring", "--index", tmp_path / "i", "--export", tmp_path / "clips", "--json")
    assert code == 1
    assert document(out)["results"]
    assert err.count("not exported: ") == len(document(out)["results"])
    nowhere = tmp_path / "picture.png"
    nowhere.symlink_to("/dev/full")
    code, out, err = call(
        "align", films / "one.mp4", "--text", "A ring.", "--model", model_folder, "--plot", nowhere, "--json"
    )
    assert code != 0
    assert document(out)["sentences"]
    assert "picture.png: cannot be written" in err


def test_an_index_that_does_not_exist_is_not_ignored(call: Call, films: Path, tmp_path: Path) -> None:
    code, _, err = call("align", films / "one.mp4", "--text", "A ring.", "--index", tmp_path / "typo")
    assert code == 2
    assert "no index here" in err


def test_missing_videos_are_reported_before_a_model_is_loaded(call: Call, tmp_path: Path) -> None:
    code, _, err = call("index", tmp_path, "--index", tmp_path / "i")
    assert code == 2
    assert "no videos in" in err


def test_a_byte_order_mark_in_a_caption_file_is_ignored(
    call: Call, films: Path, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "caption.txt").write_text("A ring.", encoding="utf-8-sig")
    _, out, _ = call(
        "align", films / "one.mp4", "--text-file", tmp_path / "caption.txt", "--model", model_folder, "--json"
    )
    assert document(out)["sentences"][0]["text"] == "A ring."
