"""The result of a reproduction: figures beside published ones, a verdict if they compare, and caveats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.readers.registry import Conversion
from mova.eval.published import Comparison, Figure, Verdict, others, overall
from mova.eval.report import Report

MEANINGLESS = "one step on rendered data with random weights: every stage ran, and the figures here mean nothing"


def scoring_form(report: Report) -> str:
    """Return what scored a test: a form of `eval/tasks/scoring_forms.py`, "log odds", or "linear head"."""
    settings = report.head.settings
    return "linear head" if settings.get("by") == "linear head" else str(settings["form"])


def unequal_forms(figure: Figure, form: str) -> str:
    """Return why a figure of another scoring form does not compare."""
    published = f"form {figure.scoring!r}" if figure.scoring else "a form that is not known"
    return f"measured by scoring form {form!r}, published by {published}: the figures do not compare"


@dataclass(frozen=True)
class Choice:
    """What is trained and compared.

    Attributes:
        figure: the form of the published figure, for a variant of the system such as a row of an ablation; the variants
            of a recipe, with the settings that they change, are `reproduce.variants`.
        zero_shot: compare the model that the recipe starts from, without training it, with the zero-shot figure.
        default: also train and measure the recipe's own system, unless a setting that differs is overridden; not for
            suites.
        resume: continue the training of an earlier call.
    """

    figure: str = ""
    zero_shot: bool = False
    default: bool = True
    resume: bool = False

    @property
    def setting(self) -> str:
        """The setting of the published figure."""
        return "zero-shot" if self.zero_shot else "fine-tuned"


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
        return scoring_form(self.report)

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
        setting: "fine-tuned", or "zero-shot" if nothing was trained.
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
    setting: str = "fine-tuned"
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
        if not self.same_form:
            return unequal_forms(self.target, self.form)
        return "" if self.rows else "the published metrics were not measured"

    @property
    def form(self) -> str:
        """The scoring form that was measured."""
        return scoring_form(self.report)

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
            "setting": self.setting,
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


def write_result(output: Path, document: Mapping[str, Any]) -> None:
    """Write the result of a reproduction into its folder."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    (output / "reproduction.json").write_text(text + "\n", encoding="utf-8")
