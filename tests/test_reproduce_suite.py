"""SynViTA's tables: variants as settings, six tests from the publishers' files, comparison by equal forms only."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("peft")

from mova.data.manifest import Row, read_manifest, write_manifest
from mova.data.negatives.kinds import KINDS
from mova.errors import DataError, UsageError
from mova.eval.metrics.bootstrap import Interval
from mova.eval.published import published_figures
from mova.eval.tasks.synvita_suite import Outcome, SuiteReport, check_suite
from mova.models.video_llm.model import VideoLLM
from mova.reproduce import suite as suites
from mova.reproduce.outcome import Choice
from mova.reproduce.suite import compare_suites, reproduce_suite
from mova.reproduce.suite_files import FILES, require_suite_files
from mova.reproduce.suite_variants import NONE, figures_of, variants
from mova.train.recipe import load_recipe
from tests.support.tiny_videollms import build

Call = Callable[..., tuple[int, str, str]]
SMALL = {
    "model.rank": "4",
    "model.precision": "fp32",
    "model.max_frames": "2",
    "training.max_steps": "1",
    "training.per_device_train_batch_size": "2",
    "training.gradient_accumulation_steps": "1",
    "training.dataloader_num_workers": "0",
    "training.logging_steps": "1",
    "training.save_strategy": "'no'",
    "training.bf16": "false",
    "training.report_to": "[]",
}
PROMPT = 'A chat.\nHuman: Does this video entail the description: "{}"?\nAI: '


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("video_llava", tmp_path_factory.mktemp("video_llava"))


@pytest.fixture(scope="module")
def data(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sample files in the publishers' formats, without SSv2-Events, and the weighted synthetic videos of training."""
    folder = tmp_path_factory.mktemp("publishers")
    annotations, videos = folder / "annotations", folder / "videos"
    annotations.mkdir()
    videos.mkdir()
    rows = read_manifest(worlds_manifest)
    for row in rows:
        shutil.copyfile(worlds_manifest.parent / row.video, videos / f"{row.id}.mp4")
    triplets = [("vatex", f"v/{row.id}.mp4", f"{row.id} to the left", f"{row.id} to the right") for row in rows]
    lines = [(*t, row.split, "relation", "") for t, row in zip(triplets, rows, strict=True)]
    write(annotations / "videocon_llm_entailment.csv", ENTAILMENT, lines)
    human = [(f"s3://bucket/{row.id}.mp4?k=1", "a", "b", "not b", str(i == 0)) for i, row in enumerate(rows[:2])]
    write(annotations / "videocon_human.csv", ("video_url", "caption", "neg_caption", "nle", "hard"), human)
    pairs = [(f"videos/{rows[i].id}.avi", PROMPT.format(text), i == j) for i in (0, 1) for j, text in enumerate("xy")]
    write(annotations / "eval_ssv2_temporal.csv", ("videopath", "caption", "match"), pairs)
    options = [(rows[0].id, "why", 1, *(f"it is {letter}" for letter in "abcde"))]
    columns = ("vid_id", "question", "answer", *(f"s{i}" for i in range(5)))
    write(annotations / "nextqa-atphard-statements.csv", columns, options)
    (folder / "synthetic").mkdir()
    write_manifest(
        folder / "synthetic" / "manifest.jsonl", [weighted(row, videos) for row in rows if row.split == "train"]
    )
    return folder


ENTAILMENT = ("source", "videopath", "caption", "neg_caption", "split", "misalignment", "youtube_key")


def write(path: Path, columns: tuple[str, ...], lines: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *lines])


def weighted(row: Row, videos: Path) -> Row:
    """A training triplet with the synthetic videos of three generators."""
    text = f"{row.id} to the right"
    made = [
        {
            "video": str(videos / f"{row.id}.mp4"),
            "text": text,
            "role": "negative",
            "place": 0,
            "index": i,
            "duration": 10.0,
            "generator": {"model": model},
            "weighing": {"own": 0.9, "other": 0.2},
        }
        for i, model in enumerate(("THUDM/CogVideoX-5b", "lavie", "VideoCrafter2"))
    ]
    meta = {"negatives": [{"text": text, "misalignment": "relation"}], "synthetic": made}
    caption = type(row.captions[0])(f"{row.id} to the left")
    return Row(row.id, str(videos / f"{row.id}.mp4"), row.duration, "train", (caption,), meta=meta)


