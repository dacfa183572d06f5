"""Evaluate a model on the test of a published figure, with frames chosen as in training.

If a test has another size than its protocol demands, the protocol of its task without a fixed size is used, and the
report names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mova.data.columns.items import row_clip
from mova.data.dataset import read_clip
from mova.data.granularity_batches import read_granularities
from mova.data.manifest import Row
from mova.data.readers.registry import Conversion
from mova.data.row_texts import DEFAULT_KEY, OPTION
from mova.eval.metrics.bootstrap import Interval
from mova.eval.protocols import OF_ANY_SIZE, Protocol, find_protocol
from mova.eval.published import Comparison, Figure, compare_with_published
from mova.eval.report import Report
from mova.eval.tasks.classification import evaluate_classify
from mova.eval.tasks.multiple_choice import evaluate_choice
from mova.eval.tasks.retrieval import evaluate_retrieval, texts_of
from mova.eval.tasks.split import EvalSplit, open_split
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.train.recipe import Recipe, Target
from mova.train.sources.pairs import PairSource
from mova.video.reader import FrameRule


@dataclass(frozen=True)
class Test:
    """The test of a recipe.

    Attributes:
        recipe: decides how frames are chosen, and which texts options and classes have.
        target: the data set, the split and the protocol.
        conversion: the data.
        zero_shot: whether classes are scored by their texts even if the model has a linear head.
        done: called with the number of evaluated videos.
    """

    recipe: Recipe
    target: Target
    conversion: Conversion
    zero_shot: bool = False
    done: Callable[[int], None] | None = None

    def measure(self, model: DualEncoder) -> Report:
        """Evaluate a model.

        Raises:
            DataError: nothing can be measured.
        """
        sampling, manifest = frame_rule(self.recipe), self.conversion.manifest

        def encode(row: Row) -> VideoEmbedding:
            return model.encode_video(read_clip(row, manifest.parent, row_clip(row), sampling), sampling.fps)

        def report_progress(count: int, _: int) -> None:
            if self.done is not None:
                self.done(count)

        split = open_split(model, manifest, self.target.part, encode=encode, fps=sampling.fps, progress=report_progress)
        evaluate = {"retrieval": _retrieval, "classify": self._classify, "choice": self._choice}
        protocol = find_protocol(self.target.protocol)
        return evaluate[protocol.task](split, protocol).with_settings(frames=asdict(sampling))

    def _classify(self, split: EvalSplit, protocol: Protocol) -> Report:
        data = self.recipe.data
        how = {key: data[key] for key in ("template", "task", "view") if data.get(key) is not None}
        return evaluate_classify(split, protocol, label=data.get("label", DEFAULT_KEY), zero_shot=self.zero_shot, **how)

    def _choice(self, split: EvalSplit, protocol: Protocol) -> Report:
        questions = [row for row in split.rows if "options" in row.meta]
        if protocol.texts not in (None, len(questions)):
            protocol = find_protocol(OF_ANY_SIZE["choice"][0])
        return evaluate_choice(split, protocol, self.recipe.data.get("template") or OPTION)

    def compare(self, report: Report, figure: Figure) -> list[Comparison]:
        """Compare every published metric that was measured."""
        protocol = find_protocol(self.target.protocol)
        queries = len([row for row in self.conversion.rows if row.split == self.target.part])
        size = protocol.videos or protocol.texts or (queries if protocol.task == "retrieval" else report.head.queries)
        figures, intervals = self._metrics(report, protocol.task)
        return compare_with_published(figures, figure, int(size or queries), intervals)

    def _metrics(
        self, report: Report, task: str
    ) -> tuple[dict[str, Mapping[str, float]], dict[str, Mapping[str, Interval]]]:
        """Return group of figures -> metric, by its published name, -> value and interval."""
        if task == "retrieval":
            ways = report.directions.items()
            return {way: group.figures for way, group in ways}, {way: group.intervals for way, group in ways}
        values: dict[str, Any] = {}
        intervals: dict[str, Any] = {}
        for name, place in self.target.metrics.items():
            group, _, metric = place.partition("/")
            if group in report.groups:
                values[name] = report.groups[group].figures[metric]
                if metric in report.groups[group].intervals:
                    intervals[name] = report.groups[group].intervals[metric]
        return {task: values}, {task: intervals}


def frame_rule(recipe: Recipe) -> FrameRule:
    """Return the rule by which a recipe samples frames."""
    settings = {key: recipe.data.get(key, getattr(PairSource, key)) for key in ("frames", "rule", "fps")}
    if granules := read_granularities(recipe.data.get("granularities")):
        settings["frames"] = max(granule.frames for granule in granules.values())
    return FrameRule(**settings)


def _retrieval(split: EvalSplit, protocol: Protocol) -> Report:
    if protocol.captions == "one":
        split.rows = [replace(row, captions=row.captions[:1]) for row in split.rows]
    captioned = [row for row in split.rows if row.captions]
    texts = texts_of(captioned, protocol.captions)[1]
    if protocol.texts not in (None, len(texts)) or protocol.videos not in (None, len(captioned)):
        protocol = find_protocol({"each": "captions", "paragraph": "paragraphs", "one": "pairs"}[protocol.captions])
    return evaluate_retrieval(split, protocol)
