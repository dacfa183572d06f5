"""SynViTA's training: equal gradients of all memory-saving paths, resuming, what a run leaves, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

pytest.importorskip("peft")

from transformers import TrainerCallback

from mova.data.manifest import Row, read_manifest, write_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.data.synthetic import synthetic_videos
from mova.errors import DataError, ModelError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.entailment import evaluate_entailment
from mova.eval.tasks.video_llm import open_any_split
from mova.losses.entailment import synvita_loss
from mova.models.video_llm.explanation import answer_and_explain, explained_tail
from mova.models.video_llm.model import VideoLLM
from mova.train.callbacks import BrokenVideos
from mova.train.grad_cache import split_backward
from mova.train.objectives.base import ModelEncoder
from mova.train.objectives.synvita import Synvita
from mova.train.recipe import Recipe, data_settings, load_recipe, model_settings, read_objective
from mova.train.run import train
from mova.train.sources.base import RunContext
from mova.train.sources.triplets import EntailmentValidation, shared_part, weigh_by
from mova.train.trainer import PairArguments
from tests.support.tiny_videollms import build

FAMILIES = ("video_llava", "qwen2_5_vl")
WHOLE_PATH = ("internvl", "qwen3_vl")
"""Families that go the whole way beside Video-LLaVA, in slow tests."""
SCORES = [{"own": 0.9, "other": 0.2}, {"own": 0.4, "other": 0.6}, {"own": 0.7, "other": 0.3}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = build(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


@pytest.fixture(scope="module")
def manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four triplets of training, the last without a synthetic video, and two of validation."""
    rows = read_manifest(worlds_manifest)
    train_rows = [row for row in rows if row.split == "train"][:4]
    unchanged = [row for row in rows if row.split == "test"] + train_rows[2:]
    triplets = [_triplet(row, worlds_manifest.parent) for row in train_rows]
    for i, scores in enumerate(SCORES):
        synthetic = {
            "video": str(worlds_manifest.parent / unchanged[i].video),
            "text": triplets[i].meta["negatives"][0]["text"],
            "role": "negative",
            "place": 0,
            "index": 0,
            "duration": 10.0,
            "weighing": scores,
        }
        triplets[i] = replace(triplets[i], meta={**triplets[i].meta, "synthetic": [synthetic]})
    triplets += [_triplet(row, worlds_manifest.parent) for row in rows if row.split == "val"]
    return write_manifest(tmp_path_factory.mktemp("triplets") / "manifest.jsonl", triplets)


def _triplet(row: Row, folder: Path) -> Row:
    text = f"A {row.id} moves to the left, then a circle appears."
    caption = replace(row.captions[0], text=text, sentences=())
    negative = {"text": text.replace("left", "right"), "misalignment": "relation"}
    return replace(row, video=str(folder / row.video), captions=(caption,), meta={"negatives": [negative]})


@pytest.fixture
def small(base: Callable[[str], Path], manifest: Path) -> Callable[..., Recipe]:
    def make(kind: str = "video_llava", **sections: dict[str, Any]) -> Recipe:
        source = str(base(kind))
        plain: dict[str, dict[str, Any]] = {
            "model": {"source": source, "rank": 4, "alpha": 8, "dropout": 0.0, "precision": "fp32", "max_frames": 4},
            "data": {"kind": "triplets", "manifest": str(manifest)},
            "objective": {"kind": "synvita", "consistency": 1.0},
            "training": {
                "max_steps": 2,
                "per_device_train_batch_size": 4,
                "logging_steps": 1,
                "save_strategy": "no",
                "learning_rate": 1e-2,
                "bf16": False,
                "report_to": [],
            },
        }
        plain["model"]["kind"] = "video-llm"
        return Recipe("small", seed=3, **{name: {**plain[name], **sections.get(name, {})} for name in plain})

    return make


def adapters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def assert_equal(actual: torch.nn.Module, expected: torch.nn.Module, tolerance: float = 0.0) -> None:
    first, second = adapters(actual), adapters(expected)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=0, atol=tolerance), name


def logged(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "loss" in row]


