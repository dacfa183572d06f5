"""GEXIA's tasks from annotation files to `mova eval`: each figure against what the model says when asked by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from mova.data.manifest import Row, read_manifest, write_manifest
from mova.models.gexia.model import Gexia
from mova.models.registry import load
from mova.train.recipe import load_recipe
from mova.train.run import train

Evaluate = Callable[..., dict[str, Any]]
Convert = Callable[..., Path]
NAMES = ("Romance", "Action / Crime", "Horror")


@pytest.fixture(scope="module")
def folder(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gexia") / "model"
    Gexia.from_backbone(load(tiny_clip, precision="fp32", device="cpu"), bases=3, heads=2).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def videos(worlds_manifest: Path) -> list[Path]:
    return [worlds_manifest.parent / row.video for row in read_manifest(worlds_manifest)]


@pytest.fixture
def convert(call: Callable[..., tuple[int, str, str]], tmp_path: Path, videos: list[Path]) -> Convert:
    """Annotation files of a set's own form -> its manifest; its videos are those of Worlds."""

    def run(name: str, files: Mapping[str, str]) -> Path:
        for file, text in files.items():
            path = tmp_path / "source" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        code, _, err = call("data", "convert", name, tmp_path / "source", tmp_path, "--videos", videos[0].parent)
        assert code == 0, err
        return tmp_path / "manifest.jsonl"

    return run


@pytest.fixture
def evaluate(call: Callable[..., tuple[int, str, str]]) -> Evaluate:
    def run(task: str, manifest: Path, model: Path, *words: object) -> dict[str, Any]:
        code, out, err = call("eval", task, "--manifest", manifest, "--model", model, *words, "--json")
        assert code == 0, err
        report: dict[str, Any] = json.loads(out)
        assert report["excluded"] == []
        return report

    return run


def opened(folder: Path) -> Gexia:
    model = load(folder, precision="fp32", device="cpu")
    assert isinstance(model, Gexia)
    return model


def encoded(model: Gexia, manifest: Path, rows: list[Row]) -> list[Any]:
    return [model.encode_video(manifest.parent / row.video, start=row.start or 0.0, end=row.end) for row in rows]


def test_lvu_is_trained_and_measured_by_its_head(
    folder: Path, videos: list[Path], convert: Convert, evaluate: Evaluate, tmp_path: Path
) -> None:
    lines = [f"{i % 3} {NAMES[i % 3]} {video.stem} tt{i}" for i, video in enumerate(videos)]
    tables = {"train": lines[:6], "val": lines[6:7], "test": lines[7:]}
    files = {f"lvu_1.0/genre/{split}.csv": "\n".join(["head", *table]) for split, table in tables.items()}
    files["lvu_1.0/writer/test.csv"] = f"head\n0 A {videos[0].stem} tt\n1 B {videos[1].stem} tt\n"
    files["lvu_1.0/view_count/test.csv"] = f"head\n1234 {videos[2].stem} tt\n"
    manifest = convert("lvu", files)
    settings = {"model.source": str(folder), "data.manifest": str(manifest), "data.task": "genre", "data.frames": "2"}
    training = {"max_steps": 2, "save_steps": 2, "per_device_train_batch_size": 3, "dataloader_num_workers": 0}
    settings |= {f"training.{key}": str(value) for key, value in {**training, "report_to": "[]"}.items()}
    train(load_recipe("gexia-classify", settings), tmp_path / "run")
    report = evaluate("classify", manifest, tmp_path / "run", "--task", "genre")
    model = opened(tmp_path / "run")
    assert sorted(model.labels) == sorted(NAMES)
    rows = [row for row in read_manifest(manifest) if row.split == "test" and row.meta["task"] == "genre"]
    predicted = [model.labels[i] for i in model.classify(encoded(model, manifest, rows)).argmax(dim=1)]
    right = [name == row.meta["name"] for name, row in zip(predicted, rows, strict=True)]
    assert report["figures"]["genre"]["top-1"] == pytest.approx(100 * np.mean(right))
    assert report["counts"]["genre"] == {"videos": 3, "classes": 3, "ties": 0}
    assert report["settings"]["by"] == "linear head"


