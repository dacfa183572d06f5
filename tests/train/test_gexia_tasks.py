"""GEXIA's tasks in training: recipes of every data set, the texts of evaluation, and matches of shared actions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mova.data.batch import PairVectors
from mova.data.manifest import read_manifest, write_manifest
from mova.data.row_texts import row_labels
from mova.errors import UsageError
from mova.models.gexia.config import GexiaConfig
from mova.models.gexia.inputs import GexiaInputs
from mova.models.gexia.model import Gexia
from mova.models.registry import load
from mova.scoring.similarity import cosine
from mova.train.objectives.base import CachedEncoder
from mova.train.objectives.gexia import Vtc
from mova.train.recipe import load_recipe
from mova.train.run import train
from tests.support.pair_batches import unread_batch

Call = Callable[..., tuple[int, str, str]]
ACTIONS = ("opening a door", "running", "drinking from a cup")
TABLE_10 = {
    "gexia-finetune": (3, 3),
    "gexia-msrvtt": (1, 1),
    "gexia-lsmdc": (1, 1),
    "gexia-charades-ego": (3, 1),
    "gexia-how2qa": (1, 1),
    "gexia-images": (0, 1),  # App. F
}
"""Recipe -> `#iter` of videos and texts."""
RATES = {
    **dict.fromkeys(("gexia-pretrain", "gexia-images"), (1e-6, 1e-4, 5)),
    **dict.fromkeys(("gexia-finetune", "gexia-msrvtt", "gexia-lsmdc"), (1e-7, 1e-5, 50)),
    **dict.fromkeys(
        ("gexia-charades-ego", "gexia-how2qa", "gexia-lvu", "gexia-coin", "gexia-classify"), (1e-7, 1e-6, 100)
    ),
}
"""Recipe -> learning rates of encoders and of other weights, and epochs (sections 4.1 to 4.3)."""


@pytest.fixture(scope="module")
def manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Worlds with a question, a task's label, actions and a view each."""
    rows = []
    for i, row in enumerate(read_manifest(worlds_manifest)):
        meta: dict[str, Any] = {"question": f"What moves in {i}?", "options": ["a star", "a ring"], "answer": i % 2}
        meta |= {"task": "relationship", "label": ACTIONS[i % 2], "view": ("first", "third")[i % 2]}
        rows.append(replace(row, video=str(worlds_manifest.parent / row.video), meta=meta))
    return write_manifest(tmp_path_factory.mktemp("tasks") / "manifest.jsonl", rows)


@pytest.fixture(scope="module")
def actions(manifest: Path) -> Path:
    """The same with several actions per video instead of one label."""
    rows = []
    for i, row in enumerate(read_manifest(manifest)):
        named = [{"class": f"c{c}", "name": ACTIONS[c]} for c in ((0,), (0, 1), (1, 2), (1, 2), (2,), (0, 2))[i % 6]]
        meta = {key: value for key, value in row.meta.items() if key not in ("label", "task")}
        rows.append(replace(row, meta={**meta, "actions": named}))
    return write_manifest(manifest.parent / "actions.jsonl", rows)


def overrides(tiny_clip: Path, manifest: Path, **more: object) -> dict[str, str]:
    training = {"max_steps": 1, "save_steps": 1, "logging_steps": 1, "per_device_train_batch_size": 2}
    training |= {"dataloader_num_workers": 0, "cache_chunk": 1, "report_to": "[]", "bf16": "false"}
    settings = {"model.source": tiny_clip, "model.bases": 3, "data.manifest": manifest, **more}
    return {key: str(value) for key, value in {**settings, **{f"training.{k}": v for k, v in training.items()}}.items()}


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("gexia-charades-ego", {"eval_mAP"}),
        ("gexia-how2qa", {"eval_accuracy"}),
        ("gexia-images", {"eval_R@1"}),
        ("gexia-lvu", {"eval_accuracy", "eval_mAP"}),
        ("gexia-coin", {"eval_accuracy", "eval_mAP"}),
    ],
)
def test_a_recipe_runs_one_step_and_is_validated_by_its_task(
    name: str, metrics: set[str], tiny_clip: Path, manifest: Path, actions: Path, tmp_path: Path
) -> None:
    data = actions if name == "gexia-charades-ego" else manifest
    granules = load_recipe(name).data.get("granularities")
    few = json.dumps({granule: {"frames": min(2, v["frames"])} for granule, v in (granules or {}).items()})
    frames = {"data.frames": 2} if granules is None else {"data.granularities": few}
    chunk = {"training.cache_chunk": "0"} if granules is None else {}
    train(load_recipe(name, overrides(tiny_clip, data, **frames) | chunk), tmp_path / "run")
    first, second, *_ = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert first["loss"] > 0
    assert metrics <= second.keys()
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert summary["best"] == second[f"eval_{summary['metric']}"]
    if name == "gexia-charades-ego":
        views = {row.id: row.meta["view"] for row in read_manifest(data)}
        assert {views[id] for id in summary["data"]["held_out"]["rows"]} == {"first"}
        assert summary["data"]["rows"] == sum(view == "first" for view in [*views.values()][:6]) - 1