def opened(recipe: Recipe, folder: Path) -> tuple[dict[str, Any], ModelEncoder, Synvita]:
    """The batch of all training triplets, the model and the objective of a recipe, without a trainer."""
    torch.manual_seed(3)
    model = model_settings(recipe).build()
    for name, weight in model.named_parameters():  # as after some steps: what B holds decides A's gradient
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    objective = cast(Synvita, read_objective(recipe))
    broken, arguments = BrokenVideos(folder / "broken.jsonl"), PairArguments(output_dir=str(folder), report_to=[])
    training_data = data_settings(recipe).build(RunContext(model, objective, arguments, broken, seed=0))
    batch = training_data.collate([training_data.dataset[i] for i in range(4)])
    assert batch.pop("broken") == ()
    return batch, ModelEncoder(model.train(), model, training_data.encode), objective


def gradients(
    objective: Synvita, batch: dict[str, Any], towers: ModelEncoder, chunk: int
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    towers.net.zero_grad()
    loss, parts = split_backward(objective, batch, towers, chunk)
    gradients_of = {
        name: weight.grad.clone() for name, weight in towers.net.named_parameters() if weight.grad is not None
    }
    return gradients_of, {"loss": float(loss), **{name: float(value) for name, value in parts.items()}}


class Stop(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["video_llava", pytest.param("qwen2_5_vl", marks=pytest.mark.slow)])
def test_the_logged_loss_is_equation_7_and_only_adapters_change(
    kind: str, small: Callable[..., Recipe], base: Callable[[str], Path], manifest: Path, tmp_path: Path
) -> None:
    model = train(small(kind), tmp_path / "run")
    fresh = VideoLLM.from_pretrained(base(kind), precision="fp32", device="cpu", max_frames=4)
    rows = [row for row in read_manifest(manifest) if row.split == "train"]
    log_odds, common = torch.zeros(4, 2, 2), torch.zeros(4, 2, 2)
    for i, row in enumerate(rows):
        tails = fresh.tails([row.captions[0].text, row.meta["negatives"][0]["text"]])
        shared = shared_part(*tails)
        videos = [row.video, *(synthetic["video"] for synthetic in row.meta.get("synthetic", []))]
        with torch.no_grad():
            for v, video in enumerate(videos):
                clips = [fresh.prepare(video)] * 2
                log_odds[i, v] = fresh.pair_log_odds(clips, tails)
                common[i, v] = fresh.pair_log_odds(clips, tails, keep=shared)
    weights = torch.tensor([0.7, 0.0, 0.4, 0.0])  # max(0, own - other); the last has no synthetic video
    loss, parts = synvita_loss(log_odds.double(), weights.double(), common.double(), 1.0)
    first = logged(tmp_path / "run")[0]
    assert first["loss"] == pytest.approx(float(loss), abs=1e-4)
    for name, value in parts.items():
        assert first[name] == pytest.approx(float(value), abs=1e-4), name
    assert (first["weight"], first["shown"]) == (pytest.approx(0.275), 0.5)
    moved = {name for name, value in adapters(model).items() if "lora_B" in name and value.abs().sum() > 0}
    assert len(moved) == 8  # of two layers, four projections
    before = fresh.model.state_dict()
    after = {name.replace(".base_layer", ""): value for name, value in model.get_base_model().state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("kind", FAMILIES)
def test_micro_batches_and_checkpointing_give_the_gradients_of_the_whole_batch(
    kind: str, small: Callable[..., Recipe], tmp_path: Path
) -> None:
    batch, towers, objective = opened(small(kind), tmp_path)
    expected, expected_parts = gradients(objective, batch, towers, 0)
    for chunk, checkpointing in ((1, True), (3, False)):
        if checkpointing:
            towers.net.activation_checkpointing_enable()
        else:
            towers.net.activation_checkpointing_disable()
        actual, parts_actual = gradients(objective, batch, towers, chunk)
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-5)
        assert parts_actual == pytest.approx(expected_parts, abs=1e-5)


@pytest.mark.slow
def test_accumulated_batches_give_the_weights_of_one_batch(small: Callable[..., Recipe], tmp_path: Path) -> None:
    sgd = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    plain = train(small(training=sgd), tmp_path / "plain")
    accumulated = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    assert_equal(plain, train(small(training=sgd | accumulated), tmp_path / "accumulated"), 2e-5)


@pytest.mark.parametrize("kind", ["video_llava", *(pytest.param(k, marks=pytest.mark.slow) for k in WHOLE_PATH)])
def test_a_stopped_run_equals_an_unbroken_one_and_its_folder_is_a_model(
    kind: str, small: Callable[..., Recipe], manifest: Path, tmp_path: Path
) -> None:
    """Train, stop, resume, load, score and evaluate."""
    small = partial(small, kind)
    dropped = {"dropout": 0.05}
    saving = {"max_steps": 3, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1}
    unbroken = train(small(model=dropped, training=saving), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small(model=dropped, training=saving), tmp_path / "cut", callbacks=[Stop()])
    assert_equal(unbroken, train(small(model=dropped, training=saving), tmp_path / "cut", resume=True))
    assert [row["step"] for row in logged(tmp_path / "cut")] == [1, 2, 3]
    again = VideoLLM.from_pretrained(tmp_path / "whole", precision="fp32", device="cpu", max_frames=4)
    row = read_manifest(manifest)[0]
    text = row.captions[0].text
    torch.testing.assert_close(again.log_odds(row.video, [text]), unbroken.scorer.log_odds(row.video, [text]))
    report = evaluate_entailment(open_any_split(again, manifest, "val"), find_protocol("entailment")).to_json()
    assert report["model"]["fingerprint"] == again.fingerprint()
    assert 0 <= report["figures"]["all"]["AUC"] <= 100
    assert report["excluded"] == []
    config = json.loads((tmp_path / "whole" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == small().model["source"]
    further = small(model={"source": str(tmp_path / "whole"), "dropout": 0.05}, training={"max_steps": 1})
    second = train(further, tmp_path / "second")
    assert any(not torch.equal(value, adapters(unbroken)[name]) for name, value in adapters(second).items())
    with pytest.raises(UsageError, match=r"its adapters have model.rank 4, which cannot"):
        train(replace(further, model={**further.model, "rank": 8}), tmp_path / "third")


def test_validation_keeps_the_checkpoint_of_the_highest_auc(
    small: Callable[..., Recipe], manifest: Path, tmp_path: Path
) -> None:
    training = {
        "save_strategy": "steps",
        "save_steps": 1,
        "metric_for_best_model": "AUC",
        "learning_rate": 0.5,
        "per_device_train_batch_size": 2,
    }
    train(small(data={"validation": "val"}, training=training), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    auc_of = {line["step"]: line["eval_AUC"] for line in lines if "eval_AUC" in line}
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert auc_of.keys() == {1, 2}
    assert summary["best"] == max(auc_of.values())
    judge = VideoLLM.from_pretrained(tmp_path / "run", precision="fp32", device="cpu", max_frames=4)
    (report,) = [
        line for line in lines if line.get("eval_AUC") == summary["best"] and line["step"] == summary["best_step"]
    ]
    rows = [row for row in read_manifest(manifest) if row.split == "val"]
    log_odds = [judge.log_odds(r.video, [r.captions[0].text, r.meta["negatives"][0]["text"]]).tolist() for r in rows]
    pairs = [float(true_score > false_score) for true_score, _ in log_odds for _, false_score in log_odds]
    assert report["eval_AUC"] == pytest.approx(100 * sum(pairs) / len(pairs))
    assert report["eval_accuracy"] == pytest.approx(
        100 * sum(true_score > false_score for true_score, false_score in log_odds) / len(log_odds)
    )


def test_validation_leaves_out_quarantined_rows_and_those_without_captions(
    base: Callable[[str], Path], manifest: Path, tmp_path: Path
) -> None:
    first, second = (row for row in read_manifest(manifest) if row.split == "val")
    rows = [first, second, replace(first, id="silent", captions=())]
    bad = write_quarantine(tmp_path / "bad.jsonl", [Quarantined(second.id, second.video, "other duration", "cut off")])
    llm = VideoLLM.from_pretrained(base("video_llava"), precision="fp32", device="cpu", max_frames=4)
    broken = BrokenVideos(tmp_path / "broken.jsonl")
    validation = EntailmentValidation(
        llm, str(write_manifest(tmp_path / "val.jsonl", rows)), "val", broken, quarantine=str(bad)
    )(llm)
    right, wrong = llm.log_odds(first.video, [first.captions[0].text, first.meta["negatives"][0]["text"]]).tolist()
    assert validation == {"AUC": 100.0 * (right > wrong), "accuracy": 100.0 * (right > wrong)}
    assert len(broken) == 0


def test_training_without_synthetic_videos(small: Callable[..., Recipe], tmp_path: Path) -> None:
    batch, towers, objective = opened(small(objective={"strategy": "none"}), tmp_path)
    with torch.no_grad():
        loss, parts = objective.forward(batch, towers)
    torch.testing.assert_close(loss, parts["real"])
    assert [parts[name].item() for name in ("weight", "shown", "synthetic")] == [0.0, 0.0, 0.0]
    assert "consistency" not in parts
    assert batch["synthetic"] == batch["keep"] == [None] * 4


def explained(manifest: Path, folder: Path, words: str = "To the left, not to the right.") -> Path:
    """The same triplets; all but the second have an explanation."""
    rows = read_manifest(manifest)
    for i, row in enumerate(rows):
        if i != 1:
            negative = {**row.meta["negatives"][0], "explanation": f"{words} {i}"}
            rows[i] = replace(row, meta={**row.meta, "negatives": [negative]})
    return write_manifest(folder / "explained.jsonl", rows)


def test_explanations_are_a_second_task_of_the_same_model(
    small: Callable[..., Recipe], base: Callable[[str], Path], manifest: Path, tmp_path: Path
) -> None:
    path = explained(manifest, tmp_path)
    both = small(data={"manifest": str(path)}, objective={"explanation": 0.5})
    batch, towers, objective = opened(both, tmp_path)
    whole, parts = gradients(objective, batch, towers, 0)
    chunked, chunked_parts = gradients(objective, batch, towers, 1)
    assert chunked_parts == pytest.approx(parts, abs=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, rtol=1e-4, atol=1e-5)
    assert parts["explained"] == 0.75
    terms = parts["real"] + parts["synthetic"] + 1.0 * parts["consistency"] + 0.5 * parts["explanation"]
    assert parts["loss"] == pytest.approx(terms, abs=1e-5)
    without = opened(small(data={"manifest": str(path)}), tmp_path)
    assert "explained" not in without[0]
    plain, plain_parts = gradients(without[2], without[0], without[1], 0)
    assert "explanation" not in plain_parts
    assert plain_parts["real"] == pytest.approx(parts["real"], abs=1e-5)
    assert any(not torch.allclose(value, plain[name]) for name, value in whole.items())
    longer = {"max_steps": 6, "learning_rate": 4e-2}
    train(replace(both, training={**both.training, **longer}), tmp_path / "run")
    log = logged(tmp_path / "run")
    assert log[-1]["explanation"] < 0.95 * log[0]["explanation"]
    data = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    assert (data["triplets"], data["explained"]) == (4, 3)
    again = VideoLLM.from_pretrained(tmp_path / "run", precision="fp32", device="cpu", max_frames=4)
    fresh = VideoLLM.from_pretrained(base("video_llava"), precision="fp32", device="cpu", max_frames=4)
    row = read_manifest(path)[0]
    text, answer = row.meta["negatives"][0]["text"], row.meta["negatives"][0]["explanation"]
    with torch.no_grad():
        told, before = (
            float(
                answer_and_explain(llm, llm.prepare(row.video), llm.tails([text]), explained_tail(llm, text, answer))[1]
            )
            for llm in (again, fresh)
        )
    assert told < 0.95 * before


def test_explanations_that_cannot_be_trained_are_reported_before_training(
    small: Callable[..., Recipe], manifest: Path, tmp_path: Path
) -> None:
    weighted = {"explanation": 1.0}
    with pytest.raises(
        DataError, match=r"no negative of split 'train' has an explanation, .* videocon_llm_feedback\.csv"
    ):
        train(small(objective=weighted), tmp_path / "run")
    path = explained(manifest, tmp_path, "See <image> here.")
    with pytest.raises(DataError, match=r"the answer 'See <image> here\. 0' contains the control token"):
        train(small(objective=weighted, data={"manifest": str(path)}), tmp_path / "run")
    with pytest.raises(UsageError, match=r"objective\.explanation -1\.0: must be 0 or more"):
        train(small(objective={"explanation": -1.0}), tmp_path / "run")


def test_broken_videos_are_named_and_do_not_affect_other_rows(
    small: Callable[..., Recipe], manifest: Path, tmp_path: Path
) -> None:
    rows = read_manifest(manifest)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    gone = replace(rows[0], meta={**rows[0].meta, "synthetic": [rows[0].meta["synthetic"][0] | {"video": str(bad)}]})
    changed = [gone, replace(rows[1], video="missing.mp4"), *rows[2:]]
    path = write_manifest(tmp_path / "manifest.jsonl", changed)
    train(small(data={"manifest": str(path)}, training={"max_steps": 1, "cache_chunk": 1}), tmp_path / "run")
    (row,) = logged(tmp_path / "run")
    assert row["broken"] == 2
    assert (row["shown"], row["weight"]) == (pytest.approx(1 / 3, abs=1e-4), pytest.approx(0.4 / 3, abs=1e-4))
    named = [json.loads(line)["path"] for line in (tmp_path / "run" / "broken.jsonl").read_text().splitlines()]
    assert {Path(name).name for name in named} == {"bad.mp4", "missing.mp4"}
    none = write_manifest(
        tmp_path / "none.jsonl", [replace(row, video=f"missing{i}.mp4") for i, row in enumerate(rows)]
    )
    with pytest.raises(DataError, match="none of the 4 real videos"):
        train(small(data={"manifest": str(none)}, training={"max_steps": 1}), tmp_path / "nothing")


def test_a_broken_video_that_is_a_batch_of_its_own_is_left_out(
    small: Callable[..., Recipe], manifest: Path, tmp_path: Path
) -> None:
    rows = [row for row in read_manifest(manifest) if row.split == "train"]
    single = {"max_steps": 1, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "optim": "sgd"}
    path = write_manifest(tmp_path / "one.jsonl", [replace(rows[0], video="missing.mp4"), *rows[1:]])
    train(small(data={"manifest": str(path)}, training=single), tmp_path / "run")
    (line,) = logged(tmp_path / "run")
    assert line["broken"] == 1
    assert line["shown"] == pytest.approx(1 / 3, abs=1e-4)
    broken_list = tmp_path / "anew" / "broken.jsonl"  # of a run that was stopped before its first checkpoint
    broken_list.parent.mkdir()
    broken_list.write_text('{"path": "mended.mp4", "cause": "empty"}\n')
    train(small(data={"manifest": str(path)}, training=single), broken_list.parent)
    assert [Path(json.loads(entry)["path"]).name for entry in broken_list.read_text().splitlines()] == ["missing.mp4"]
    gone = [replace(rows[0], id=f"v{i}", video=f"missing{i}.mp4") for i in range(5)]
    path = write_manifest(tmp_path / "none.jsonl", gone)
    with pytest.raises(DataError, match="no video of 5 batches in a row"):
        train(small(data={"manifest": str(path)}, training={**single, "max_steps": 5}), tmp_path / "nothing")


def test_a_synthetic_video_without_scores_does_not_stop_a_run(manifest: Path) -> None:
    rows = read_manifest(manifest)
    videos = [video for row in rows for video in synthetic_videos(row)]
    lost = replace(videos[1], weighing={"broken": "is no video"})
    assert weigh_by([videos[0], lost, videos[2]], "difference") == pytest.approx([0.7, 0.0, 0.4])
    assert weigh_by([lost], "own") == pytest.approx([0.0])
    with pytest.raises(DataError, match="1 of 2 synthetic videos have no scores"):
        weigh_by([lost, replace(lost, weighing={"own": 0.3})], "own")


def test_errors_are_reported_before_training(small: Callable[..., Recipe], manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'strategy' must be one of fixed, own"):
        train(small(objective={"strategy": "best"}), tmp_path / "a")
    with pytest.raises(UsageError, match=r"pass --data.manifest"):
        train(small(data={"manifest": None}), tmp_path / "a")
    rows = read_manifest(manifest)
    bare = write_manifest(tmp_path / "bare.jsonl", [replace(row, meta={}) for row in rows])
    with pytest.raises(DataError, match="no negatives; make them with `mova data contrast`"):
        train(small(data={"manifest": str(bare)}), tmp_path / "a")
    unscored = [{key: value for key, value in rows[0].meta["synthetic"][0].items() if key != "weighing"}]
    path = write_manifest(
        tmp_path / "unscored.jsonl", [replace(rows[0], meta={**rows[0].meta, "synthetic": unscored}), *rows[1:]]
    )
    with pytest.raises(DataError, match="1 of 3 synthetic videos have no scores"):
        train(small(data={"manifest": str(path)}), tmp_path / "a")
    odd = replace(rows[0], meta={"negatives": [{"text": "a <image> of it"}]})
    path = write_manifest(tmp_path / "odd.jsonl", [odd, *rows[1:]])
    with pytest.raises(DataError, match="control token"):
        train(small(data={"manifest": str(path)}), tmp_path / "a")
    worlds = replace(small(), model={"kind": "worlds-tiny", "image_size": 32, "stem": [8, 8], "hidden_size": 16})
    with pytest.raises(UsageError, match=r"set model.kind to video-llm"):
        train(worlds, tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "precision"), [("synvita", torch.bfloat16), ("synvita-video-llava", torch.float32)], ids=["bf16", "fp32"]
)
def test_shipped_recipes_take_a_step(
    name: str, precision: torch.dtype, base: Callable[[str], Path], manifest: Path, tmp_path: Path
) -> None:
    half = precision == torch.bfloat16
    settings = {
        "model.source": base("qwen2_5_vl" if name == "synvita" else "video_llava"),
        "model.precision": "bf16" if half else "fp32",
        "model.max_frames": 4,
        "data.manifest": manifest,
        "training.bf16": str(half).lower(),
        "training.max_steps": 1,
        "training.logging_steps": 1,
        "training.save_strategy": "'no'",
        "training.gradient_accumulation_steps": 1,
        "training.dataloader_num_workers": 0,
    }
    recipe = load_recipe(name, {key: str(value) for key, value in settings.items()})
    model = train(recipe, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (32, 32, 0.05)
    assert {weight.dtype for weight in adapters(model).values()} == {torch.float32}
    assert model.scorer.model.dtype == precision
    assert all(math.isfinite(row[key]) for row in logged(tmp_path / "run") for key in ("loss", "grad_norm"))


PAPER = {"rank": 32, "alpha": 32, "dropout": 0.05}
SCRIPTS = {
    "num_train_epochs": 1,
    "weight_decay": 1e-4,
    "warmup_steps": 200,
    "max_grad_norm": 1.0,
    "gradient_checkpointing": True,
}
"""Settings that both published scripts share (lucazanella/synvita, slurm/mPLUG_Owl/train_synvita.sh and
slurm/Video_LLaVA/finetune_lora_synvita.sh; the clipping of the second is the default of transformers)."""


@pytest.mark.parametrize(
    ("name", "strategy", "consistency", "frames", "rate", "captions"),
    [
        ("synvita", "difference", 0.01, 32, 1e-4, 4 * 8),  # four processes of 8 captions
        ("synvita-video-llava", "product", 1.0, 8, 5e-5, 4 * 4),
    ],
)
def test_recipes_hold_the_papers_settings_and_those_of_its_scripts(
    name: str, strategy: str, consistency: float, frames: int, rate: float, captions: int
) -> None:
    recipe = load_recipe(name)
    assert {key: recipe.model[key] for key in PAPER} == PAPER
    assert recipe.model["max_frames"] == frames
    assert {key: recipe.objective[key] for key in ("strategy", "consistency", "margin")} == {
        "strategy": strategy,
        "consistency": consistency,
        "margin": 0.2,
    }
    assert recipe.objective["explanation"] == 0.0
    assert {key: recipe.training[key] for key in SCRIPTS} == SCRIPTS
    assert recipe.training["learning_rate"] == rate
    triplets = recipe.training["per_device_train_batch_size"] * recipe.training["gradient_accumulation_steps"]
    assert 2 * triplets == captions  # a triplet has two


def test_table_2_and_table_5_are_settings_of_the_data(small: Callable[..., Recipe], tmp_path: Path) -> None:
    kinds = small(data={"kinds": ["relation"]}, training={"max_steps": 1})
    train(kinds, tmp_path / "relation")
    data = json.loads((tmp_path / "relation" / "training.json").read_text())["data"]
    assert (data["triplets"], data["synthetic"], data["items"]) == (4, 3, 4)
    with pytest.raises(DataError, match=r"chosen kinds \(flip\)"):
        train(small(data={"kinds": ["flip"]}), tmp_path / "flip")
    with pytest.raises(UsageError, match="'verb' is not a kind"):
        train(small(data={"kinds": ["verb"]}), tmp_path / "verb")


def test_adapters_remember_frames_question_and_sampling(
    small: Callable[..., Recipe],
    worlds_manifest: Path,
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    question = tmp_path / "question.yaml"
    question.write_text('text: "Is it true that {text}"\n')
    recipe = small(
        model={"max_frames": 3, "prompt": str(question)}, training={"max_steps": 1, "save_strategy": "steps"}
    )
    model = train(replace(recipe, training={**recipe.training, "save_steps": 1}), tmp_path / "run")
    trained = model.scorer
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoint-1"):
        again = VideoLLM.from_pretrained(folder, precision="fp32", device="cpu")
        assert (again.max_frames, again.question, again.budget) == (3, trained.question, trained.budget)
        assert again.fingerprint() == trained.fingerprint()
    with caplog.at_level("WARNING"):
        other = VideoLLM.from_pretrained(tmp_path / "run", precision="fp32", device="cpu", max_frames=2)
    assert (other.max_frames, other.question) == (2, trained.question)
    assert "frames per video, at most: 2 now, 3 in the training of its adapters" in caplog.text
    row = read_manifest(worlds_manifest)[0]
    claims = replace(
        row, video=str(worlds_manifest.parent / row.video), split="test", meta={"negatives": [{"text": "no"}]}
    )
    (tmp_path / "sets").mkdir()
    write_manifest(tmp_path / "sets" / "videocon-human.jsonl", [claims])
    words = ("eval", "synvita", "--model", tmp_path / "run", "--data", tmp_path / "sets", "--any-size", "--json")
    code, out, err = call(*words)
    assert code == 0, err
    settings = json.loads(out)["tests"]["VideoCon Human"]["report"]["settings"]
    assert (settings["question"], settings["budget"]["max_frames"]) == ("Is it true that {text}", 3)
    (tmp_path / "run" / "mova_scoring.json").write_text('{"max_frames": "many"}')
    with pytest.raises(ModelError, match=r"mova_scoring\.json: damaged"):
        VideoLLM.from_pretrained(tmp_path / "run", precision="fp32", device="cpu")


def test_the_published_comparison_of_characters_changes_the_mask(base: Callable[[str], Path]) -> None:
    llm = VideoLLM.from_pretrained(base("video_llava"), precision="fp32", device="cpu")
    tails = llm.tails(["a dog runs to a tree", "a cat sits by a tree"])
    plain, compat = shared_part(*tails), shared_part(*tails, compat=True)
    kept = [tail.ids[tail.description][mask].tolist() for tail, mask in zip(tails, plain, strict=True)]
    assert kept[0] == kept[1]
    assert any(not torch.equal(a, b) for a, b in zip(plain, compat, strict=True))
