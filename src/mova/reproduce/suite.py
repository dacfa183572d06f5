"""Reproduce SynViTA's tables: train a video LLM on real and synthetic videos, and run the paper's six tests.

The recipe's section `reproduce` says which model the tables are of (`SuiteTarget`). A figure of the paper gets a
verdict only if the same model was trained, the whole public set was measured, nothing was excluded, and the scores are
those of Eq. 1. The tables' figures are AUC, mAP and accuracies: each has a band around it (`eval/published.py`).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mova.data.manifest import Row, read_manifest
from mova.data.readers.registry import convert, shared_videos
from mova.data.synthetic import synthetic_videos
from mova.data.triplets import maker
from mova.errors import DataError
from mova.eval.metrics.bootstrap import Interval
from mova.eval.published import Comparison, Figure, Verdict, compare_with_published, overall
from mova.eval.tasks.encoding import Progress
from mova.eval.tasks.synvita_suite import SuiteReport, check_suite, evaluate_synvita
from mova.models.registry import load_any
from mova.reproduce.outcome import Choice, write_result
from mova.reproduce.suite_files import SYNTHETIC, require_suite_files
from mova.reproduce.suite_variants import Variant, figures_of, find_variant
from mova.train.recipe import Recipe, SuiteTarget, load_recipe, suite_settings
from mova.train.run import SUMMARY, train


@dataclass(frozen=True)
class SuiteRun:
    """One model: the folder and summary of its training, and its six tests."""

    generators: tuple[str, ...]
    training: Mapping[str, Any]
    report: SuiteReport

    def to_json(self) -> dict[str, Any]:
        """Return the run as a JSON document."""
        report = self.report.to_json()
        return {"generators": list(self.generators), "training": dict(self.training), "report": report}


@dataclass(frozen=True)
class SuiteReproduction:
    """Result of a reproduction of SynViTA.

    Attributes:
        recipe: name of the recipe.
        system: as the tables name it.
        form: name of the variant; empty for the full system.
        setting: "fine-tuned" or "zero-shot".
        runs: one, or one per generator if the published figures are means over generators.
        rows: published figures beside those measured, by test.
        no_verdict: why the figures do not compare; empty if they do.
        caveats: limits of the comparison.
        leaks: source videos that are in both training and a test.
    """

    recipe: str
    system: str
    form: str
    setting: str
    runs: tuple[SuiteRun, ...]
    rows: tuple[Comparison, ...]
    no_verdict: str
    caveats: tuple[str, ...]
    leaks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict | None:
        """Position relative to the bands; None if the figures do not compare."""
        return None if self.no_verdict else overall(list(self.rows))

    def to_json(self) -> dict[str, Any]:
        """Return the reproduction as a JSON document."""
        return {
            "recipe": self.recipe,
            "system": self.system,
            "form": self.form,
            "setting": self.setting,
            "verdict": self.verdict,
            "no_verdict": self.no_verdict,
            "comparison": [row.to_json() for row in self.rows],
            "caveats": list(self.caveats),
            "leaks": {"count": len(self.leaks), "videos": list(self.leaks)},
            "runs": [run.to_json() for run in self.runs],
        }


def reproduce_suite(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None,
    overrides: Mapping[str, str] | None = None,
    choice: Choice | None = None,
    any_size: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> SuiteReproduction:
    """Convert, train, run the six tests and compare.

    `output` receives `sets` (a manifest per test), `train.jsonl` if there are no synthetic videos, the folders of the
    runs, and `reproduction.json`.

    Args:
        name: a recipe whose section `reproduce` names a suite.
        output: folder of all results; created if missing.
        data: folder, see `suite_files.py`.
        overrides: overrides of the recipe; they take precedence over those of the variant.
        choice: what is trained and compared; its figure is the name of a variant, see `suite_variants.py`.
        any_size: also measure parts of the public sets, which then are not compared.
        callbacks: additional callbacks for transformers' Trainer.
        progress: name of a test -> callback after every clip of it.

    Raises:
        UsageError: no such recipe or variant, or a set of another size than the public one, unless `any_size`.
        DataError: data are missing.
    """
    output, choice, target = Path(output), choice or Choice(), suite_settings(load_recipe(name))
    variant = Variant({}, ()) if choice.zero_shot else find_variant(choice.figure, target.model)
    given = {key: json.dumps(value) for key, value in variant.settings.items()} | dict(overrides or {})
    recipe = load_recipe(name, given)
    synthetic = recipe.objective.get("strategy") != "none"
    sets = require_suite_files(recipe.name, data, trained=not choice.zero_shot, synthetic=synthetic)
    tests = _converted_tests(sets, Path(data or ""), output)
    if not any_size:
        check_suite(output / "sets")  # now, not after days of training
    rows: list[Row] = []
    if not choice.zero_shot:
        manifest = _training_manifest(Path(data or ""), output, synthetic)
        rows = [row for row in read_manifest(manifest) if row.split == recipe.data.get("split", "train")]
        given = {"data.manifest": json.dumps(str(manifest))} | given
    runs = []
    for generators in variant.runs:
        more = _generators(generators, rows) if synthetic and "data.generators" not in given else {}
        folder = output / "-".join(["run", *(name.lower() for name in generators if len(variant.runs) > 1)])
        source, summary = _trained(load_recipe(name, more | given), folder, choice, callbacks)
        model = load_any(source, precision=recipe.model.get("precision", "auto"))
        report = evaluate_synvita(model, output / "sets", any_size=any_size, progress=progress)
        runs.append(SuiteRun(generators, summary, report))
    result = _compared(recipe, choice, runs, rows, tests, overrides or {})
    write_result(output, result.to_json())
    return result


def _compared(
    recipe: Recipe,
    choice: Choice,
    runs: Sequence[SuiteRun],
    rows: Sequence[Row],
    tests: Sequence[Row],
    overrides: Mapping[str, str],
) -> SuiteReproduction:
    """Compare the runs with the row of the tables."""
    target = suite_settings(recipe)
    published = figures_of(target.model, choice.figure, choice.setting)
    return SuiteReproduction(
        recipe.name,
        next(iter(published.values())).system,
        choice.figure,
        choice.setting,
        tuple(runs),
        tuple(compare_suites([run.report for run in runs], published)),
        _no_verdict(target, recipe),
        tuple(_caveats(target, runs, rows, overrides)),
        tuple(shared_videos(rows, tests)),
    )


def compare_suites(reports: Sequence[SuiteReport], published: Mapping[str, Figure]) -> list[Comparison]:
    """Compare the tests that were measured as they were published; values of several models are averaged.

    Args:
        reports: the six tests, of one model or more.
        published: protocol -> figure.
    """
    rows = []
    for test in reports[0].outcomes:
        outcomes = [report.outcomes[test] for report in reports]
        head = None if outcomes[0].report is None else outcomes[0].report.head
        figure = None if head is None else published.get(head.protocol)
        if head is None or figure is None or not all(report.comparable(test, figure) for report in reports):
            continue
        ((way, metrics),) = figure.ways.items()
        (metric,) = metrics
        interval = _mean([next(iter((outcome.figures or {}).values())) for outcome in outcomes])
        compared = compare_with_published(
            {way: {metric: interval.value}}, figure, int(head.queries or 0), {way: {metric: interval}}
        )
        rows += [replace(row, way=test) for row in compared]
    return rows


def _mean(intervals: Sequence[Interval]) -> Interval:
    value, low, high = (
        sum(getattr(interval, name) for interval in intervals) / len(intervals) for name in ("value", "low", "high")
    )
    return Interval(value, low, high, intervals[0].level)


def _converted_tests(sets: Iterable[str], data: Path, output: Path) -> list[Row]:
    """Write a manifest per set, and return the rows of all. Rows keep the publishers' names of missing videos."""
    rows: list[Row] = []
    for name in sets:
        path = output / "sets" / f"{name}.jsonl"
        rows += convert(name, data / "annotations", path, videos=data / "videos", splits=["test"]).rows
    return rows


