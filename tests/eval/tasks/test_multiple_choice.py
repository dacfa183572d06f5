"""Multiple choice with a model: accuracy against counting, kinds of questions, ties, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from mova.data.row_texts import option_texts
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.multiple_choice import evaluate_choice
from tests.support.known import Clips, cosines, drawn, known_split, pooled, row

ANY = find_protocol("choice")
TYPES = ("CW", "TN", "CH", "DO")
ROWS = [
    row(
        f"q{i}",
        "the right one",
        video=f"{i % 7}.mp4",
        question=f"why {i}",
        options=[f"because {i} {k}" for k in range(3 + i % 2)],
        answer=i % 3,
        type=TYPES[i % 4],
    )
    for i in range(40)
]


def chosen(question: int, template: str) -> bool:
    meta = ROWS[question].meta
    texts = [template.format(question=meta["question"], option=option) for option in meta["options"]]
    frames = pooled(drawn(ROWS[question].video, 5))[None]
    return int(np.argmax([cosines(drawn(text), frames)[0, 0] for text in texts])) == meta["answer"]


@pytest.mark.parametrize("template", ["{question} {option}", "{option}"])
def test_accuracy_is_that_of_counting(template: str) -> None:
    clips = Clips()
    report = evaluate_choice(known_split(ROWS, clips=clips), ANY, template).to_json()
    hits = np.array([chosen(i, template) for i in range(40)])
    types = np.arange(40) % 4
    assert report["figures"]["all"]["accuracy"] == pytest.approx(100 * hits.mean())
    assert report["figures"]["TN"]["accuracy"] == pytest.approx(100 * hits[types == 1].mean())
    assert report["figures"]["causal"]["accuracy"] == pytest.approx(100 * hits[types % 2 == 0].mean())
    assert report["counts"]["descriptive"] == {"questions": 10}
    assert report["settings"]["template"] == template
    assert len(clips.asked) == 7, "a video of several questions is encoded once"
    assert (report["queries"], report["candidates"]) == (40, 4)


def test_a_constant_model_is_at_chance_and_broken_videos_are_excluded() -> None:
    frames = {source.video: [[0.0] * 16] for source in ROWS}
    report = evaluate_choice(known_split(ROWS, clips=Clips(frames, broken=["3.mp4"])), ANY).to_json()
    remaining = [source for source in ROWS if source.video != "3.mp4"]
    assert report["figures"]["all"]["accuracy"] == pytest.approx(
        100 * np.mean([1 / len(r.meta["options"]) for r in remaining])
    )
    assert report["ties"] == len(remaining)
    assert len(report["excluded"]) == 40 - len(remaining)


def test_groups_without_types_and_with_other_types() -> None:
    rows = [row(f"q{i}", "x", question="q", options=["a", "b"], answer=0) for i in range(3)]
    assert list(evaluate_choice(known_split(rows), ANY).to_json()["figures"]) == ["all"]
    mixed = [
        row(f"q{i}", "x", question="q", options=["a", "b"], answer=0, type=t) for i, t in enumerate(("CW", "other"))
    ]
    assert list(evaluate_choice(known_split(mixed), ANY).to_json()["figures"]) == ["all", "CW", "other"]
    named = [row(f"q{i}", "x", question="q", options=["a", "b"], answer=0, type="all") for i in range(2)]
    with pytest.raises(ValueError, match="two groups have the name 'all'; rename one of them"):
        evaluate_choice(known_split(named), ANY)


def test_malformed_rows_are_refused() -> None:
    with pytest.raises(DataError, match="at least two texts"):
        option_texts(row("q", "x", options=["one"], answer=0))
    for answer in (2, -1, "1", None, True):
        with pytest.raises(DataError, match=r"meta\.answer must be 0 to 1"):
            option_texts(row("q", "x", options=["a", "b"], answer=answer))
    for template in ("{question}", "{option} {other}", "{option", "{option} {question[a]}", "{option} {question.a}"):
        with pytest.raises(UsageError, match="--template"):
            option_texts(row("q", "x", options=["a", "b"], answer=0), template)
    with pytest.raises(DataError, match=r"none of the 1 rows.*no options"):
        evaluate_choice(known_split([row("q", "x")]), ANY)
    with pytest.raises(UsageError, match="40 texts instead of 2269"):
        evaluate_choice(known_split(ROWS), find_protocol("atp-hard"))