def test_the_path_from_clips_to_metrics(
    tiny_clip: Path,
    worlds_manifest: Path,
    call: Callable[..., tuple[int, str, str]],
    evaluate: Evaluate,
    tmp_path: Path,
) -> None:
    """Expand, pre-train by the paper's recipe (one step of it), measure: nothing but commands."""
    source = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    source_manifest = write_manifest(tmp_path / "given.jsonl", source)
    operations = "segments integrate:source,min=2 compress:extractive,words=6 image:middle,of=SVST"
    words = ("--base", "PARAGRAPH", "--leave-out", "PARAGRAPH", "--ops", operations)
    code, _, err = call("data", "expand", source_manifest, tmp_path / "out", *words)
    assert code == 0, err
    manifest = tmp_path / "out" / "manifest.jsonl"
    counts = Counter(row.meta["granularity"] for row in read_manifest(manifest) if row.split == "train")
    assert counts.keys() == {"SVST", "LVLT", "LVST", "IT"}
    granularities = "{SVST: {frames: 2}, LVLT: {frames: 3}, LVST: {frames: 3}, IT: {frames: 1}}"
    settings = {
        "model.source": tiny_clip,
        "data.manifest": manifest,
        "data.granularities": granularities,
        "training.max_steps": 1,
        "training.save_steps": 1,
        "training.per_device_train_batch_size": 3,
        "training.dataloader_num_workers": 0,
        "training.report_to": "[]",
    }
    run = tmp_path / "run"
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    code, _, err = call("train", "gexia-pretrain", "--out", run, *options)
    assert code == 0, err
    assert opened(run).config.frames == {"image": 1, "short": 2, "long": 3}
    for granularity in ("LVLT", "LVST"):
        rows = [row for row in read_manifest(manifest) if row.meta["granularity"] == granularity]
        part = write_manifest(manifest.parent / f"{granularity}.jsonl", rows)
        report = evaluate("retrieval", part, run, "--split", "train", "--protocol", "captions")
        caption_counts = [len(row.captions) for row in rows if row.split == "train"]
        assert (report["queries"], report["candidates"]) == (sum(caption_counts), counts[granularity])


def test_charades_ego_is_a_map_over_its_classes(
    folder: Path, videos: list[Path], convert: Convert, evaluate: Evaluate
) -> None:
    names = ["Holding some clothes", "Closing a door", "Drinking from a cup"]
    class_lists = [[c for c in range(3) if (i + c) % 2] for i in range(4)]
    header = "id,script,actions,length"
    lines = [
        f"{video.stem},Somebody does it.,{';'.join(f'c{c:03} 0.0 5.0' for c in video_classes)},10.0"
        for video, video_classes in zip(videos, class_lists, strict=False)
    ]
    classes = "".join(f"c{c:03} {name}\n" for c, name in enumerate(names))
    files = {"CharadesEgo_v1_test_only1st.csv": "\n".join([header, *lines]), "Charades_v1_classes.txt": classes}
    manifest = convert("charades-ego", files)
    report = evaluate("classify", manifest, folder)
    model, rows = opened(folder), read_manifest(manifest)
    scores = model.zero_shot(encoded(model, manifest, rows), names, "{label}").numpy()
    right = np.array([[c in video_classes for c in range(3)] for video_classes in class_lists])
    expected = [average_precision_score(right[:, c], scores[:, c]) for c in range(3)]
    assert report["figures"]["all"]["mAP"] == pytest.approx(100 * np.mean(expected))


def test_how2qa_compares_clips_with_question_and_answer(
    folder: Path, videos: list[Path], convert: Convert, evaluate: Evaluate
) -> None:
    lines = [
        f'{video.stem},[{i}.5:{i + 4}.0],a star,a ring,a cross,"What moves, then?",a square'
        for i, video in enumerate(videos[:5])
    ]
    manifest = convert("how2qa", {"how2QA_val_release.csv": "\n".join(lines) + "\n"})
    report = evaluate("choice", manifest, folder)
    model, rows = opened(folder), read_manifest(manifest)
    right = []
    for row, video in zip(rows, encoded(model, manifest, rows), strict=True):
        texts = [f"{row.meta['question']} {option}" for option in row.meta["options"]]
        scores = model.similarity([video], model.encode_text(texts))[0]
        right.append(int(scores.argmax()) == row.meta["answer"])
    assert report["figures"]["all"]["accuracy"] == pytest.approx(100 * np.mean(right))
    assert report["counts"]["all"]["questions"] == 5


