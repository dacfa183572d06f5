"""Reproduce a published figure: convert a data set, train, evaluate, and compare.

The section `reproduce` of a recipe names the data set, the split and protocol of the evaluation, and the system whose
published figure is the target. With `one_step`, rendered Worlds in the publishers' format replace the data, and random
weights the backbone: every stage runs, and the figures mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mova.data.columns.items import row_clip
from mova.data.dataset import read_clip
from mova.data.granularity_batches import read_granularities
from mova.data.manifest import Row
from mova.data.readers.publishers import publisher_folders
from mova.data.readers.registry import DATA_SETS, Conversion, convert, shared_videos
from mova.errors import DataError, UsageError
from mova.eval.protocols import Protocol, find_protocol
from mova.eval.published import Comparison, Figure, Verdict, compare_with_published, find_target, others, overall
from mova.eval.report import Report
from mova.eval.tasks.retrieval import evaluate_retrieval, texts_of
from mova.eval.tasks.split import open_split
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.models.registry import load
from mova.models.tiny_checkpoint import write_tiny_clip
from mova.train.recipe import Recipe, Target, load_recipe, target_settings
from mova.train.recipe_files import require_target
from mova.train.run import SUMMARY, newest_checkpoint, train
from mova.train.sources.pairs import PairSource
from mova.video.reader import FrameRule
from mova.worlds.export import export_worlds
from mova.worlds.writer import write_worlds

ONE_STEP: dict[str, str] = {
    "training.max_steps": "1",
    "training.save_steps": "1",
    "training.warmup_steps": "0",
    "training.logging_steps": "1",
    "training.per_device_train_batch_size": "3",
    "training.cache_chunk": "2",
    "training.dataloader_num_workers": "0",
}
"""Overrides of a recipe for a run of one step, beside its data and backbone."""
ONE_STEP_FRAMES = 4
ONE_STEP_WORLDS: dict[str, Any] = {"videos": 10, "seconds": 10, "style": "flat", "seed": 0, "size": 64, "fps": 4.0}
OWN = "run-default"
"""Folder of the recipe's own system, beside that of the published one."""
MEANINGLESS = "one step on rendered data with random weights: every stage ran, and the figures here mean nothing"


@dataclass(frozen=True)
class Line:
    """Another system, measured on the same data and test without a published figure.

    Attributes:
        name: of the system.
        training: summary of the training run.
        report: report of the evaluation.
    """

    name: str
    training: Mapping[str, Any]
    report: Report

    @property
    def form(self) -> str:
        """The scoring form that was measured."""
        return str(self.report.head.settings["form"])

    def to_json(self) -> dict[str, Any]:
        """Return the line as a JSON document."""
        return {
            "name": self.name,
            "form": self.form,
            "training": dict(self.training),
            "report": self.report.to_json(),
        }


