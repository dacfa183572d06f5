"""`mova eval retrieval|entailment|moments|classify|choice`: evaluate a model on a split of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mova.cli.console import progress_bar
from mova.cli.options import Fps, MaxFrames, Model, Predictions, Quarantine
from mova.cli.output_files import output_file
from mova.cli.report_output import ReportOutput, as_data_error
from mova.errors import DataError, UsageError

if TYPE_CHECKING:
    from mova.eval.protocols import Protocol
    from mova.eval.report import Report
    from mova.eval.tasks.encoding import EncodeRow
    from mova.eval.tasks.split import EvalSplit
    from mova.models.encoder import DualEncoder
    from mova.models.entailment import EntailmentModel

    Evaluate = Callable[[EvalSplit, Protocol], Report]


@dataclass(frozen=True)
class SplitOptions:
    """The model, and the split of a manifest to evaluate it on."""

    manifest: Annotated[
        Path,
        typer.Option(
            help="A .jsonl of `mova data convert` or `mova data worlds`; paths of videos are relative to its folder."
        ),
    ]
    model: Model = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="A named protocol (default: the task's protocol for data of any size). An unknown name lists all."
        ),
    ] = None
    split: Annotated[str | None, typer.Option(help="Split of the manifest (default: `test`, or the only one).")] = None
    fps: Fps = None
    features: Annotated[
        Path | None, typer.Option(help="A store of `mova data features`: read its vectors instead of decoding videos.")
    ] = None
    quarantine: Quarantine = None

    def check(self) -> None:
        """Raise if a file does not exist, before anything heavy is imported.

        Raises:
            DataError: with the file.
        """
        if not self.manifest.is_file():
            raise DataError(f"{self.manifest}: no such file; create a manifest with `mova data convert`")
        if self.features is not None and not self.features.is_dir():
            raise DataError(f"--features {self.features}: no such folder; create a store with `mova data features`")
        if self.quarantine is not None and not self.quarantine.is_file():
            raise DataError(f"--quarantine {self.quarantine}: no such file; `mova data check --out` writes one")


@dataclass(frozen=True)
class ScoringOptions:
    """Scoring of a text against a video."""

    form: Annotated[
        str | None,
        typer.Option(
            help="Scoring form: rule, late, global, relevance, or through masks: modular, mod or tv, the last two also "
            "with -top or -relevance (default: the model's own)."
        ),
    ] = None
    max_frames: MaxFrames = None
    iterations: Annotated[
        str | None,
        typer.Option(
            "--iter",
            metavar="VIDEO-TEXT",
            help="GEXIA: rounds of approximation of videos and texts, such as 3-1 (default: the model's own).",
        ),
    ] = None

    def set_rounds(self, model: DualEncoder | EntailmentModel) -> None:
        """Give a GEXIA the rounds of --iter.

        Raises:
            UsageError: it is another model, or the option has another form.
        """
        if self.iterations is None:
            return
        config: Any = getattr(model, "config", None)
        if not hasattr(config, "set_rounds"):
            raise UsageError(f"--iter is for GEXIA models; {model.name} has no rounds of approximation")
        match = re.fullmatch(r"(\d+)-(\d+)", self.iterations.strip())
        if match is None:
            raise UsageError(f"--iter {self.iterations!r}: write the rounds of videos and of texts, such as 3-1")
        config.set_rounds(int(match[1]), int(match[2]))


def retrieval(
    options: SplitOptions,
    scoring: ScoringOptions,
    dual_softmax: Annotated[bool, typer.Option("--dual-softmax", help="Add metrics after dual softmax.")] = False,
    qb_norm: Annotated[
        str | None, typer.Option(help="Add metrics after QB-Norm; its bank is the texts of this split of the manifest.")
    ] = None,
    scores: Annotated[Path | None, output_file("Write the scores to this .npy file, for `mova eval matrix`.")] = None,
    *,
    output: ReportOutput,
) -> None:
    """Evaluate retrieval among all videos of a split, text to video and video to text."""
    options.check()
    from mova.eval.tasks.retrieval import evaluate_retrieval

    evaluate = partial(evaluate_retrieval, dual_softmax=dual_softmax, bank=qb_norm, scores_file=scores)
    _evaluate("retrieval", evaluate, options, scoring, output)


def entailment(options: SplitOptions, scoring: ScoringOptions, output: ReportOutput) -> None:
    """Evaluate true captions against false ones: ROC-AUC, accuracy by kind, and mAP if all videos share captions."""
    options.check()
    from mova.eval.tasks.entailment import evaluate_entailment

    _evaluate("entailment", evaluate_entailment, options, scoring, output)


def moments(
    options: SplitOptions,
    paragraph: Annotated[
        bool, typer.Option("--paragraph", help="All sentences of a paragraph are given, and aligned together.")
    ] = False,
    decoder: Annotated[
        Literal["joint", "drop-dtw", "dtw", "equal", "independent"],
        typer.Option(
            help="With --paragraph: joint (as `mova align`), or a baseline: Drop-DTW, plain DTW, equal parts in order, "
            "or each sentence by itself."
        ),
    ] = "joint",
    order: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="With --paragraph and the joint decoder: whether the sentences are in temporal order."),
    ] = "auto",
    predictions: Predictions = None,
    *,
    output: ReportOutput,
) -> None:
    """Evaluate moment retrieval: R1 at IoU, mean IoU, moment mAP, and highlights if annotated.

    With --paragraph, sentences that are described together are aligned together (paragraph grounding), and the recall
    of points as in HTM-Align is added.
    """
    from mova.data.exchange.predictions import check_predictions

    options.check()
    from mova.eval.tasks.moments import evaluate_moment_retrieval
    from mova.eval.tasks.paragraphs import evaluate_paragraphs

    if not paragraph and (decoder, order) != ("joint", "auto"):
        raise UsageError("--decoder and --order need --paragraph")
    check_predictions(predictions)
    grounded = partial(evaluate_paragraphs, decoder=decoder, order=order, predictions_file=predictions)
    plain = partial(evaluate_moment_retrieval, predictions_file=predictions)
    evaluate = grounded if paragraph else plain
    _evaluate("moments", evaluate, options, ScoringOptions(), output)


def classify(
    options: SplitOptions,
    scoring: ScoringOptions,
    template: Annotated[str | None, typer.Option(help="Text of a class, such as `A video of a {label}.`")] = None,
    zero_shot: Annotated[
        bool, typer.Option("--zero-shot", help="Use the template even if the model has a linear head.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="One task of the manifest (default: every task).")] = None,
    label: Annotated[str, typer.Option(help="Key of `meta` that contains a row's classes.")] = "label",
    view: Annotated[
        Literal["first", "third"] | None, typer.Option(help="One view of Charades-Ego (default: both).")
    ] = None,
    *,
    output: ReportOutput,
) -> None:
    """Evaluate classification with the model's linear head or a text template; mAP if videos have several classes."""
    options.check()
    from mova.eval.tasks.classification import evaluate_classify

    evaluate = partial(evaluate_classify, template=template, zero_shot=zero_shot, task=task, label=label, view=view)
    _evaluate("classify", evaluate, options, scoring, output)