def test_every_row_of_the_tables_is_a_variant() -> None:
    paper = [f for f in published_figures() if f.source == "SynViTA paper"]
    assert {f.form for f in paper if f.system == "SynViTA (mPLUG-Owl 7B)"} == set(variants()) - {NONE}
    for name, variant in variants().items():
        assert len(figures_of("mPLUG-Owl 7B", name, "fine-tuned")) == 6, name
        recipe = load_recipe("synvita", {key: json.dumps(value) for key, value in variant.settings.items()})
        assert recipe.objective["strategy"] in name or recipe.objective["strategy"] in ("fixed", "difference", "none")
    means = [variant for name, variant in variants().items() if "of kind" in name]
    assert [variant.settings["data.kinds"] for variant in means] == [[kind] for kind in KINDS]
    assert all(len(variant.runs) == 3 for variant in means)
    for model in ("mPLUG-Owl 7B", "Video-LLaVA"):
        systems = {len(figures_of(model, "", setting)) for setting in ("zero-shot", "fine-tuned")}
        assert systems == {6}
    first, zero = (figures_of("Video-LLaVA", "", setting)["ssv2-temporal"] for setting in ("fine-tuned", "zero-shot"))
    assert (first.system, first.ways["t2v"]["mAP"]) == ("SynViTA (Video-LLaVA)", 20.1)
    assert (zero.system, zero.ways["t2v"]["mAP"]) == ("Video-LLaVA", 11.64)


def test_a_run_on_sample_files_trains_and_measures_what_is_there(base: Path, data: Path, tmp_path: Path) -> None:
    given = SMALL | {"model.source": str(base)}
    made = reproduce_suite("synvita-video-llava", tmp_path, data=data, overrides=given, any_size=True)
    assert (made.system, made.form, made.setting) == ("SynViTA (Video-LLaVA)", "", "fine-tuned")
    assert made.verdict is None
    assert "the tables are of Video-LLaVA (LanguageBind/Video-LLaVA-7B-hf)" in made.no_verdict
    assert made.rows == ()  # sets of another size are not compared
    (run,) = made.runs
    assert run.report.missing == ["SSv2-Events"]
    assert run.training["data"]["synthetic"] == 6  # of 18: those of CogVideoX
    measured = {name: dict(outcome.figures or {}) for name, outcome in run.report.outcomes.items()}
    assert measured["VideoCon LLM"]["AUC"].value == pytest.approx(100 * area(tmp_path), abs=1e-6)
    recipe = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert recipe.data["generators"] == ["THUDM/CogVideoX-5b"]
    assert (recipe.objective["strategy"], recipe.objective["consistency"]) == ("product", 1.0)
    caveats = " ".join(made.caveats)
    for text in (
        "not measured, because their files are not there: SSv2-Events",
        "trained on 6 rows, 6 of them",
        "model.rank 4",
    ):
        assert text in caveats
    assert {leak.split("-")[-1] for leak in made.leaks} == {"00000", "00001"}  # both are in videocon_human.csv
    document = json.loads((tmp_path / "reproduction.json").read_text())
    assert document == json.loads(json.dumps(made.to_json()))


def area(folder: Path) -> float:
    """ROC-AUC of a run on VideoCon LLM by counting pairs of a true and a false caption."""
    judge = VideoLLM.from_pretrained(folder / "run", precision="fp32", device="cpu")
    true, false = [], []
    for row in read_manifest(folder / "sets" / "videocon-llm.jsonl"):
        texts = [row.captions[0].text, row.meta["negatives"][0]["text"]]
        first, second = judge.log_odds(folder / "sets" / row.video, texts).tolist()
        true.append(first)
        false.append(second)
    return sum((t > f) + (t == f) / 2 for t in true for f in false) / (len(true) * len(false))


