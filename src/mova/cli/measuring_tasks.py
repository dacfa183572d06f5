"""`mova eval retrieval|entailment|moments|classify|choice`: a model on a split of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mova.cli.console import Json, MaxFrames, Model, Quarantine, progress_bar
from mova.cli.reporting import Markdown, Output, check_output, deliver, refused_as_data
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.eval.encoding import EncodeRow
    from mova.eval.protocols import Protocol
    from mova.eval.tasks import Test
    from mova.models.dual import DualEncoder
    from mova.models.videollm import VideoLLM

Manifest = Annotated[
    Path, typer.Option(help="A .jsonl of `mova data convert` or `mova data worlds`; videos are found beside it.")
]
ByProtocol = Annotated[
    str | None,
    typer.Option("--protocol", help="A named protocol; data of any size if left out; a wrong name lists all."),
]
Split = Annotated[str | None, typer.Option(help="Part of the manifest: `test`, or the only one, if left out.")]
ByForm = Annotated[
    str | None,
    typer.Option(
        "--form", help="How a text is scored: rule (the model's own, default), late, global, relevance, modular."
    ),
]
Fps = Annotated[float | None, typer.Option(help="Frames a second to look at; the model's own rate if left out.")]
Features = Annotated[
    Path | None, typer.Option(help="A store of `mova data features`: its vectors are read, no video is opened.")
]


class _What(NamedTuple):
    """What is measured."""

    model: str | None
    manifest: Path
    split: str | None
    form: str | None
    fps: float | None
    features: Path | None
    quarantine: Path | None
    max_frames: int | None = None


class _How(NamedTuple):
    """How the report is told."""

    output: Path | None
    markdown: bool
    json: bool


def register(group: typer.Typer) -> None:
    """Add this group's commands."""
    for command in (retrieval, entailment, moments, classify, choice):
        group.command()(command)


def retrieval(
    manifest: Manifest,
    model: Model = None,
    protocol: ByProtocol = None,
    split: Split = None,
    form: ByForm = None,
    fps: Fps = None,
    features: Features = None,
    quarantine: Quarantine = None,
    max_frames: MaxFrames = None,
    dual_softmax: Annotated[bool, typer.Option("--dual-softmax", help="Add a transductive row.")] = False,
    qb_norm: Annotated[
        str | None, typer.Option(help="Split of the same manifest whose texts are QB-Norm's bank: a transductive row.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Write the scores to this .npy, for `mova eval matrix`.")] = None,
    output: Output = None,
    markdown: Markdown = False,
    json: Json = False,
) -> None:
    """Text to video and back, among all videos of a split."""
    from mova.eval.task_retrieval import evaluate_retrieval

    check_output(scores, False, False)
    chosen = _protocol("retrieval", protocol)
    _measure(
        lambda test: evaluate_retrieval(test, chosen, dual_softmax=dual_softmax, bank=qb_norm, scores_file=scores),
        _What(model, manifest, split, form, fps, features, quarantine, max_frames),
        _How(output, markdown, json),
    )


def entailment(
    manifest: Manifest,
    model: Model = None,
    protocol: ByProtocol = None,
    split: Split = None,
    form: ByForm = None,
    fps: Fps = None,
    features: Features = None,
    quarantine: Quarantine = None,
    max_frames: MaxFrames = None,
    output: Output = None,
    markdown: Markdown = False,
    json: Json = False,
) -> None:
    """True captions against false ones: ROC-AUC and accuracy by kind; mAP where all videos have the same captions."""
    from mova.eval.task_entailment import evaluate_entailment

    chosen = _protocol("entailment", protocol)
    _measure(
        lambda test: evaluate_entailment(test, chosen),
        _What(model, manifest, split, form, fps, features, quarantine, max_frames),
        _How(output, markdown, json),
    )