def choice(
    options: SplitOptions,
    scoring: ScoringOptions,
    template: Annotated[
        str | None,
        typer.Option(
            help="Text of an option, such as `{option}` if options are statements (default: `{question} {option}`)."
        ),
    ] = None,
    *,
    output: ReportOutput,
) -> None:
    """Evaluate multiple choice: accuracy over all questions and by type."""
    options.check()
    from mova.data.row_texts import OPTION
    from mova.eval.tasks.multiple_choice import evaluate_choice

    _evaluate("choice", partial(evaluate_choice, template=template or OPTION), options, scoring, output)


def _protocol(task: str, name: str | None) -> Protocol:
    from mova.eval.protocols import OF_ANY_SIZE, find_protocol

    chosen = find_protocol(name or OF_ANY_SIZE[task][0])
    if chosen.task != task:
        raise UsageError(f"--protocol {chosen.name}: is for `mova eval {chosen.task}`, not for {task}")
    return chosen


def _evaluate(
    task: str, evaluate: Evaluate, options: SplitOptions, scoring: ScoringOptions, output: ReportOutput
) -> None:
    """Load the model, evaluate it with a progress bar, and write the report."""
    from mova.eval.tasks.video_llm import open_any_split
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load_any

    protocol = _protocol(task, options.protocol)
    output.check()
    encoder = load_any(options.model or DEFAULT_MODEL, max_frames=scoring.max_frames)
    scoring.set_rounds(encoder)
    with progress_bar() as bar, as_data_error(options.manifest):
        encoding = bar.add_task("encoding", total=None)
        split = open_any_split(
            encoder,
            options.manifest,
            options.split,
            form=scoring.form,
            encode=_store_reader(encoder, options),
            fps=options.fps,
            quarantine=options.quarantine,
            progress=lambda done, total: bar.update(
                encoding, completed=done, total=total, line=f"encoding: video {done} of {total}"
            ),
        )
        report = evaluate(split, protocol)
    output.write(report, encoder.name)


def _store_reader(encoder: DualEncoder | EntailmentModel, options: SplitOptions) -> EncodeRow | None:
    """Return an encoder that reads from a feature store, if one is named."""
    if options.features is None:
        return None
    from mova.models.entailment import EntailmentModel

    if isinstance(encoder, EntailmentModel):
        raise UsageError(f"{encoder.name} is a video LLM; --features is for two-tower models only")
    from mova.data.feature_store import FeatureStore
    from mova.features.stored import StoredEmbeddings

    return StoredEmbeddings(FeatureStore(options.features), encoder, options.fps)
