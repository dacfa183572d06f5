"""Rendering and weighing in parts that are joined again: the result of one run, and checks of what is joined."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.manifest import Caption, Row
from mova.data.synthetic import Synthetic, render_requests, synthetic_videos, with_added_videos, with_synthetic
from mova.errors import DataError, UsageError
from mova.text_to_video.parts import Part, joined, read_parts, write_part
from mova.text_to_video.render import BatchGenerator, merge, render, save_part
from mova.text_to_video.weighting import apply_scores, find_cases, merge_scores, save_scores, score_cases, weigh
from mova.video.writer import write_mp4
from tests.support.plain_generator import ROWS, Plain


class Many(Plain):
    """Renders several prompts at a time; more than `most` do not fit."""

    def __init__(self, name: str = "plain", most: int = 9) -> None:
        super().__init__(name)
        self.most, self.batches = most, list[int]()

    def render_many(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        self.batches.append(len(prompts))
        if len(prompts) > self.most:
            raise RuntimeError("out of memory")
        return [self.render(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]


def shown(videos: dict[str, list[Synthetic]]) -> list[tuple[str, str, int, bytes]]:
    return [
        (row, Path(video.video).name, video.index, Path(video.video).read_bytes())
        for row, listed in videos.items()
        for video in listed
    ]


def test_parts_cover_all_items_once() -> None:
    items = list("abcdefghij")
    parts = [Part(number, 4).pick(items) for number in (1, 2, 3, 4)]
    assert joined(parts) == items
    assert str(Part.parse(" 3/8 ")) == "3/8"
    for text in ("3", "0/8", "9/8", "1/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(UsageError, match="shard"):
            Part.parse(text)


def test_parts_render_what_one_run_renders(tmp_path: Path) -> None:
    requests = render_requests(ROWS, "negative", 3)
    whole = render(requests, Plain(), tmp_path / "whole", seed=7)
    for number in (2, 1):
        part = Part(number, 2)
        result = render(requests, Plain(), tmp_path / "parts", seed=7, part=part)
        assert (result.made, sum(map(len, result.videos.values()))) == (3, 3)
        save_part(result, part, requests, Plain(), tmp_path / "parts", 7)
    joined_result, generator = merge(requests, tmp_path / "parts", 7)
    assert shown(joined_result.videos) == shown(whole.videos)
    assert (joined_result.kept, generator) == (6, {"model": "plain", "revision": "plain"})
    first, second = (with_added_videos(ROWS, result.videos) for result in (whole, joined_result))
    for row, other in zip(first, second, strict=True):
        videos = zip(synthetic_videos(row), synthetic_videos(other), strict=True)
        assert all(replace(a, video="") == replace(b, video="") for a, b in videos)


def test_merging_names_what_does_not_belong_together(tmp_path: Path) -> None:
    requests = render_requests(ROWS, "negative", 2)

    def run(number: int, of: int = 2, seed: int = 7, name: str = "plain") -> None:
        part = Part(number, of)
        result = render(requests, Plain(name), tmp_path, seed=seed, part=part)
        save_part(result, part, requests, Plain(name), tmp_path, seed)

    with pytest.raises(DataError, match="no results of shards"):
        merge(requests, tmp_path, 7)
    run(1)
    with pytest.raises(DataError, match=r"shards 2/2 are missing.*--shard 2/2"):
        merge(requests, tmp_path, 7)
    run(2, seed=8)
    with pytest.raises(DataError, match=r"render-2-of-2\.json: was made with another seed \(8\).*\(7\)"):
        merge(requests, tmp_path, 7)
    run(2, name="other")
    with pytest.raises(DataError, match="another generator"):
        merge(requests, tmp_path, 7)
    run(2)
    with pytest.raises(DataError, match="another captions"):
        merge(requests[:1], tmp_path, 7)
    run(1, of=3)
    with pytest.raises(DataError, match="results of 2 and 3 shards"):
        merge(requests, tmp_path, 7)
    (tmp_path / "render-1-of-3.json").unlink()
    result, _ = merge(requests, tmp_path, 7)
    Path(result.videos["v2"][0].video).unlink()
    with pytest.raises(DataError, match="does not exist; copy the videos of all shards"):
        merge(requests, tmp_path, 7)
    (tmp_path / "render-1-of-2.json").write_text("[]")
    with pytest.raises(DataError, match="is damaged"):
        merge(requests, tmp_path, 7)


def test_a_part_leaves_the_unfinished_videos_of_others(tmp_path: Path) -> None:
    requests = render_requests(ROWS, "negative", 1)
    own = render(requests, Plain(), tmp_path, part=Part(1, 2)).videos["v1/action"][0].video
    others = tmp_path / "videos" / f".12.{'0' * 16}.mp4.part"
    mine = tmp_path / "videos" / f".12.{Path(own).name}.part"
    for path in (others, mine):
        path.write_text("half")
    render(requests, Plain(), tmp_path, part=Part(1, 2))
    assert (others.exists(), mine.exists()) == (True, False)
    render(requests, Plain(), tmp_path)
    assert not others.exists()


def test_a_batch_renders_the_same_videos(tmp_path: Path) -> None:
    requests = render_requests(ROWS, "negative", 3)
    whole = render(requests, Plain(), tmp_path / "whole")
    many = Many()
    assert isinstance(many, BatchGenerator)
    assert not isinstance(Plain(), BatchGenerator)
    result = render(requests, many, tmp_path / "many", batch=4)
    assert many.batches == [4, 2]
    assert shown(result.videos) == shown(whole.videos)
    assert result.videos["v2"][0].generator["batch"] == 4
    few = Many(most=1)
    assert shown(render(requests, few, tmp_path / "few", batch=4).videos) == shown(whole.videos)
    failing = render(render_requests(ROWS, "all", 1), Many(), tmp_path / "failing", batch=8)
    assert (failing.made, [text for _, text, _ in failing.failed]) == (3, ["a dog", "a red dog"])


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    rng, made = np.random.default_rng(0), []
    for i in range(5):
        write_mp4(tmp_path / f"{i}.mp4", [rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)], fps=4)
        row = Row(f"v{i}", "real.mp4", None, "train", (Caption(f"true {i}"),))
        made.append(with_synthetic(row, [Synthetic(f"{i}.mp4", f"false {i}", "negative", 0, 0, 1.0, "action")]))
    (tmp_path / "3.mp4").write_text("no video")
    return made


class Judge:
    """Scores by names, several videos at a time."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, video: Path, texts: Sequence[str]) -> Sequence[float]:
        (result,) = self.score_many([video], [texts])
        if isinstance(result, Exception):
            raise result
        return result

    def score_many(self, videos: Sequence[Path], texts: Sequence[Sequence[str]]) -> list[Any]:
        from mova.errors import VideoError

        self.asked.append(len(videos))
        return [
            VideoError(video, "broken") if video.stem == "3" else [(int(video.stem) + len(t)) / 20 for t in asked]
            for video, asked in zip(videos, texts, strict=True)
        ]