def moments(
    manifest: Manifest,
    model: Model = None,
    protocol: ByProtocol = None,
    split: Split = None,
    fps: Fps = None,
    features: Features = None,
    quarantine: Quarantine = None,
    output: Output = None,
    markdown: Markdown = False,
    json: Json = False,
) -> None:
    """When a sentence is shown: R1 at IoU, mean IoU, moment mAP, and highlights where they are annotated."""
    from mova.eval.task_moments import evaluate_moments_of

    chosen = _protocol("moments", protocol)
    _measure(
        lambda test: evaluate_moments_of(test, chosen),
        _What(model, manifest, split, None, fps, features, quarantine),
        _How(output, markdown, json),
    )


def classify(
    manifest: Manifest,
    model: Model = None,
    protocol: ByProtocol = None,
    split: Split = None,
    form: ByForm = None,
    template: Annotated[str | None, typer.Option(help="Text of a class, such as `A video of a {label}.`")] = None,
    zero_shot: Annotated[
        bool, typer.Option("--zero-shot", help="By template even where the model has a linear head.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="One task of a manifest of several; else every one.")] = None,
    label: Annotated[str, typer.Option(help="Key of `meta` that holds a row's classes.")] = "label",
    fps: Fps = None,
    features: Features = None,
    quarantine: Quarantine = None,
    max_frames: MaxFrames = None,
    output: Output = None,
    markdown: Markdown = False,
    json: Json = False,
) -> None:
    """Classes of videos: the model's linear head, or a template; mAP where a video has several."""
    from mova.eval.task_classify import evaluate_classify

    chosen = _protocol("classify", protocol)
    _measure(
        lambda test: evaluate_classify(test, chosen, template, zero_shot, task, label),
        _What(model, manifest, split, form, fps, features, quarantine, max_frames),
        _How(output, markdown, json),
    )


def choice(
    manifest: Manifest,
    model: Model = None,
    protocol: ByProtocol = None,
    split: Split = None,
    form: ByForm = None,
    template: Annotated[
        str | None, typer.Option(help="Text of an option; `{option}` alone where options are statements.")
    ] = None,
    fps: Fps = None,
    features: Features = None,
    quarantine: Quarantine = None,
    max_frames: MaxFrames = None,
    output: Output = None,
    markdown: Markdown = False,
    json: Json = False,
) -> None:
    """Multiple choice: accuracy over all questions and by type."""
    from mova.eval.task_choice import TEMPLATE, evaluate_choice

    chosen = _protocol("choice", protocol)
    _measure(
        lambda test: evaluate_choice(test, chosen, template or TEMPLATE),
        _What(model, manifest, split, form, fps, features, quarantine, max_frames),
        _How(output, markdown, json),
    )


def _protocol(task: str, name: str | None) -> Protocol:
    from mova.eval.protocols import OF_ANY_SIZE, find_protocol

    chosen = find_protocol(name or OF_ANY_SIZE[task][0])
    if chosen.task != task:
        raise UsageError(f"--protocol {chosen.name}: is for `mova eval {chosen.task}`, not for {task}")
    return chosen


def _measure(evaluate: Callable[[Test], dict[str, Any]], what: _What, how: _How) -> None:
    """Load the model, show progress, and deliver the report."""
    from mova.eval.videollm import open_any_test
    from mova.models.registry import DEFAULT_MODEL, load_any

    check_output(*how)
    encoder = load_any(what.model or DEFAULT_MODEL, max_frames=what.max_frames)
    with progress_bar() as bar, refused_as_data(what.manifest):
        task = bar.add_task("encoding", total=None)
        test = open_any_test(
            encoder,
            what.manifest,
            what.split,
            form=what.form,
            encode=_stored(encoder, what),
            fps=what.fps,
            quarantine=what.quarantine,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        report = evaluate(test)
    deliver(report, encoder.name, *how)


def _stored(encoder: DualEncoder | VideoLLM, what: _What) -> EncodeRow | None:
    """Clips out of a feature store, where one is named."""
    if what.features is None:
        return None
    from mova.models.videollm import VideoLLM

    if isinstance(encoder, VideoLLM):
        raise UsageError(f"{encoder.name} is a video LLM; --features is for two-tower models only")
    from mova.data.features import FeatureStore
    from mova.models.features import StoredEmbeddings

    return StoredEmbeddings(FeatureStore(what.features), encoder, what.fps)
