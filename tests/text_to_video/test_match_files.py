"""Matching videos of other programs to their captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.data.synthetic import RenderRequest, render_requests, synthetic_videos
from mova.errors import DataError, UsageError
from mova.text_to_video.match_files import match_folder, match_table, plain
from mova.video.writer import write_mp4

Call = Callable[..., tuple[int, str, str]]
LONG = "A man is trimming the bottom of a palm tree and then climbs it"


def row(id: str, *negatives: str, kind: str | None = None) -> Row:
    listed = [{"text": text, **({"misalignment": kind} if kind else {})} for text in negatives]
    return Row(id, f"{id}.mp4", None, "train", (Caption("true"),), meta={"negatives": listed, "of": id.split("/")[0]})


ROWS = [row("v1/flip", LONG, kind="flip"), row("v1/count", "Two men!", kind="count"), row("v2", "a red, red dog")]
REQUESTS = render_requests(ROWS)


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_mp4(root / name, [np.zeros((4, 16, 16, 3), np.uint8)], fps=4)
    return root


def joined(root: Path, pattern: str, requests: list[RenderRequest] = REQUESTS) -> dict[str, list[str]]:
    result = match_folder(requests, root, pattern, "lavie")
    return {key: [Path(synthetic.video).name for synthetic in videos] for key, videos in result.videos.items()}


def test_names_are_compared_by_letters_and_digits() -> None:
    assert plain("A  man's  hat – Ünder_it.") == "a_man_s_hat_ünder_it"


@pytest.mark.parametrize(
    ("pattern", "name", "row"),
    [
        ("{text}.mp4", "two_men.mp4", "v1/count"),
        ("{text}.mp4", "A man is trimming the bottom of a pal.mp4", "v1/flip"),
        ("{text}-{index}.mp4", "a red, red dog-12.mp4", "v2"),
        ("{id}_{index}.mp4", "v1_flip_001.mp4", "v1/flip"),
        ("{of}/{misalignment}.mp4", "v1/count.mp4", "v1/count"),
        ("{line}.mp4", "0003.mp4", "v2"),
        ("{position}.MP4", "0000.mp4", "v1/flip"),
    ],
)
def test_patterns_of_file_names(pattern: str, name: str, row: str, tmp_path: Path) -> None:
    assert joined(folder(tmp_path, name), pattern) == {row: [Path(name).name]}


def test_unmatched_videos_and_captions_are_reported(tmp_path: Path) -> None:
    root = folder(tmp_path, "v1_2.mp4", "v2_10.mp4", "v2_9.mp4", "other.mp4", "v9_1.mp4")
    (root / "v2_11.mp4").write_bytes(b"no video")
    result = match_folder(REQUESTS, root, "{of}_{index}.mp4", "lavie")
    assert [(Path(v.video).name, v.index) for v in result.videos["v2"]] == [("v2_9.mp4", 0), ("v2_10.mp4", 1)]
    assert result.matched == 2
    assert [Path(name).name for name in result.files] == ["other.mp4", "v9_1.mp4"]
    assert [(Path(name).name, count) for name, count in result.ambiguous] == [("v1_2.mp4", 2)]
    assert [Path(name).name for name, _ in result.broken] == ["v2_11.mp4"]
    assert result.captions == [("v1/flip", LONG), ("v1/count", "Two men!")]


def test_a_truncated_name_must_match_exactly_one_caption(tmp_path: Path) -> None:
    requests = render_requests([row("a", LONG), row("b", LONG + " again")])
    result = match_folder(
        requests, folder(tmp_path, LONG[:40] + ".mp4", LONG + ".mp4", "A man is.mp4"), "{text}.mp4", "x"
    )
    assert list(result.videos) == ["a"]
    assert len(result.ambiguous) == len(result.files) == 1


def test_equal_captions_of_several_rows_share_a_video(tmp_path: Path) -> None:
    requests = render_requests([row("a", "two men"), row("b", "Two men")])
    assert joined(folder(tmp_path, "two men.mp4"), "{text}.mp4", requests[:1]) == {"a": ["two men.mp4"]}
    same = render_requests([row("a", "two men"), row("b", "two men")])
    assert list(joined(tmp_path, "{text}.mp4", same)) == ["a", "b"]


def test_wrong_patterns_and_folders(tmp_path: Path) -> None:
    for pattern in ("x.mp4", "{colour}.mp4", "{index}.mp4", "{id}{id}.mp4"):
        with pytest.raises(UsageError, match="must contain"):
            match_folder(REQUESTS, tmp_path, pattern, "x")
    with pytest.raises(UsageError, match="no such folder"):
        match_folder(REQUESTS, tmp_path / "none", "{id}.mp4", "x")
    with pytest.raises(DataError, match="no videos to match"):
        match_folder(REQUESTS, tmp_path, "{id}.mp4", "x")


def test_a_table_maps_videos_to_captions(tmp_path: Path) -> None:
    folder(tmp_path, "x/1.mp4", "x/2.mp4")
    (tmp_path / "table.csv").write_text(f"video,caption\n1.mp4,two men\n2.mp4,nobody\n3.mp4,{LONG}\n")
    result = match_table(REQUESTS, tmp_path / "table.csv", tmp_path / "x", "cogvideox")
    assert [v.generator for v in result.videos["v1/count"]] == [{"model": "cogvideox"}]
    assert [Path(name).name for name in result.files] == ["2.mp4"]
    assert [Path(name).name for name, _ in result.broken] == ["3.mp4"]


def test_join_from_the_command_line_keeps_existing_videos(call: Call, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "triplets.jsonl", ROWS)
    for name in ("lavie", "cogvideox"):
        root = folder(tmp_path / name, "two men.mp4", "nobody.mp4")
        words = ["--join", root, "--pattern", "{text}.mp4", "--model", name, "--json"]
        code, printed, _ = call("data", "synthesize", manifest, tmp_path / f"with-{name}", *words)
        report = json.loads(printed)
        assert (code, report["joined"], len(report["videos_without_caption"])) == (0, 1, 1)
        assert [entry["id"] for entry in report["captions_without_video"]] == ["v1/flip", "v2"]
        manifest = Path(report["manifest"])
    videos = synthetic_videos(read_manifest(manifest)[1])
    assert [v.generator["model"] for v in videos] == ["lavie", "cogvideox"]
    assert all((manifest.parent / v.video).is_file() for v in videos)
    code, _, _ = call(
        "data", "synthesize", manifest, tmp_path / "no", "--join", tmp_path, "--pattern", "{id}/{line}.mp4"
    )
    assert code == 1