@pytest.mark.parametrize("name", sorted(RATES))
def test_a_recipe_has_the_papers_settings(name: str) -> None:
    recipe = load_recipe(name)
    settings = tuple(recipe.training[key] for key in ("encoder_learning_rate", "learning_rate", "num_train_epochs"))
    assert settings == RATES[name]
    if name in TABLE_10:
        ((granularity, values),) = recipe.data["granularities"].items()
        assert GexiaConfig().rounds_of(granularity) == TABLE_10[name]
        assert values["frames"] == {0: 1, 1: 16, 3: 32}[TABLE_10[name][0]]
    elif name != "gexia-pretrain":
        assert (recipe.data["size"], recipe.data["frames"], GexiaConfig().rounds["long"]) == ("long", 32, 3)
    else:
        assert recipe.training["per_device_train_batch_size"] == 512
        frames = {granularity: values["frames"] for granularity, values in recipe.data["granularities"].items()}
        assert frames == {"SVST": 16, "LVLT": 32, "LVST": 32}


@pytest.mark.parametrize(
    ("recipe", "task", "template"),
    [
        ("gexia-how2qa", "choice", None),
        ("gexia-charades-ego", "classify", None),
        ("gexia-charades-ego", "classify", "A video of a {label}."),
    ],
)
def test_training_and_evaluation_read_the_same_strings(
    recipe: str,
    task: str,
    template: str | None,
    tiny_clip: Path,
    manifest: Path,
    actions: Path,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: dict[str, set[str]] = {"train": set(), "eval": set()}
    tokenize, encode_text = GexiaInputs.tokenize, Gexia.encode_text
    data = manifest if task == "choice" else actions

    def tokenized(self: GexiaInputs, texts: Any) -> Any:
        read["train"].update(texts)
        return tokenize(self, texts)

    def encoded(self: Gexia, texts: Any) -> Any:
        read["eval"].update([texts] if isinstance(texts, str) else texts)
        return encode_text(self, texts)

    monkeypatch.setattr(GexiaInputs, "tokenize", tokenized)
    extra = {"data.granularities": '{"SVST": {"frames": 1}}', "data.validation": "null", "data.view": "null"}
    extra |= {"data.template": json.dumps(template)}
    run = overrides(tiny_clip, data, **extra) | {"training.max_steps": "6", "training.save_strategy": '"no"'}
    run["training.eval_strategy"] = '"no"'
    train(load_recipe(recipe, run), tmp_path / "run")
    monkeypatch.setattr(Gexia, "encode_text", encoded)
    words = ["--template", template] if template else []
    code, _, err = call("eval", task, "--manifest", data, "--split", "train", "--model", tmp_path / "run", *words)
    assert code == 0, err
    rows = [row for row in read_manifest(data) if row.split == "train"]
    if task == "choice":
        assert read["train"] == {f"{row.meta['question']} {row.meta['options'][row.meta['answer']]}" for row in rows}
        assert read["train"] < read["eval"]
    else:
        assert read["train"] == read["eval"]
        names = {name for row in rows for name in row_labels(row) or ()}
        assert read["eval"] == {(template or "{label}").replace("{label}", name) for name in names}


def test_every_video_with_an_action_matches_its_name() -> None:
    torch.manual_seed(0)
    videos, texts = torch.randn(3, 1, 8), torch.randn(3, 8)
    vectors = PairVectors(videos, torch.ones(3, 1, dtype=torch.bool), texts, torch.arange(3), torch.tensor(5.0))
    classes = torch.tensor([[True, True], [False, True], [True, False]])
    batch = replace(unread_batch(3), label=torch.tensor([0, 1, 0]), classes=classes)
    loss, _ = Vtc().forward(batch, CachedEncoder(torch.nn.Identity(), vectors))
    scores = 5.0 * cosine(videos[:, 0], texts)
    right = [[0, 1, 2], [1], [0, 2]]  # video -> texts that name one of its classes
    of_text = [[0, 2], [0, 1], [0, 2]]
    rows = [scores[i].logsumexp(0) - scores[i, true].logsumexp(0) for i, true in enumerate(right)]
    columns = [scores[:, j].logsumexp(0) - scores[true, j].logsumexp(0) for j, true in enumerate(of_text)]
    torch.testing.assert_close(loss, (torch.stack(rows).mean() + torch.stack(columns).mean()) / 2)


def test_an_objective_that_compares_groups_refuses_names_of_actions(
    tiny_clip: Path, actions: Path, tmp_path: Path
) -> None:
    settings = {"model.source": str(tiny_clip), "data.manifest": str(actions), "data.captions": "action"}
    with pytest.raises(UsageError, match=r"data\.captions action: .* use vtc or clip4clip"):
        train(load_recipe("didemo", {**settings, "training.report_to": "[]"}), tmp_path / "run")


def test_one_view_is_measured_with_the_classes_of_both(
    tiny_clip: Path, actions: Path, call: Call, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    backbone = load(tiny_clip, precision="fp32", device="cpu")
    Gexia.from_backbone(backbone, bases=3, heads=2).save_pretrained(tmp_path / "model")
    words = ("eval", "classify", "--manifest", actions, "--split", "train", "--model", tmp_path / "model", "--json")
    code, out, err = call(*words, "--view", "third")
    assert code == 0, err
    report = json.loads(out)
    rows = [row for row in read_manifest(actions) if row.split == "train"]
    assert report["counts"]["all"]["videos"] == sum(row.meta["view"] == "third" for row in rows)
    assert report["counts"]["all"]["classes"] == 3
    assert report["settings"]["view"] == "third"
    code, _, err = call(*words[:4], "--split", "test", *words[6:], "--view", "side")
    assert code == 2
