"""Reproduce a published figure: convert a data set, train, evaluate, and compare.

The section `reproduce` of a recipe names the data set, the split and protocol of the evaluation, and the system whose
published figure is the target. With `one_step`, rendered Worlds in the publishers' format replace the data, and random
weights the backbone: every stage runs, and the figures mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mova.data.readers.publishers import publisher_folders
from mova.data.readers.registry import DATA_SETS, Conversion, convert, shared_videos
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.published import Figure, find_target
from mova.eval.report import Report
from mova.models.registry import load
from mova.models.tiny_checkpoint import write_tiny_clip
from mova.reproduce.measure import Test
from mova.reproduce.outcome import MEANINGLESS, Choice, Line, Reproduction, scoring_form, unequal_forms, write_result
from mova.train.recipe import Recipe, Target, load_recipe, target_settings
from mova.train.recipe_files import require_target
from mova.train.run import SUMMARY, newest_checkpoint, train
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


def reproduce(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    one_step: bool = False,
    overrides: Mapping[str, str] | None = None,
    quarantine: str | Path | None = None,
    choice: Choice | None = None,
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
        choice: what is trained and compared.
        callbacks: additional callbacks for transformers' Trainer.
        done: called with the number of evaluated videos.

    Raises:
        UsageError: no such recipe, a recipe without a section `reproduce`, no such figure, or `data` together with
            `one_step`.
        DataError: the data are missing or incomplete.
    """
    output, target, choice = Path(output), _target(load_recipe(name)), choice or Choice()
    figure = _figure(target, choice)
    if one_step and (data is not None or choice.zero_shot):
        raise UsageError("--one-step renders its own data and trains; omit --data and --zero-shot, or omit --one-step")
    folders = _rendered(target, output) if one_step else publisher_folders(name, target.data_set, data)
    conversion = _converted(target, folders, output, quarantine)
    given = _of_figure(target, choice) | _settings(name, output, conversion, one_step) | dict(overrides or {})
    recipes = _recipes(name, target, given, choice.default and not choice.zero_shot)
    recipe = recipes["run"]
    _require_parts(conversion, recipe, target, choice)
    tests = {run: Test(made, target, conversion, choice.zero_shot, done) for run, made in recipes.items()}
    measured = [_line(output / run, test, choice, callbacks) for run, test in tests.items()]
    report = measured[0].report
    result = Reproduction(
        recipe.name,
        one_step,
        conversion,
        measured[0].training,
        report,
        figure,
        () if figure is None else tuple(tests["run"].compare(report, figure)),
        (MEANINGLESS,) if one_step else tuple(_caveats(target, figure, conversion, report, overrides or {})),
        _leaks(conversion, recipe, target, choice),
        choice.setting,
        *measured[1:],
    )
    write_result(output, result.to_json())
    return result


def _figure(target: Target, choice: Choice) -> Figure | None:
    """Return the published figure that is compared with.

    Raises:
        UsageError: the recipe has no such variant, or nothing is published for it.
    """
    if choice.figure and choice.figure not in target.variants:
        known = "; ".join(target.variants) or "none"
        raise UsageError(f"--figure {choice.figure!r}: the recipe has no such variant; it has: {known}")
    if target.system is None:
        return None
    return find_target(target.system, target.published or target.protocol, choice.setting, choice.figure)


def _leaks(conversion: Conversion, recipe: Recipe, target: Target, choice: Choice) -> tuple[str, ...]:
    """Return the source videos that are trained and tested on."""
    parts = (recipe.data.get("split", "train"), target.part)
    trained, tested = ([row for row in conversion.rows if row.split == part] for part in parts)
    return () if choice.zero_shot else tuple(shared_videos(trained, tested))


def _of_figure(target: Target, choice: Choice) -> dict[str, str]:
    """Return the overrides of the variant that is compared."""
    return {key: json.dumps(value) for key, value in target.variants.get(choice.figure, {}).items()}


def _recipes(name: str, target: Target, given: Mapping[str, str], default: bool) -> dict[str, Recipe]:
    """Return run -> recipe: that of the published system, and the recipe's own if it differs and may be trained."""
    of_target = {key: json.dumps(value) for key, value in target.overrides.items()}
    recipes = {"run": load_recipe(name, of_target | dict(given))}
    if default and target.default is not None and not set(given) & set(of_target):
        recipes[OWN] = load_recipe(name, given)
    return recipes


def _line(folder: Path, test: Test, choice: Choice, callbacks: list[TrainerCallback] | None) -> Line:
    """Train a recipe into a folder, and measure the model. A second line may not have been reached before."""
    recipe, target = test.recipe, test.target
    if choice.zero_shot:
        return Line(target.system or recipe.name, {}, test.measure(load(recipe.model["source"])))
    own = folder.name == OWN
    resume = choice.resume and not (own and newest_checkpoint(folder) is None)
    train(recipe, folder, resume=resume, callbacks=callbacks)
    report = test.measure(load(folder))
    title = (target.default if own else target.system) or recipe.name
    return Line(title, json.loads((folder / SUMMARY).read_text(encoding="utf-8")), report)


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


def _require_parts(conversion: Conversion, recipe: Recipe, target: Target, choice: Choice) -> None:
    """Raise before days of training if a split is missing that the evaluation needs.

    Raises:
        DataError: a split for training, validation or evaluation has no rows.
    """
    held_out = recipe.data.get("hold_out") is not None  # the source of the data takes the validation split from train
    of_training = (recipe.data.get("split", "train"), None if held_out else recipe.data.get("validation"))
    needed = (*(() if choice.zero_shot else of_training), target.part)
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
        recipe = load_recipe(name)
        data = recipe.data
        if "cache_chunk" not in recipe.training:
            del settings["training.cache_chunk"]
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
    form = scoring_form(report)
    if figure is not None and figure.scoring != form:
        caveats.append(unequal_forms(figure, form))
    elif figure is not None and figure.scoring_assumed:
        caveats.append(f"{figure.source}: does not say by which score the figure was measured; {form!r} is assumed")
    caveats += [text for setting, text in target.caveats.items() if setting not in overrides]
    retrieval = find_protocol(target.protocol).task == "retrieval"
    published = DATA_SETS[target.data_set].published.get(target.part)
    measured = int((report.head.candidates if retrieval else report.head.queries) or 0)
    if published is not None and measured != published:
        what = "videos" if retrieval else "rows"
        easier = ": a smaller gallery is easier" if retrieval else ""
        caveats.append(f"measured on {measured} of {published} {what} of {target.part}{easier}")
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