@dataclass(frozen=True)
class Reproduction:
    """Result of a reproduction.

    Attributes:
        recipe: name of the recipe.
        one_step: whether it was a run of one step, whose figures mean nothing.
        conversion: the data.
        training: summary of the training run.
        report: report of the evaluation.
        target: the published figure; None if there is none.
        rows: every metric of the published figure beside the reproduced one.
        caveats: limits of the comparison.
        leaks: source videos that are in both the training split and the evaluated split.
        default: the recipe without the overrides of the published system, trained and measured on the same data.
    """

    recipe: str
    one_step: bool
    conversion: Conversion
    training: Mapping[str, Any]
    report: Report
    target: Figure | None
    rows: tuple[Comparison, ...]
    caveats: tuple[str, ...]
    leaks: tuple[str, ...]
    default: Line | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Position relative to the confidence band; None if the tests or the scoring forms differ."""
        return None if self.no_verdict else overall(list(self.rows))

    @property
    def no_verdict(self) -> str:
        """Return why there is no verdict; empty if there is one."""
        if self.one_step:
            return MEANINGLESS
        if self.target is None:
            return "no published result for this stage; there is nothing to compare with"
        if not self.target.comparable:
            return self.target.note or "the published test is another one"
        return "" if self.same_form else _unequal_forms(self.target, self.form)

    @property
    def form(self) -> str:
        """The scoring form that was measured."""
        return str(self.report.head.settings["form"])

    @property
    def same_form(self) -> bool:
        """Whether the published figure was measured by the same scoring form."""
        return self.target is not None and self.target.scoring == self.form

    @property
    def beside(self) -> list[Figure]:
        """Published figures of complete systems with the same protocol and training setting that have R@1."""
        if self.target is None:
            return []
        same = [figure for figure in others(self.target) if not figure.form and figure.setting == self.target.setting]
        return [figure for figure in same if all("R@1" in metrics for metrics in figure.ways.values())]

    def to_json(self) -> dict[str, Any]:
        """Return the reproduction as a JSON document."""
        return {
            "recipe": self.recipe,
            "one_step": self.one_step,
            "verdict": self.verdict,
            "form": self.form,
            "published": None if self.target is None else self.target.to_json(),
            "comparison": [row.to_json() for row in self.rows],
            "others": [] if self.target is None else [figure.to_json() for figure in others(self.target)],
            "caveats": list(self.caveats),
            "default": None if self.default is None else self.default.to_json(),
            "leaks": {"count": len(self.leaks), "videos": list(self.leaks)},
            "data": self.conversion.to_json(),
            "training": dict(self.training),
            "report": self.report.to_json(),
        }


def reproduce(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    one_step: bool = False,
    overrides: Mapping[str, str] | None = None,
    quarantine: str | Path | None = None,
    default: bool = True,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    done: Callable[[int], None] | None = None,
) -> Reproduction:
    """Convert, train, evaluate and compare.

    `output` receives `manifest.jsonl`, `run`, `run-default` (the recipe's own system), and `reproduction.json`.

    Args:
        name: a shipped recipe or a recipe file, with a section `reproduce`.
        output: folder of all results; created if missing.
        data: folder with `annotations` and `videos`; must be None with `one_step`, which renders its data.
        one_step: use rendered Worlds and random weights, and train one step.
        overrides: overrides of the recipe; they take precedence over all other settings.
        quarantine: a list of `mova data check`, whose rows are excluded and counted.
        default: also train and measure the recipe's own system, unless a setting that differs is overridden.
        resume: continue the training in `output`.
        callbacks: additional callbacks for transformers' Trainer.
        done: called with the number of evaluated videos.

    Raises:
        UsageError: no such recipe, a recipe without a section `reproduce`, or `data` together with `one_step`.
        DataError: the data are missing or incomplete.
    """
    output, target = Path(output), _target(load_recipe(name))
    figure = None if target.system is None else find_target(target.system, target.protocol)
    if one_step and data is not None:
        raise UsageError("--one-step renders its own data; omit --data, or omit --one-step for a real run")
    folders = _rendered(target, output) if one_step else publisher_folders(name, target.data_set, data)
    conversion = _converted(target, folders, output, quarantine)
    given = _settings(name, output, conversion, one_step) | dict(overrides or {})
    recipes = _recipes(name, target, given, default)
    recipe = recipes["run"]
    _require_parts(conversion, recipe, target)
    measured = [_line(output / run, recipes[run], conversion, target, resume, callbacks, done) for run in recipes]
    report, test = measured[0].report, [row for row in conversion.rows if row.split == target.part]
    trained = [row for row in conversion.rows if row.split == recipe.data.get("split", "train")]
    result = Reproduction(
        recipe.name,
        one_step,
        conversion,
        measured[0].training,
        report,
        figure,
        () if figure is None else tuple(_compared(report, figure, find_protocol(target.protocol).videos or len(test))),
        (MEANINGLESS,) if one_step else tuple(_caveats(target, figure, conversion, report, overrides or {})),
        tuple(shared_videos(trained, test)),
        *measured[1:],
    )
    (output / "reproduction.json").write_text(_text(result) + "\n", encoding="utf-8")
    return result


def _text(result: Reproduction) -> str:
    return json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)


def _recipes(name: str, target: Target, given: Mapping[str, str], default: bool) -> dict[str, Recipe]:
    """Return run -> recipe: that of the published system, and the recipe's own if it differs and may be trained."""
    of_target = {key: json.dumps(value) for key, value in target.overrides.items()}
    recipes = {"run": load_recipe(name, of_target | dict(given))}
    if default and target.default is not None and not set(given) & set(of_target):
        recipes[OWN] = load_recipe(name, given)
    return recipes


def _line(
    folder: Path,
    recipe: Recipe,
    conversion: Conversion,
    target: Target,
    resume: bool,
    callbacks: list[TrainerCallback] | None,
    done: Callable[[int], None] | None,
) -> Line:
    """Train a recipe into a folder, and measure the model. A second line may not have been reached before."""
    own = folder.name == OWN
    resume = resume and not (own and newest_checkpoint(folder) is None)
    train(recipe, folder, resume=resume, callbacks=callbacks)
    protocol = find_protocol(target.protocol)
    report = _evaluated(load(folder), conversion, target.part, _sampling(recipe), protocol, done)
    title = (target.default if own else target.system) or recipe.name
    return Line(title, json.loads((folder / SUMMARY).read_text(encoding="utf-8")), report)


def _compared(report: Report, figure: Figure, videos: int) -> list[Comparison]:
    """Compare the report of retrieval with a published figure."""
    return compare_with_published({way: group.figures for way, group in report.directions.items()}, figure, videos)


def _sampling(recipe: Recipe) -> FrameRule:
    """Return the rule by which the recipe samples frames."""
    settings = {key: recipe.data.get(key, getattr(PairSource, key)) for key in ("frames", "rule", "fps")}
    if granules := read_granularities(recipe.data.get("granularities")):
        settings["frames"] = max(granule.frames for granule in granules.values())
    return FrameRule(**settings)


def _evaluated(
    model: DualEncoder,
    conversion: Conversion,
    part: str,
    sampling: FrameRule,
    protocol: Protocol,
    done: Callable[[int], None] | None,
) -> Report:
    """Evaluate retrieval among the rows of a split, with frames chosen as in training.

    If the gallery has another size than the protocol demands, the protocol of its kind without a fixed size is used,
    and the report names it.
    """

    def encode(row: Row) -> VideoEmbedding:
        return model.encode_video(read_clip(row, conversion.manifest.parent, row_clip(row), sampling), sampling.fps)

    def report_progress(count: int, _: int) -> None:
        if done is not None:
            done(count)

    test = open_split(model, conversion.manifest, part, encode=encode, fps=sampling.fps, progress=report_progress)
    if protocol.captions == "one":
        test.rows = [replace(row, captions=row.captions[:1]) for row in test.rows]
    captioned = [row for row in test.rows if row.captions]
    texts = texts_of(captioned, protocol.captions)[1]
    if protocol.texts not in (None, len(texts)) or protocol.videos not in (None, len(captioned)):
        protocol = find_protocol({"each": "captions", "paragraph": "paragraphs", "one": "pairs"}[protocol.captions])
    return evaluate_retrieval(test, protocol).with_settings(frames=asdict(sampling))


def _target(recipe: Recipe) -> Target:
    require_target(recipe.name, recipe.reproduce)
    return target_settings(recipe)


def _rendered(target: Target, output: Path) -> tuple[Path, Path]:
    """Render Worlds in the format of the data set and write a backbone; return the annotations and videos folders."""
    worlds = write_worlds(output / "worlds", **ONE_STEP_WORLDS)
    native = export_worlds(target.data_set, worlds, output / "data")
    write_tiny_clip(output / "backbone", (caption.text for row in native.rows for caption in row.captions))
    return native.annotations, native.videos


def _converted(target: Target, folders: tuple[Path, Path], output: Path, quarantine: str | Path | None) -> Conversion:
    return convert(
        target.data_set,
        folders[0],
        output / "manifest.jsonl",
        videos=folders[1],
        missing="omit",
        hold_out=target.hold_out,
        quarantine=quarantine,
    )


def _require_parts(conversion: Conversion, recipe: Recipe, target: Target) -> None:
    """Raise before days of training if a split is missing that the evaluation needs.

    Raises:
        DataError: a split for training, validation or evaluation has no rows.
    """
    needed = (recipe.data.get("split", "train"), recipe.data.get("validation"), target.part)
    absent = [part for part in needed if part is not None and not any(row.split == part for row in conversion.rows)]
    if absent:
        notes = "; ".join(f"{note}: {', '.join(names[:3])}" for note, names in conversion.notes.items())
        raise DataError(
            f"{conversion.manifest}: has no rows of {', '.join(map(repr, absent))}, which the run needs"
            f"{f' ({notes})' if notes else ''}"
        )


def _settings(name: str, output: Path, conversion: Conversion, one_step: bool) -> dict[str, str]:
    """Return the overrides that set the data and, with `--one-step`, small sizes."""
    settings = {"data.manifest": json.dumps(str(conversion.manifest))}
    if one_step:
        settings |= {**ONE_STEP, "model.source": json.dumps(str(output / "backbone"))}
        data = load_recipe(name).data
        if data.get("granularities"):
            few = {name: {**granule, "frames": ONE_STEP_FRAMES} for name, granule in data["granularities"].items()}
            settings["data.granularities"] = json.dumps(few)
        else:
            settings["data.frames"] = str(min(ONE_STEP_FRAMES, int(data.get("frames", ONE_STEP_FRAMES))))
    return settings


def _caveats(
    target: Target,
    figure: Figure | None,
    conversion: Conversion,
    report: Report,
    overrides: Mapping[str, str],
) -> list[str]:
    """List the limits of the comparison."""
    caveats = [figure.note] if figure is not None and figure.note else []
    form = str(report.head.settings["form"])
    if figure is not None and figure.scoring != form:
        caveats.append(_unequal_forms(figure, form))
    elif figure is not None and figure.scoring_assumed:
        caveats.append(f"{figure.source}: does not say by which score the figure was measured; {form!r} is assumed")
    caveats += [text for setting, text in target.caveats.items() if setting not in overrides]
    published = DATA_SETS[target.data_set].published.get(target.part)
    measured = int(report.head.candidates or 0)
    if published is not None and measured != published:
        caveats.append(f"measured on {measured} of {published} videos of {target.part}: a smaller gallery is easier")
    if conversion.missing:
        caveats.append(f"{len(conversion.missing)} videos of the data set are missing")
    if conversion.quarantined:
        caveats.append(f"{len(conversion.quarantined)} rows are excluded by the quarantine list")
    if report.excluded:
        cause = report.excluded[0]["cause"]
        caveats.append(f"{len(report.excluded)} rows of {target.part} were excluded: {cause}, ...")
    if overrides:
        changed = ", ".join(f"{key} {value}" for key, value in overrides.items())
        caveats.append(f"overridden settings: {changed}")
    return caveats


def _unequal_forms(figure: Figure, form: str) -> str:
    published = f"form {figure.scoring!r}" if figure.scoring else "a form that is not known"
    return f"measured by scoring form {form!r}, published by {published}: the figures do not compare"
