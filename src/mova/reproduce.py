"""From original annotation files to a verdict: convert, train, measure, and compare with what was published.

A recipe's section `reproduce` says which data set it is for, what it is measured on, and whose published figure it is
meant to meet. With `one_step`, Worlds stand in for the data, in the publishers' own form, and random weights for the
backbone: every stage runs as it would, and the figures mean nothing.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mova.data.dataset import row_clip
from mova.data.frame_selection import FrameRule
from mova.data.granularity_batches import read_granules
from mova.data.manifest import Row
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
from mova.train.recipe import Recipe, Target, load_recipe, shipped_recipes
from mova.train.run import SUMMARY, train
from mova.train.sections import target_settings
from mova.worlds.export import export_worlds
from mova.worlds.writer import write_worlds

FOLDERS = ("annotations", "videos")
"""What a data folder holds: the publishers' files, and the videos (or images)."""
ONE_STEP: dict[str, str] = {
    "training.max_steps": "1",
    "training.save_steps": "1",
    "training.warmup_steps": "0",
    "training.logging_steps": "1",
    "training.per_device_train_batch_size": "3",
    "training.cache_chunk": "2",
    "training.dataloader_num_workers": "0",
}
"""What a run of one step changes in a recipe, beside its data and backbone."""
ONE_STEP_FRAMES = 4
ONE_STEP_WORLDS: dict[str, Any] = {"videos": 10, "seconds": 10, "style": "flat", "seed": 0, "size": 64, "fps": 4.0}
MEANINGLESS = "one step on rendered data with random weights: every stage ran, and the figures here mean nothing"


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        recipe: its name.
        one_step: whether the figures mean nothing.
        conversion: the data.
        training: the run's summary.
        report: of the protocol.
        target: the published figure; None where there is none.
        rows: every metric of it beside ours.
        caveats: what stands in the way of taking the comparison at its word.
        leaks: source videos that are in both the part that was trained on and the one measured on.
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

    @property
    def verdict(self) -> Verdict | None:
        """On which side of the band; None where that cannot be said."""
        if self.one_step or self.target is None or not self.target.comparable:
            return None
        return overall(list(self.rows))

    @property
    def beside(self) -> list[Figure]:
        """Whole systems on the same protocol, trained as the target was, with a R@1."""
        if self.target is None:
            return []
        same = [figure for figure in others(self.target) if not figure.form and figure.setting == self.target.setting]
        return [figure for figure in same if all("R@1" in metrics for metrics in figure.ways.values())]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "recipe": self.recipe,
            "one_step": self.one_step,
            "verdict": self.verdict,
            "published": None if self.target is None else self.target.to_json(),
            "comparison": [row.to_json() for row in self.rows],
            "others": [] if self.target is None else [figure.to_json() for figure in others(self.target)],
            "caveats": list(self.caveats),
            "leaks": {"count": len(self.leaks), "videos": list(self.leaks)},
            "data": self.conversion.to_json(),
            "training": dict(self.training),
            "report": self.report.to_json(),
        }


def reproducible() -> list[str]:
    """Recipes that come with mova and say what they are meant to reproduce."""
    return [name for name in shipped_recipes() if load_recipe(name).reproduce]


def reproduce(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    one_step: bool = False,
    overrides: Mapping[str, str] | None = None,
    quarantine: str | Path | None = None,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    done: Callable[[int], None] | None = None,
) -> Reproduction:
    """Convert, train, measure, compare. `output` gets `manifest.jsonl`, the run in `run`, and `reproduction.json`.

    Args:
        name: a recipe that comes with mova, or a file of one with a section `reproduce`.
        output: folder; created.
        data: folder with `annotations` and `videos`; with `one_step` it is rendered and this must be None.
        one_step: Worlds, random weights, one step.
        overrides: of the recipe, over everything else.
        quarantine: a list of `mova data check`; its rows are left out and counted.
        resume: go on with the training in `output`.
        callbacks: of transformers' Trainer.
        done: called with the number of videos measured.

    Raises:
        UsageError: no such recipe, it reproduces nothing, or `data` where there must be none.
        DataError: the data are not where they must be, or do not hold what they must.
    """
    output, target = Path(output), _target(load_recipe(name))
    protocol = find_protocol(target.protocol)
    figure = None if target.system is None else find_target(target.system, target.protocol)
    if one_step and data is not None:
        raise UsageError("--one-step renders its own data; leave --data out, or --one-step to reproduce in earnest")
    folders = _rendered(target, output) if one_step else _given(name, target, data)
    conversion = _converted(target, folders, output, quarantine)
    recipe = load_recipe(name, _settings(name, output, conversion, one_step) | dict(overrides or {}))
    _require_parts(conversion, recipe, target)
    train(recipe, output / "run", resume=resume, callbacks=callbacks)
    test = [row for row in conversion.rows if row.split == target.part]
    report = _measured(load(output / "run"), conversion, target.part, _sampling(recipe), protocol, done)
    trained = [row for row in conversion.rows if row.split == recipe.data.get("split", "train")]
    found = Reproduction(
        recipe.name,
        one_step,
        conversion,
        json.loads((output / "run" / SUMMARY).read_text(encoding="utf-8")),
        report,
        figure,
        () if figure is None else tuple(_compared(report, figure, protocol.videos or len(test))),
        (MEANINGLESS,) if one_step else tuple(_caveats(target, figure, conversion, report, overrides or {})),
        tuple(shared_videos(trained, test)),
    )
    text = json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False)
    (output / "reproduction.json").write_text(text + "\n", encoding="utf-8")
    return found