def test_images_in_class_folders_have_no_iteration_and_the_template(
    folder: Path, call: Callable[..., tuple[int, str, str]], evaluate: Evaluate, tmp_path: Path
) -> None:
    source = tmp_path / "imagenet"
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8)
        path = source / f"n0{i % 3}" / f"photo {i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (source / "LOC_synset_mapping.txt").write_text("n00 star, sun\nn01 ring\nn02 red square\n", encoding="utf-8")
    code, _, err = call("data", "convert", "class-folders", source, tmp_path / "out")
    assert code == 0, err
    manifest = tmp_path / "out" / "manifest.jsonl"
    report = evaluate("classify", manifest, folder)
    model, rows = opened(folder), read_manifest(manifest)
    names = ["star", "ring", "red square"]
    assert [row.meta["name"] for row in rows] == [names[0], names[0], names[1], names[1], names[2], names[2]]
    scores = model.zero_shot(encoded(model, manifest, rows), names)
    assert torch.equal(
        scores,
        model.similarity(
            encoded(model, manifest, rows), model.encode_text([f"A video of a {name}." for name in names])
        ),
    )
    assert {model.dense_video(manifest.parent / row.video).rounds for row in rows} == {0}
    right = (scores.argmax(dim=1) == torch.tensor([0, 0, 1, 1, 2, 2])).float()
    assert report["figures"]["all"]["top-1"] == pytest.approx(100 * right.mean().item())
    assert report["settings"]["template"] == ["A video of a {label}."]


def test_retrieval_uses_video_vectors_in_both_directions(
    folder: Path, worlds_manifest: Path, evaluate: Evaluate
) -> None:
    report = evaluate("retrieval", worlds_manifest, folder, "--split", "train", "--protocol", "paragraphs")
    model = opened(folder)
    rows = [row for row in read_manifest(worlds_manifest) if row.split == "train"]
    texts = model.encode_text([row.captions[0].text for row in rows])
    scores = model.similarity(encoded(model, worlds_manifest, rows), texts)
    for direction, matrix in (("v2t", scores), ("t2v", scores.T)):
        first = (matrix.argmax(dim=1) == torch.arange(len(rows))).float()
        assert report[direction]["R@1"] == pytest.approx(100 * first.mean().item())


def test_a_feature_store_of_frames_is_refused_where_whole_videos_are_compared(
    folder: Path, worlds_manifest: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert call("data", "features", worlds_manifest, store, "--model", folder, "--split", "test")[0] == 0
    words = ("eval", "retrieval", "--manifest", worlds_manifest, "--model", folder, "--protocol", "captions")
    code, _, err = call(*words, "--features", store)
    assert code == 2
    assert "leave --features out" in " ".join(err.split())
    assert call(*words, "--features", store, "--form", "late")[0] == 0


def test_rounds_of_inference_are_an_option(
    convert: Convert, evaluate: Evaluate, folder: Path, worlds_manifest: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    reports = {}
    for rounds in ("1-1", "3-1"):
        reports[rounds] = evaluate("retrieval", worlds_manifest, folder, "--iter", rounds, "--protocol", "captions")
        assert reports[rounds]["settings"]["iter"] == rounds
    prints = {json.dumps(report["model"]) for report in reports.values()}
    assert len(prints) == 2
    code, _, err = call("eval", "retrieval", "--manifest", worlds_manifest, "--model", folder, "--iter", "3")
    assert (code, "such as 3-1" in err) == (2, True)
    code, _, err = call(
        "eval", "retrieval", "--manifest", worlds_manifest, "--model", "mova-worlds-tiny", "--iter", "3-1"
    )
    assert (code, "for GEXIA models" in err) == (2, True)


def test_rounds_keep_the_number_of_frames(folder: Path) -> None:
    model = load(folder, precision="fp32", device="cpu")
    assert isinstance(model, Gexia)
    model.config.frames = {"image": 1, "short": 16, "long": 32}
    seconds, long = 5.0, 500.0
    assert (model._plan(seconds, 100), model._plan(long, 100)) == ((1, 16), (3, 32))
    model.config.set_rounds(2, 1)
    assert (model._plan(seconds, 100), model._plan(long, 100)) == ((2, 16), (2, 32))
    assert model._text_rounds("a dog") == 1
    model.config.rounds, model.config.video_rounds = {"image": 0, "short": 1, "long": 3}, 3  # as trained on LVLT
    assert model._plan(seconds, 100) == (3, 32)
    model.config.set_rounds(1, 1)
    assert (model._plan(seconds, 100), model._plan(0.0, 1)[0]) == ((1, 32), 1)
