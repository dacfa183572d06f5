"""`mova eval retrieval|entailment|moments|classify|choice`: a model on a split of a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mova.cli.console import progress_bar
from mova.cli.options import Fps, MaxFrames, Model, Quarantine
from mova.cli.report_output import Delivery, check_output, refused_as_data
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.eval.protocols import Protocol
    from mova.eval.tasks.encoding import EncodeRow
    from mova.eval.tasks.split import EvalSplit
    from mova.models.encoder import DualEncoder
    from mova.models.entailment import EntailmentModel

    Evaluate = Callable[[EvalSplit, Protocol], dict[str, Any]]


@dataclass(frozen=True)
class Tested:
    """What is measured, and on what."""

    manifest: Annotated[
        Path, typer.Option(help="A .jsonl of `mova data convert` or `mova data worlds`; videos are found beside it.")
    ]
    model: Model = None
    protocol: Annotated[
        str | None, typer.Option(help="A named protocol; data of any size if left out; a wrong name lists all.")
    ] = None
    split: Annotated[str | None, typer.Option(help="Part of the manifest: `test`, or the only one, if left out.")] = (
        None
    )
    fps: Fps = None
    features: Annotated[
        Path | None, typer.Option(help="A store of `mova data features`: its vectors are read, no video is opened.")
    ] = None
    quarantine: Quarantine = None


@dataclass(frozen=True)
class Scored:
    """How a video and a text get one score."""

    form: Annotated[
        str | None,
        typer.Option(help="How a text is scored: rule (the model's own, default), late, global, relevance, modular."),
    ] = None
    max_frames: MaxFrames = None


def retrieval(
    tested: Tested,
    scored: Scored,
    dual_softmax: Annotated[bool, typer.Option("--dual-softmax", help="Add a transductive row.")] = False,
    qb_norm: Annotated[
        str | None, typer.Option(help="Split of the same manifest whose texts are QB-Norm's bank: a transductive row.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Write the scores to this .npy, for `mova eval matrix`.")] = None,
    *,
    delivery: Delivery,
) -> None:
    """Text to video and back, among all videos of a split."""
    from mova.eval.tasks.retrieval import evaluate_retrieval

    check_output(scores)
    evaluate = partial(evaluate_retrieval, dual_softmax=dual_softmax, bank=qb_norm, scores_file=scores)
    _measure("retrieval", evaluate, tested, scored, delivery)


def entailment(tested: Tested, scored: Scored, delivery: Delivery) -> None:
    """True captions against false ones: ROC-AUC and accuracy by kind; mAP where all videos have the same captions."""
    from mova.eval.tasks.entailment import evaluate_entailment

    _measure("entailment", evaluate_entailment, tested, scored, delivery)


def moments(tested: Tested, delivery: Delivery) -> None:
    """When a sentence is shown: R1 at IoU, mean IoU, moment mAP, and highlights where they are annotated."""
    from mova.eval.tasks.moments import evaluate_moment_retrieval

    _measure("moments", evaluate_moment_retrieval, tested, Scored(), delivery)


def classify(
    tested: Tested,
    scored: Scored,
    template: Annotated[str | None, typer.Option(help="Text of a class, such as `A video of a {label}.`")] = None,
    zero_shot: Annotated[
        bool, typer.Option("--zero-shot", help="By template even where the model has a linear head.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="One task of a manifest of several; else every one.")] = None,
    label: Annotated[str, typer.Option(help="Key of `meta` that holds a row's classes.")] = "label",
    *,
    delivery: Delivery,
) -> None:
    """Classes of videos: the model's linear head, or a template; mAP where a video has several."""
    from mova.eval.tasks.classification import evaluate_classify

    evaluate = partial(evaluate_classify, template=template, zero_shot=zero_shot, task=task, label=label)
    _measure("classify", evaluate, tested, scored, delivery)


def choice(
    tested: Tested,
    scored: Scored,
    template: Annotated[
        str | None, typer.Option(help="Text of an option; `{option}` alone where options are statements.")
    ] = None,
    *,
    delivery: Delivery,
) -> None:
    """Multiple choice: accuracy over all questions and by type."""
    from mova.eval.tasks.multiple_choice import TEMPLATE, evaluate_choice

    _measure("choice", partial(evaluate_choice, template=template or TEMPLATE), tested, scored, delivery)


def _protocol(task: str, name: str | None) -> Protocol:
    from mova.eval.protocols import OF_ANY_SIZE, find_protocol

    chosen = find_protocol(name or OF_ANY_SIZE[task][0])
    if chosen.task != task:
        raise UsageError(f"--protocol {chosen.name}: is for `mova eval {chosen.task}`, not for {task}")
    return chosen


def _measure(task: str, evaluate: Evaluate, tested: Tested, scored: Scored, delivery: Delivery) -> None:
    """Load the model, show progress, and deliver the report."""
    from mova.eval.tasks.video_llm import open_any_split
    from mova.models.registry import DEFAULT_MODEL, load_any

    protocol = _protocol(task, tested.protocol)
    delivery.check()
    encoder = load_any(tested.model or DEFAULT_MODEL, max_frames=scored.max_frames)
    with progress_bar() as bar, refused_as_data(tested.manifest):
        encoding = bar.add_task("encoding", total=None)
        test = open_any_split(
            encoder,
            tested.manifest,
            tested.split,
            form=scored.form,
            encode=_stored(encoder, tested),
            fps=tested.fps,
            quarantine=tested.quarantine,
            progress=lambda done, total: bar.update(encoding, completed=done, total=total),
        )
        report = evaluate(test, protocol)
    delivery.deliver(report, encoder.name)


def _stored(encoder: DualEncoder | EntailmentModel, tested: Tested) -> EncodeRow | None:
    """Clips out of a feature store, where one is named."""
    if tested.features is None:
        return None
    from mova.models.entailment import EntailmentModel

    if isinstance(encoder, EntailmentModel):
        raise UsageError(f"{encoder.name} is a video LLM; --features is for two-tower models only")
    from mova.data.feature_store import FeatureStore
    from mova.models.feature_extraction import StoredEmbeddings

    return StoredEmbeddings(FeatureStore(tested.features), encoder, tested.fps)
