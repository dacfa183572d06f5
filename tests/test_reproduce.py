"""Every recipe's whole path in one step, on Worlds in its data set's own form; verdicts; what is said without data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mova.reproduce.run as reproduction
from mova.data.manifest import fingerprint, read_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.data.readers.registry import DATA_SETS
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.published import published_figures
from mova.models.registry import load
from mova.reproduce.outcome import MEANINGLESS, Choice, Reproduction
from mova.reproduce.run import ONE_STEP, reproduce
from mova.train.recipe import load_recipe
from mova.train.recipe_files import reproducible, shipped_recipes
from mova.video.reader import FrameRule

Call = Callable[..., tuple[int, str, str]]
PAPER = ("activitynet", "didemo", "msvd", "ultravideo", "videoufo")
QUIET = {"training.report_to": "[]"}
ONE_TEST = [name for name in reproducible() if "suite" not in load_recipe(name).reproduce]
"""Recipes whose published figures are of one test."""
VALIDATED = {"gexia-charades-ego": "mAP", "gexia-how2qa": "accuracy", "gexia-lvu": "accuracy", "gexia-coin": "accuracy"}
"""Recipe -> metric of its validation, if it is not R@1."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Reproduction, Path]]:
    """One-step runs by recipe, each made once."""
    made: dict[str, tuple[Reproduction, Path]] = {}

    def run(name: str) -> tuple[Reproduction, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            own = name == "didemo"  # whose second line is tested
            made[name] = reproduce(name, folder, one_step=True, overrides=QUIET, choice=Choice(default=own)), folder
        return made[name]

    return run


@pytest.mark.parametrize("name", ONE_TEST)
def test_a_recipe_goes_from_original_files_to_a_report_in_one_step(
    name: str, runs: Callable[[str], tuple[Reproduction, Path]]
) -> None:
    outcome, folder = runs(name)
    recipe, target = load_recipe(name), load_recipe(name).reproduce
    rows = read_manifest(folder / "manifest.jsonl")
    assert {row.source for row in rows} == {target["data_set"]}
    held_out = "hold_out" in recipe.data  # by the source of the data, which leaves the split as it is
    parts = {recipe.data["split"], target["part"], *(() if held_out else (recipe.data["validation"],))}
    assert {row.split for row in rows} == parts
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    assert log[0]["loss"] > 0
    assert f"eval_{VALIDATED.get(name, 'R@1')}" in log[1]
    training = json.loads((folder / "run" / "training.json").read_text())
    assert training["steps"] == 1
    if not held_out:
        trained = fingerprint([row for row in rows if row.split == recipe.data["split"]])
        assert training["data"]["fingerprint"] == trained
    test = [row for row in rows if row.split == target["part"]]
    if find_protocol(target["protocol"]).captions == "one":
        test = [replace(row, captions=row.captions[:1]) for row in test]
    if name in VALIDATED:
        assert outcome.report.head.queries == len(test) == 2
        assert outcome.report.head.protocol in ("classify", "choice")
    else:
        assert outcome.report.head.fingerprint == fingerprint(test)
        assert outcome.report.head.candidates == len(test) == 2
    assert outcome.verdict is None
    document = json.loads((folder / "reproduction.json").read_text())
    assert document == json.loads(json.dumps(outcome.to_json()))
    assert document["caveats"] == [MEANINGLESS]
    published = (
        [] if outcome.target is None else [v for metrics in outcome.target.ways.values() for v in metrics.values()]
    )
    of_task = {"gexia-lvu": published[:1]}  # the recipe trains one of the three tasks
    assert [row["published"] for row in document["comparison"]] == of_task.get(name, published)


def test_the_report_equals_the_scores_of_the_saved_model(runs: Callable[[str], tuple[Reproduction, Path]]) -> None:
    outcome, folder = runs("msvd")
    model = load(folder / "run")
    test = [row for row in read_manifest(folder / "manifest.jsonl") if row.split == "test"]
    videos = [model.encode_video(FrameRule(4, fps=4.0).read(folder / row.video), 4.0) for row in test]
    ranks = []
    for index, row in enumerate(test):
        for caption in row.captions:
            scores = model.similarity(videos, model.encode_text([caption.text]))[:, 0].detach().numpy()
            ranks.append(1 + sum(scores > scores[index]))
    assert outcome.form == model.scoring_form == "global"  # the published preset, and the score that it trains
    assert load_recipe("msvd").model["preset"] == "subsets"
    assert model.config.preset == "paper"
    assert outcome.report.head.queries == len(ranks)
    assert outcome.report.head.protocol == "captions"
    assert outcome.report.directions["t2v"].figures["MnR"] == pytest.approx(np.mean(ranks))


def real(recipe: str, runs: Callable[[str], tuple[Reproduction, Path]], tmp_path: Path, **options: Any) -> Reproduction:
    """A run in earnest, as far as tiny data allow: the recipe by hand, no `one_step`."""
    _, folder = runs(recipe)
    shutil.copytree(folder / "data", tmp_path / "data")
    overrides = {**ONE_STEP, **QUIET, "data.frames": "4", "model.source": json.dumps(str(folder / "backbone"))}
    return reproduce(
        recipe, tmp_path / "out", data=tmp_path / "data", overrides=overrides, choice=Choice(default=False), **options
    )


def test_a_full_run_gets_a_verdict_and_all_its_caveats(
    runs: Callable[[str], tuple[Reproduction, Path]], tmp_path: Path
) -> None:
    made, _ = runs("didemo")
    test = [row for row in made.conversion.rows if row.split == "test"]
    path = write_quarantine(tmp_path / "q.jsonl", [Quarantined(test[0].id, test[0].video, "unreadable", "x")])
    outcome = real("didemo", runs, tmp_path, quarantine=path)
    assert outcome.report.head.candidates == 1
    assert outcome.report.directions["t2v"].figures["R@1"] == 100.0
    assert outcome.verdict == "above"
    assert [row.verdict for row in outcome.rows] == ["above"]
    caveats = " ".join(outcome.caveats)
    assert "measured on 1 of 1004 videos of test" in caveats
    assert "1 rows are excluded by the quarantine list" in caveats
    assert "overridden settings: training.max_steps 1" in caveats
    assert "does not say by which score the figure was measured; 'global' is assumed" in caveats
    assert "epochs, warm-up and decay of the paper are not known" in caveats
    assert "training starts from CLIP" not in caveats, "the source of the backbone is overridden"
    below = replace(outcome.rows[0], verdict="below")
    assert replace(outcome, rows=(outcome.rows[0], below)).verdict == "below"


def test_the_recipes_own_system_is_a_second_line(
    runs: Callable[[str], tuple[Reproduction, Path]], call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome, folder = runs("didemo")
    assert outcome.default is not None
    assert (outcome.form, outcome.default.form) == ("global", "modular")
    presets = [load(folder / run).config.preset for run in ("run", "run-default")]
    assert presets == ["paper", load_recipe("didemo").model["preset"]] == ["paper", "subsets"]
    assert outcome.default.report.head.fingerprint == outcome.report.head.fingerprint
    document = json.loads((folder / "reproduction.json").read_text())
    assert document["default"]["name"] == "MoVA, preset subsets (the recipe's own)"
    assert document["default"]["form"] == "modular"
    monkeypatch.setattr(reproduction, "reproduce", lambda *args, **options: replace(outcome, one_step=False))
    words = ("reproduce", "didemo", "--one-step", "--output", tmp_path)
    lines = [line for line in call(*words)[1].splitlines() if "subsets" in line]
    assert any("modular" in line for line in lines), "a line of its own, without a verdict"
    assert runs("clip4clip")[0].default is None
    assert runs("clip4clip")[0].form == "global", "the cosine of pooled vectors, as CLIP4Clip ranks"


def test_figures_of_different_scoring_forms_get_no_verdict(
    runs: Callable[[str], tuple[Reproduction, Path]], tmp_path: Path
) -> None:
    _, folder = runs("didemo")
    shutil.copytree(folder / "data", tmp_path / "data")
    overrides = {**ONE_STEP, **QUIET, "data.frames": "4", "model.source": json.dumps(str(folder / "backbone"))}
    outcome = reproduce(
        "didemo", tmp_path / "out", data=tmp_path / "data", overrides=overrides | {"model.preset": "subsets"}
    )
    assert outcome.form == "modular"
    assert outcome.rows
    assert outcome.verdict is None
    assert outcome.default is None, "the published system was not trained"
    assert "scoring form 'modular', published by form 'global'" in outcome.no_verdict
    assert outcome.no_verdict in outcome.caveats


def test_a_model_is_compared_untrained_and_as_a_row_of_another_table(
    runs: Callable[[str], tuple[Reproduction, Path]], tmp_path: Path, call: Call
) -> None:
    _, folder = runs("gexia-finetune")
    start = folder / "run"
    zero = Choice(zero_shot=True)
    source = {"model.source": json.dumps(str(start))}
    outcome = reproduce("gexia-finetune", tmp_path / "zero", data=folder / "data", overrides=source, choice=zero)
    assert (outcome.setting, outcome.training, outcome.leaks) == ("zero-shot", {}, ())
    assert outcome.target is not None
    assert (outcome.target.where, outcome.target.ways["t2v"]["R@1"]) == ("Table 1", 35.3)
    assert outcome.verdict == "above"  # two candidates, which a caveat says
    assert any("measured on 2 of 4917 videos" in caveat for caveat in outcome.caveats)
    assert not (tmp_path / "zero" / "run").exists()
    rounds = {"model.source": json.dumps(str(folder / "backbone")), "data.granularities": '{"LVLT": {"frames": 4}}'}
    choice = Choice("and LVLT, #iter 1")
    third = reproduce(
        "gexia-finetune",
        tmp_path / "row",
        data=folder / "data",
        overrides={**ONE_STEP, **QUIET, **rounds},
        choice=choice,
    )
    assert third.target is not None
    assert (third.target.where, third.target.ways["v2t"]["R@1"]) == ("Table 3", 41.8)
    config = load(tmp_path / "row" / "run").config
    assert (config.video_rounds, config.text_rounds) == (1, 1)
    with pytest.raises(UsageError, match=r"no such variant; it has: SVST pairs only, #iter 1; and LVLT"):
        reproduce("gexia-finetune", tmp_path / "x", data=folder / "data", choice=Choice("soft masks"))
    words = ("reproduce", "gexia-finetune", "--data", folder / "data", "--figure", "and LVLT, #iter 1")
    code, _, err = call(*words, "--out", tmp_path / "x")
    assert (code, "starts from the earlier stage runs/gexia-svst-lvlt" in err.replace("\n", " ")) == (2, True)


def test_precision_is_compared_within_the_interval_of_the_measured_value(
    runs: Callable[[str], tuple[Reproduction, Path]],
) -> None:
    outcome = replace(runs("gexia-charades-ego")[0], one_step=False)
    assert outcome.target is not None
    interval = outcome.report.groups["all"].intervals["mAP"]
    (row,) = outcome.rows
    assert (row.metric, row.published, row.measured) == ("mAP", 33.8, interval.value)
    inside = interval.low <= 33.8 <= interval.high
    assert (row.verdict == "hit") == inside
    assert outcome.form == "global"
    assert runs("gexia-lvu")[0].form == runs("gexia-coin")[0].form == "linear head"
    assert runs("gexia-lvu")[0].same_form
    assert [r.metric for r in runs("gexia-lvu")[0].rows] == ["accuracy, relationship"]


def test_a_test_set_known_to_differ_gets_no_verdict(
    runs: Callable[[str], tuple[Reproduction, Path]],
) -> None:
    for name in ("videoufo", "ultravideo"):
        outcome = replace(runs(name)[0], one_step=False)
        assert outcome.verdict is None
        assert outcome.target is not None
        assert "another test" in outcome.target.note


def test_the_long_caption_is_trained_and_evaluated_by_the_protocol_of_the_recipe(
    runs: Callable[[str], tuple[Reproduction, Path]], call: Call
) -> None:
    for name in ("videoufo", "ultravideo"):
        outcome, folder = runs(name)
        rows = [row for row in outcome.conversion.rows if row.split == "train"]
        assert outcome.training["data"]["pairs"] == len(rows) < sum(len(row.captions) for row in rows)
        words = ("--manifest", folder / "manifest.jsonl", "--model", folder / "run", "--protocol", name, "--json")
        code, out, err = call("eval", "retrieval", *words)
        assert code == 0, err
        measured = json.loads(out)
        assert (measured["protocol"], measured["queries"]) == (name, outcome.report.head.queries)


def test_a_missing_file_is_reported_before_training(
    runs: Callable[[str], tuple[Reproduction, Path]], tmp_path: Path
) -> None:
    shutil.copytree(runs("activitynet")[1] / "data", tmp_path / "data")
    (tmp_path / "data" / "annotations" / "val_1.json").unlink()
    with pytest.raises(DataError, match=r"has no rows of 'val_1', which the run needs \(split not read.*val_1\.json"):
        reproduce("activitynet", tmp_path / "out", data=tmp_path / "data")
    assert not (tmp_path / "out" / "run").exists()


def test_missing_data_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Missing: DIR/annotations and DIR/videos") as complaint:
        reproduce("activitynet", tmp_path / "out")
    for message in ("train.json", "val_1.json", "--data DIR", "mova reproduce activitynet --one-step"):
        assert message in str(complaint.value)
    assert not (tmp_path / "out").exists()
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Missing: \S*/data/videos\."):
        reproduce("activitynet", tmp_path / "out", data=tmp_path / "data")
    with pytest.raises(UsageError, match="omit --data"):
        reproduce("activitynet", tmp_path / "out", data=tmp_path / "data", one_step=True)
    with pytest.raises(
        UsageError, match=r"has no published result to reproduce.*; these recipes do: activitynet, clip4clip, didemo"
    ):
        reproduce("worlds-tiny", tmp_path / "out", one_step=True)


def test_recipes_of_papers_name_existing_data_sets_and_protocols() -> None:
    assert set(PAPER) <= set(reproducible()) <= set(shipped_recipes())
    for name in reproducible():
        target = load_recipe(name).reproduce
        if "suite" in target:
            continue
        assert target["data_set"] in DATA_SETS
        protocol = find_protocol(target["protocol"])
        assert (protocol.task == "retrieval") == (name not in VALIDATED)
        assert (protocol.task == "retrieval") == ("metrics" not in target)
        published = DATA_SETS[target["data_set"]].published.get(target["part"])
        assert protocol.videos in (None, published)
        if target["system"] is not None:
            test = target.get("published", protocol.name)
            assert any((f.system, f.protocol) == (target["system"], test) for f in published_figures())
            for form in target.get("variants", {}):
                assert any((f.form, f.protocol) == (form, test) for f in published_figures())


def test_the_command(
    call: Call,
    runs: Callable[[str], tuple[Reproduction, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, calls = runs("videoufo")[0], list[dict[str, Any]]()

    def fake(name: str, output: Path, **options: Any) -> Reproduction:
        calls.append({"name": name, "output": output, **options})
        return made

    real_one = reproduction.reproduce
    monkeypatch.setattr(reproduction, "reproduce", fake)
    words = ("reproduce", "videoufo", "--one-step", "--output", tmp_path, "--training.report_to", "[]")
    code, out, _ = call(*words)
    assert code == 0
    assert "62.4" in out
    assert "reading note" in out
    assert MEANINGLESS in out
    assert calls[0].items() >= {"name": "videoufo", "output": tmp_path, "one_step": True, "overrides": QUIET}.items()
    code, out, err = call(*words, "--json")
    assert code == 0
    document = json.loads(out)
    assert {"recipe", "one_step", "verdict", "published", "comparison", "report", "data", "training"} <= document.keys()
    assert MEANINGLESS in err
    data = tmp_path / "data"
    for name in ("annotations", "videos"):
        (data / name).mkdir(parents=True)
    leaky = replace(made, one_step=False, leaks=("abc",), caveats=("a caveat",))
    monkeypatch.setattr(reproduction, "reproduce", lambda *args, **options: leaky)
    code, out, err = call("reproduce", "videoufo", "--data", data, "--output", tmp_path)
    assert code == 0
    assert "LEAK: 1 source videos are in both training and evaluation, such as abc" in err
    assert "a caveat" in err
    assert "no verdict" in out
    monkeypatch.setattr(reproduction, "reproduce", lambda *args, **options: replace(runs("didemo")[0], one_step=False))
    code, out, err = call("reproduce", "didemo", "--data", data, "--output", tmp_path)
    assert "below: t2v R@1" in out or "hit: t2v R@1" in out or "above: t2v R@1" in out
    assert "57.5 published" in out
    monkeypatch.setattr(reproduction, "reproduce", real_one)
    code, out, err = call("reproduce", "activitynet", "--output", tmp_path / "x")
    assert (code, out) == (1, "")
    assert "needs the original data of activitynet" in err
    assert call("reproduce", "nothing", "--output", tmp_path / "x")[0] == 2