def test_scores_in_parts_give_the_same_weights(rows: list[Row], tmp_path: Path) -> None:
    def models() -> dict[str, Callable[[], Any]]:
        return {"one": lambda: ("k1", Judge()), "two": lambda: ("k2", Judge())}

    whole = weigh(rows, tmp_path, models())
    cases, _ = find_cases(rows, tmp_path)
    assert whole.broken == [(str(tmp_path / "3.mp4"), "broken")]
    for number in (1, 2):
        part = Part(number, 2)
        save_scores(score_cases(part.pick(cases), models()), part, cases, tmp_path, frames=4, prompt="figure")
    scored = merge_scores(cases, tmp_path, frames=4, prompt="figure")
    merged = apply_scores(rows, tmp_path, scored)
    assert merged.rows == whole.rows
    assert merged.broken == whole.broken
    with pytest.raises(DataError, match="another frames"):
        merge_scores(cases, tmp_path, frames=8, prompt="figure")
    with pytest.raises(DataError, match="another cases"):
        merge_scores(cases[1:], tmp_path, frames=4, prompt="figure")
    settings, contents = read_parts(tmp_path, "weights", {})
    write_part(Part(2, 2), tmp_path, "weights", settings | {"models": {"one": "k1", "two": "k3"}}, contents[1])
    with pytest.raises(DataError, match="another models"):
        merge_scores(cases, tmp_path, frames=4, prompt="figure")


def test_several_videos_are_scored_at_a_time(rows: list[Row], tmp_path: Path) -> None:
    from mova.text_to_video.score_cache import ScoreCache

    single, several = Judge(), Judge()
    first = weigh(rows, tmp_path, {"one": lambda: ("k", single)})
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        weigh(rows[:2], tmp_path, {"one": lambda: ("k", Judge())}, cache=cache)
        result = weigh(rows, tmp_path, {"one": lambda: ("k", several)}, cache=cache, batch=4)
    assert single.asked == [1] * 5
    assert several.asked == [2, 1]  # two are cached
    assert result.rows == first.rows


def test_the_commands_divide_and_join(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    from mova.data.manifest import read_manifest, write_manifest
    from mova.text_to_video import weighting
    from mova.text_to_video.diffusers_pipeline import TextToVideo

    monkeypatch.setattr(TextToVideo, "from_pretrained", lambda *_, **__: Plain())
    monkeypatch.setattr(Plain, "guided", None, raising=False)
    triplets = write_manifest(tmp_path / "triplets.jsonl", [replace(row, video="real.mp4") for row in ROWS])
    command = ("data", "synthesize", triplets, tmp_path / "out")
    for shard in ("1/2", "2/2"):
        code, out, err = call(*command, "--model", "plain", "--shard", shard, "--json")
        assert (code, json.loads(out)["made"]) == (0, 1)
        assert "--merge" in err
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    code, out, _ = call(*command, "--merge", "--json")
    assert (code, json.loads(out)["kept"], json.loads(out)["generator"]["model"]) == (0, 2, "plain")
    assert [len(synthetic_videos(row)) for row in read_manifest(tmp_path / "out" / "manifest.jsonl")] == [1, 1]
    assert call(*command, "--merge", "--model", "plain")[0] == 2
    assert call(*command, "--merge", "--shard", "1/2")[0] == 2

    monkeypatch.setattr(weighting, "figure_loader", lambda *_, **__: lambda: ("k", Judge()))
    manifest = write_manifest(tmp_path / "manifest.jsonl", rows)
    command = ("data", "weights", manifest, tmp_path / "weighted")
    for shard in ("2/3", "1/3", "3/3"):
        assert call(*command, "--vqa", "m", "--shard", shard, "--batch", "2")[0] == 0
    assert call(*command, "--merge", "--vqa", "m")[0] == 2
    assert call(*command)[0] == 2
    code, out, _ = call(*command, "--merge", "--json")
    assert (code, json.loads(out)["videos"], json.loads(out)["models"]) == (0, 4, ["m"])
    expected = weigh(rows, tmp_path, {"m": lambda: ("k", Judge())})
    weighted = read_manifest(tmp_path / "weighted" / "manifest.jsonl")
    for row, other in zip(weighted, expected.rows, strict=True):
        assert [v.weight for v in synthetic_videos(row)] == [v.weight for v in synthetic_videos(other)]