def _compared(report: Report, figure: Figure, videos: int) -> list[Comparison]:
    """Compare the report of retrieval with a published figure."""
    return compare_with_published({way: group.figures for way, group in report.directions.items()}, figure, videos)


def _sampling(recipe: Recipe) -> FrameRule:
    """Which frames the recipe trains on."""
    chosen = {key: recipe.data[key] for key in ("frames", "rule", "fps") if key in recipe.data}
    if granules := read_granules(recipe.data.get("granularities")):
        chosen["frames"] = max(granule.frames for granule in granules.values())
    return FrameRule(**chosen)


def _measured(
    model: DualEncoder,
    conversion: Conversion,
    part: str,
    sampling: FrameRule,
    protocol: Protocol,
    done: Callable[[int], None] | None,
) -> Report:
    """Retrieval among the rows of a part, frames chosen as in training; the first caption where one is asked for.

    A gallery of another size than the protocol's is measured by the open one of its kind, and the report says so.
    """

    def encode(row: Row) -> VideoEmbedding:
        return model.encode_video(sampling.read_row(row, conversion.manifest.parent, row_clip(row)), sampling.fps)

    def tell(count: int, _: int) -> None:
        if done is not None:
            done(count)

    test = open_split(model, conversion.manifest, part, encode=encode, fps=sampling.fps, progress=tell)
    if protocol.captions == "one":
        test.rows = [replace(row, captions=row.captions[:1]) for row in test.rows]
    told = [row for row in test.rows if row.captions]
    texts = texts_of(told, protocol.captions)[1]
    if protocol.texts not in (None, len(texts)) or protocol.videos not in (None, len(told)):
        protocol = find_protocol({"each": "captions", "paragraph": "paragraphs", "one": "pairs"}[protocol.captions])
    return evaluate_retrieval(test, protocol).with_settings(frames=asdict(sampling))


def _target(recipe: Recipe) -> Target:
    if not recipe.reproduce:
        raise UsageError(
            f"recipe {recipe.name} says nothing of what it reproduces (section 'reproduce'); these do: "
            f"{', '.join(reproducible())}"
        )
    return target_settings(recipe)


def _rendered(target: Target, output: Path) -> tuple[Path, Path]:
    """Worlds in the form of the data set, and a backbone: folders of annotations and videos."""
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
    """Refuse before days of training what could not be measured after it.

    Raises:
        DataError: a part that the recipe trains, chooses or measures on has no rows.
    """
    wanted = (recipe.data.get("split", "train"), recipe.data.get("validation"), target.part)
    absent = [part for part in wanted if part is not None and not any(row.split == part for row in conversion.rows)]
    if absent:
        notes = "; ".join(f"{what}: {', '.join(which[:3])}" for what, which in conversion.notes.items())
        raise DataError(
            f"{conversion.manifest}: has no rows of {', '.join(map(repr, absent))}, which the run needs"
            f"{f' ({notes})' if notes else ''}"
        )


def _given(name: str, target: Target, data: str | Path | None) -> tuple[Path, Path]:
    """The folders of a person's data.

    Raises:
        DataError: one is not there; the message says what is needed and where it goes.
    """
    base = Path("DIR" if data is None else data)
    folders = base / FOLDERS[0], base / FOLDERS[1]
    absent = [str(folder) for folder in folders if data is None or not folder.is_dir()]
    if absent:
        described = inspect.cleandoc(DATA_SETS[target.data_set].reader.__doc__ or "")
        raise DataError(
            f"{name} needs the original data of {target.data_set}, which mova does not ship. Missing: "
            f"{' and '.join(absent)}.\nPut the publishers' files into {folders[0]} and the videos (or images), under "
            f"the publishers' names, into {folders[1]}; then say --data {base}.\n{described}\n"
            f"To try the whole path without data: mova reproduce {name} --one-step"
        )
    return folders


def _settings(name: str, output: Path, conversion: Conversion, one_step: bool) -> dict[str, str]:
    """Overrides that put the data, and for one step everything small, into the recipe."""
    settings = {"data.manifest": json.dumps(str(conversion.manifest))}
    if one_step:
        settings |= {**ONE_STEP, "model.source": json.dumps(str(output / "backbone"))}
        data = load_recipe(name).data
        if "granularities" in data:
            few = {own: {**granule, "frames": ONE_STEP_FRAMES} for own, granule in data["granularities"].items()}
            settings["data.granularities"] = json.dumps(few)
        else:
            settings["data.frames"] = str(min(ONE_STEP_FRAMES, int(data["frames"])))
    return settings


def _caveats(
    target: Target,
    figure: Figure | None,
    conversion: Conversion,
    report: Report,
    overrides: Mapping[str, str],
) -> list[str]:
    """What a reader of the comparison must know."""
    found = [figure.note] if figure is not None and figure.note else []
    published = DATA_SETS[target.data_set].published.get(target.part)
    measured = int(report.head.candidates or 0)
    if published is not None and measured != published:
        found.append(f"measured on {measured} of {published} videos of {target.part}: fewer to choose from, so easier")
    if conversion.missing:
        found.append(f"{len(conversion.missing)} videos of the data set are missing")
    if conversion.quarantined:
        found.append(f"{len(conversion.quarantined)} rows are left out by the quarantine list")
    if report.excluded:
        found.append(f"{len(report.excluded)} rows of {target.part} were excluded: {report.excluded[0]['cause']}, ...")
    if overrides:
        changed = ", ".join(f"{key} {value}" for key, value in overrides.items())
        found.append(f"other settings than the recipe's: {changed}")
    return found