def _training_manifest(data: Path, output: Path, synthetic: bool) -> Path:
    """Return the manifest of the triplets: that with synthetic videos, or VideoCon's own training split."""
    if synthetic:
        return data / SYNTHETIC
    folders, path = (data / "annotations", data / "videos"), output / "train.jsonl"
    return convert("videocon-llm", folders[0], path, videos=folders[1], splits=["train"], missing="omit").manifest


def _generators(wanted: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    """Return the override that chooses the synthetic videos of some generators, by parts of their names.

    Raises:
        DataError: there are none of one of them.
    """
    made = sorted({maker(video) for row in rows for video in synthetic_videos(row)})
    found: list[str] = []
    for generator in wanted:
        names = [name for name in made if generator.lower() in name.lower()]
        if not names:
            raise DataError(
                f"no synthetic video is by {generator}, whose videos this figure is of; they are by "
                f"{', '.join(made) or 'none'}; name others with --data.generators, or another row with --figure"
            )
        found += names
    return {"data.generators": json.dumps(found)} if found else {}


def _trained(
    recipe: Recipe, folder: Path, choice: Choice, callbacks: list[TrainerCallback] | None
) -> tuple[str | Path, dict[str, Any]]:
    """Train a run, and return where its model is and the summary of its training."""
    if choice.zero_shot:
        return recipe.model["source"], {}
    if not (choice.resume and (folder / SUMMARY).is_file()):  # one of several runs may be finished
        train(recipe, folder, resume=choice.resume and folder.is_dir(), callbacks=callbacks)
        gc.collect()  # the next model needs the memory
    return folder, json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def _no_verdict(target: SuiteTarget, recipe: Recipe) -> str:
    """Return why the figures do not compare; empty if they do."""
    if recipe.model["source"] == target.checkpoint:
        return ""
    known = f" ({target.checkpoint})" if target.checkpoint else ", which transformers does not have"
    return f"the tables are of {target.model}{known}, and {recipe.model['source']} is another model"


def _caveats(
    target: SuiteTarget, runs: Sequence[SuiteRun], rows: Sequence[Row], overrides: Mapping[str, str]
) -> list[str]:
    """List the limits of the comparison."""
    caveats = [text for setting, text in target.caveats.items() if setting not in overrides]
    report = runs[0].report
    if report.missing:
        caveats.append(f"not measured, because their files are not there: {', '.join(report.missing)}")
    for name, outcome in report.outcomes.items():
        if outcome.report is not None and outcome.report.excluded:
            caveats.append(f"{name}: {len(outcome.report.excluded)} rows were excluded, so it is another test")
    if report.any_size:
        caveats.append("sets of any size were accepted: none is compared")
    if rows:
        shown = sum(bool(synthetic_videos(row)) for row in rows)
        caveats.append(f"trained on {len(rows)} rows, {shown} of them with synthetic videos")
    if overrides:
        changed = ", ".join(f"{key} {value}" for key, value in overrides.items())
        caveats.append(f"overridden settings: {changed}")
    return caveats
