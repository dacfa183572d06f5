"""SynViTA's six tests in one report (Zanella et al., papers/synvita.txt, Table 3), for any model.

    VideoCon LLM, Human, Human-Hard   entailment   ROC-AUC
    SSv2-Temporal, SSv2-Events        retrieval    mAP, 12 right videos a text
    ATP-Hard                          choice       accuracy, in all, causal and temporal

They belong together: the paper's model gains on retrieval and choice and loses on VideoCon LLM, which any one of them
alone would hide. A test whose data are not there is named as missing. ATP-Hard is measured on VideoCon's statements
where those are, else on questions with their options; the statements say no kinds, so they have one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.errors import DataError
from mova.eval.protocols import OF_ANY_SIZE, find_protocol
from mova.eval.tasks.encoding import Progress
from mova.eval.tasks.entailment import evaluate_entailment
from mova.eval.tasks.multiple_choice import TEMPLATE, evaluate_choice
from mova.eval.tasks.video_llm import open_any_split
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel

Find = Callable[[Mapping[str, Any]], Mapping[str, Mapping[str, float]]]
"""A task's report -> its figures by name, as intervals (`value`, `low`, `high`), in percent."""


@dataclass(frozen=True)
class PaperTest:
    """One of the six.

    Attributes:
        name: as the paper calls it.
        sets: names of `mova data convert` that hold it, the better one first.
        protocol: of `protocols.py`.
        find: its figures.
        template: of a text, by set, where it is multiple choice.
    """

    name: str
    sets: tuple[str, ...]
    protocol: str
    find: Find
    template: Mapping[str, str] | None = None


def _auc(report: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    return {"AUC": report["intervals"]["all"]["AUC"]}


def _precision(report: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    if "t2v" not in report:
        raise DataError("every video must have the same captions, true or false, for a text-to-video mAP")
    return {"mAP": report["intervals"]["t2v"]["mAP"]}


def _accuracy(report: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    groups = {"all": "accuracy", "causal": "accuracy, causal", "temporal": "accuracy, temporal"}
    found = report["intervals"]
    return {name: found[group]["accuracy"] for group, name in groups.items() if group in found}


TESTS = (
    PaperTest("VideoCon LLM", ("videocon-llm",), "entailment", _auc),
    PaperTest("VideoCon Human", ("videocon-human",), "entailment", _auc),
    PaperTest("VideoCon Human-Hard", ("videocon-human-hard",), "entailment", _auc),
    PaperTest("SSv2-Temporal", ("ssv2-temporal",), "ssv2-temporal", _precision),
    PaperTest("SSv2-Events", ("ssv2-events",), "ssv2-events", _precision),
    PaperTest(
        "ATP-Hard",
        ("atp-hard-statements", "atp-hard"),
        "atp-hard",
        _accuracy,
        {"atp-hard-statements": "{option}", "atp-hard": TEMPLATE},
    ),
)
SIZED_SETS = {"atp-hard-statements": "choice"}
"""Sets whose size is not that of their test's protocol."""


def evaluate_synvita(
    model: DualEncoder | EntailmentModel,
    folder: str | Path,
    *,
    any_size: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, Any]:
    """All six tests that a folder holds.

    Args:
        model: a video LLM, or two towers.
        folder: holds `NAME/manifest.jsonl` or `NAME.jsonl` for the sets' names.
        any_size: take parts of the public sets too; they compare with nothing that is published.
        progress: name of a test -> what is told after every clip of it.

    Returns:
        "tests": by name, "figures" (intervals in percent by name) or "missing" (what is to be done), with "set" and
        "report", the whole report of the task; "complete", whether nothing is missing and no row was left out.

    Raises:
        DataError: the folder holds none of them, or one that cannot be measured.
        UsageError: a set of another size than the public one, unless `any_size`.
    """
    found: dict[str, Any] = {}
    for test in TESTS:
        place = _manifest_of(test, Path(folder))
        if place is None:
            wanted = " or ".join(test.sets)
            found[test.name] = {"missing": f"{folder} holds no {wanted}; `mova data convert {test.sets[-1]}` makes it"}
            continue
        name, manifest = place
        report = _measured(model, test, name, manifest, any_size, progress(test.name) if progress else None)
        found[test.name] = {"set": name, "figures": dict(test.find(report)), "report": report}
    missing = [name for name, row in found.items() if "missing" in row]
    if len(missing) == len(TESTS):
        sets = ", ".join(test.sets[-1] for test in TESTS)
        raise DataError(f"{folder}: holds none of the tests ({sets}), each as NAME/manifest.jsonl or NAME.jsonl")
    whole = not missing and not any(row["report"]["excluded"] for row in found.values())
    return {
        "task": "synvita",
        "model": {"name": model.name, "fingerprint": model.fingerprint()},
        "complete": whole and not any_size,
        "missing": missing,
        "tests": found,
    }


def _measured(
    model: DualEncoder | EntailmentModel,
    test: PaperTest,
    name: str,
    manifest: Path,
    any_size: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    task = "choice" if test.template else "entailment"
    protocol = find_protocol(OF_ANY_SIZE[task][0] if any_size else SIZED_SETS.get(name, test.protocol))
    opened = open_any_split(model, manifest, progress=progress)
    if test.template:
        return evaluate_choice(opened, protocol, test.template[name])
    return evaluate_entailment(opened, protocol)


def _manifest_of(test: PaperTest, folder: Path) -> tuple[str, Path] | None:
    """The first of a test's sets that is there: its name and manifest."""
    places = (
        (name, path) for name in test.sets for path in (folder / name / "manifest.jsonl", folder / f"{name}.jsonl")
    )
    return next(((name, path) for name, path in places if path.is_file()), None)