def test_a_mean_over_generators_is_one_run_for_each(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def fake(recipe: Any, folder: Path, *rest: Any) -> tuple[Path, dict[str, Any]]:
        trained.append((folder.name, recipe.data["generators"], recipe.data["kinds"], recipe.objective["strategy"]))
        return base, {}

    monkeypatch.setattr(suites, "_trained", fake)
    form = "synthetic videos of kind relation, Eq. 2 and 3 alone, mean over three generators"
    given = SMALL | {"model.source": str(base)}
    made = reproduce_suite("synvita", tmp_path, data=data, overrides=given, choice=Choice(form), any_size=True)
    assert trained == [
        ("run-cogvideox", ["THUDM/CogVideoX-5b"], ["relation"], "fixed"),
        ("run-lavie", ["lavie"], ["relation"], "fixed"),
        ("run-videocrafter2", ["VideoCrafter2"], ["relation"], "fixed"),
    ]
    assert [run.generators for run in made.runs] == [("CogVideoX",), ("LaVie",), ("VideoCrafter2",)]
    assert "mPLUG-Owl 7B, which transformers does not have" in made.no_verdict


def test_without_synthetic_videos_and_without_training(base: Path, data: Path, tmp_path: Path, call: Call) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(data, bare, ignore=shutil.ignore_patterns("synthetic"))
    given = [word for key, value in (SMALL | {"model.source": str(base)}).items() for word in (f"--{key}", value)]
    words = ("reproduce", "synvita-video-llava", "--data", bare, "--any-size", *given)
    code, out, err = call(*words, "--figure", "none", "--out", tmp_path / "none", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["system"] == "VideoCon (Video-LLaVA)"
    assert document["runs"][0]["training"]["data"]["synthetic"] == 0
    code, out, err = call(*words, "--zero-shot", "--out", tmp_path / "zero")
    assert code == 0, err
    assert "no verdict (the tables are of Video-LLaVA" in out.replace("\n", " ")
    assert "SSv2-Events" in out
    assert not (tmp_path / "zero" / "run").exists()
    code, out, err = call(*words, "--out", tmp_path / "x")
    assert (code, out) == (1, "")
    assert f"Missing: {bare}/synthetic/manifest.jsonl" in err.replace("\n", "")


def test_missing_files_are_one_error(data: Path, tmp_path: Path, call: Call) -> None:
    with pytest.raises(DataError) as complaint:
        require_suite_files("synvita", None)
    for file in (*FILES.values(), "DIR/synthetic/manifest.jsonl", "mova data synthesize", "--figure none"):
        assert file in str(complaint.value)
    code, out, err = call("reproduce", "synvita", "--out", tmp_path / "x")
    assert (code, out) == (1, "")
    assert "videocon_llm_entailment.csv" in err
    assert set(require_suite_files("synvita", data)) == set(FILES) - {"ssv2-events"}
    assert call("reproduce", "synvita", "--one-step")[0] == 2
    with pytest.raises(UsageError, match="no such row of Video-LLaVA; they have: none"):
        reproduce_suite("synvita-video-llava", tmp_path / "x", data=data, choice=Choice("weights: own"))
    with pytest.raises(UsageError, match=r"VideoCon LLM has 2 rows and 4 texts"):
        reproduce_suite("synvita", tmp_path / "x", data=data)
    assert not (tmp_path / "x" / "run").exists()
    (tmp_path / "x" / "sets" / "videocon-llm.jsonl").unlink()
    with pytest.raises(UsageError, match=r"VideoCon Human.* is a different test: 2 texts instead of 570"):
        check_suite(tmp_path / "x" / "sets")
    for name in ("videocon-human", "videocon-human-hard"):
        (tmp_path / "x" / "sets" / f"{name}.jsonl").unlink()
    with pytest.raises(UsageError, match=r"SSv2-Temporal.* is a different test: 2 texts instead of 18, 2 videos"):
        check_suite(tmp_path / "x" / "sets")
    (tmp_path / "x" / "sets" / "ssv2-temporal.jsonl").unlink()
    with pytest.raises(UsageError, match=r"ATP-Hard.* is a different test: 1 texts instead of 1846"):
        check_suite(tmp_path / "x" / "sets")
    with pytest.raises(DataError, match="no synthetic video is by Sora"):
        suites._generators(("Sora",), read_manifest(data / "synthetic" / "manifest.jsonl"))


def outcome(protocol: str, value: float, form: str = "log odds", excluded: tuple[str, ...] = ()) -> Outcome:
    head = SimpleNamespace(protocol=protocol, settings={"form": form}, queries=18)
    figures = {"mAP": Interval(value, value - 2, value + 1, 0.95)}
    return Outcome(protocol, figures, SimpleNamespace(head=head, excluded=excluded))  # type: ignore[arg-type]


def test_figures_compare_by_equal_forms_only_and_means_are_of_all_runs() -> None:
    published = figures_of("Video-LLaVA", "", "fine-tuned")

    def report(value: float, **how: Any) -> SuiteReport:
        return SuiteReport("m", "f", False, {"SSv2-Temporal": outcome("ssv2-temporal", value, **how)})

    (row,) = compare_suites([report(19.5)], published)
    assert (row.way, row.metric, row.published, row.measured) == ("SSv2-Temporal", "mAP", 20.1, 19.5)
    assert (row.low, row.high) == (pytest.approx(19.1), pytest.approx(22.1))
    assert row.verdict == "hit"  # 20.1 is within the interval of 17.5 to 20.5
    assert [r.verdict for r in compare_suites([report(18.0)], published)] == ["below"]
    (mean,) = compare_suites([report(18.0), report(20.0), report(22.0)], published)
    assert (mean.measured, mean.verdict) == (20.0, "hit")
    assert compare_suites([report(19.5), report(19.5, form="late")], published) == []
    assert compare_suites([report(19.5, excluded=("a",))], published) == []
    assert compare_suites([SuiteReport("m", "f", True, {"x": outcome("ssv2-temporal", 20.0)})], published) == []
