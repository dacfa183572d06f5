"""Classes of videos: zero-shot against counting, several labels against scikit-learn, linear heads, tasks of LVU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, top_k_accuracy_score
from torch import Tensor

from mova.data.row_texts import has_several, row_labels
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.classification import Classifier, evaluate_classify
from mova.models.encoder import VideoEmbedding
from tests.support.known import Clips, KnownEncoder, cosines, drawn, known_split, pooled, row

ANY = find_protocol("classify")
NAMES = [f"sport {c}" for c in range(8)]
ROWS = [row(f"v{i}", label=NAMES[i % 7]) for i in range(35)] + [row("elsewhere", label=NAMES[7], split="train")]
TESTED = ROWS[:35]


class Headed(KnownEncoder):
    """Logits are the first components of the mean frame."""

    labels: Sequence[str] = tuple(reversed(NAMES))

    def classify(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        return torch.stack([video.frames.mean(dim=0)[: len(self.labels)] for video in videos])


def scores(template: str, names: Sequence[str]) -> np.ndarray:
    texts = torch.cat([drawn(template.format(label=name)) for name in names])
    return cosines(texts, torch.stack([pooled(drawn(tested.video, 5)) for tested in TESTED])).T


def test_zero_shot_metrics_equal_scikit_learn() -> None:
    report = evaluate_classify(known_split(ROWS), ANY).to_json()
    predicted, labels = scores("A video of a {label}.", NAMES), np.arange(35) % 7
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, predicted, k=k, labels=np.arange(8))
        assert report["figures"]["all"][f"top-{k}"] == pytest.approx(100 * expected)
    hits = predicted.argmax(axis=1) == labels
    assert report["figures"]["all"]["mean class"] == pytest.approx(
        100 * np.mean([hits[labels == c].mean() for c in range(7)])
    )
    assert report["counts"]["all"] == {"videos": 35, "classes": 8, "ties": 0}
    assert report["settings"]["template"] == ["A video of a {label}."]
    assert (report["queries"], report["candidates"]) == (35, 8), "classes of other splits count"


def test_several_labels_per_video_are_measured_by_the_map_of_classes() -> None:
    def actions(i: int) -> list[dict[str, str]]:
        return [{"class": f"c{c:03}", "name": NAMES[c]} for c in range(7) if (i + c) % 4 == 0 and i != 1]

    rows = [row(tested.id, actions=actions(i)) for i, tested in enumerate(TESTED)] + [
        row("elsewhere", actions=[{"class": "c007", "name": NAMES[7]}], split="train")
    ]
    report = evaluate_classify(known_split(rows), ANY).to_json()
    predicted = scores("{label}", NAMES)
    right = np.array([[(i + c) % 4 == 0 and i != 1 for c in range(7)] for i in range(35)])
    expected = [average_precision_score(right[:, c], predicted[:, c]) for c in range(7)]
    assert report["figures"]["all"]["mAP"] == pytest.approx(100 * np.mean(expected))
    assert report["counts"]["all"] == {"videos": 35, "classes": 8, "classes without a video": 1}
    listed = [row(tested.id, label=[a["name"] for a in tested.meta["actions"]], split=tested.split) for tested in rows]
    assert evaluate_classify(known_split(listed), ANY).to_json()["figures"] == report["figures"]
    best, worst = report["bounds"]["all"]["mAP"]
    assert best == pytest.approx(worst)


def test_a_linear_head_is_used_if_the_model_has_one() -> None:
    assert isinstance(Headed(), Classifier)
    assert not isinstance(KnownEncoder(), Classifier)
    report = evaluate_classify(known_split(ROWS, model=Headed()), ANY).to_json()
    logits = torch.stack([drawn(tested.video, 5).mean(dim=0)[:8].flip(0) for tested in TESTED]).numpy()
    assert report["figures"]["all"]["top-1"] == pytest.approx(100 * (logits.argmax(axis=1) == np.arange(35) % 7).mean())
    assert report["settings"]["by"] == "linear head"
    assert "form" not in report["settings"]
    headless = Headed()
    headless.labels = ()
    assert evaluate_classify(known_split(ROWS, model=headless), ANY).to_json()["settings"]["by"] == "template"
    zero = evaluate_classify(known_split(ROWS, model=Headed()), ANY, zero_shot=True).to_json()
    assert zero["figures"] == evaluate_classify(known_split(ROWS), ANY).to_json()["figures"]
    strangers = [*ROWS, row("odd", label="chess")]
    with pytest.raises(DataError, match=r"does not know 1 of 9 classes.*'chess'"):
        evaluate_classify(known_split(strangers, model=Headed()), ANY)


def test_tasks_of_one_manifest_are_separate_tests_and_rows_without_labels_are_named() -> None:
    rows = [row(f"s{i}", task="scene", label=i % 3, name=NAMES[i % 3], video=f"{i}.mp4") for i in range(9)]
    rows += [row(f"w{i}", task="writer", label=i % 2, name=f"writer {i % 2}", video=f"{i}.mp4") for i in range(6)]
    rows += [row("views", task="view_count", values=[3])]
    clips = Clips(broken=["0.mp4"])
    report = evaluate_classify(known_split(rows, clips=clips), ANY).to_json()
    assert {name: counts["videos"] for name, counts in report["counts"].items()} == {"scene": 8, "writer": 5}
    assert {entry["id"] for entry in report["excluded"]} == {"s0", "w0", "views"}
    assert len(clips.asked) == 9, "a video of two tasks is encoded once"
    scene = evaluate_classify(known_split(rows), ANY, task="scene").to_json()
    assert scene["figures"] == {"scene": evaluate_classify(known_split(rows), ANY).to_json()["figures"]["scene"]}
    assert scene["excluded"] == []
    with pytest.raises(UsageError, match=r"--task 'genre'.*its tasks: scene, view_count, writer"):
        evaluate_classify(known_split(rows), ANY, task="genre")


def test_classes_may_be_under_another_key() -> None:
    rows = [
        row(source.id, video=source.video, genre=source.meta["label"], label="all", split=source.split)
        for source in ROWS
    ]
    report = evaluate_classify(known_split(rows), ANY, label="genre").to_json()
    assert report["figures"] == evaluate_classify(known_split(ROWS), ANY).to_json()["figures"]


@pytest.mark.parametrize(
    ("meta", "labels", "several"),
    [
        ({"label": 3, "name": "Romance"}, ("Romance",), False),
        ({"label": 3}, ("3",), False),
        ({"label": 0}, ("0",), False),
        ({"label": ["b", "a", "b", 2]}, ("b", "a", "2"), True),
        ({"label": [], "name": "nobody"}, (), True),
        ({"actions": [{"class": "c1", "name": "run"}, {"class": "c2"}]}, ("run", "c2"), True),
        ({"name": "of the uploader"}, None, False),
        ({"label": ""}, None, False),
    ],
)
def test_labels_of_a_row(meta: dict[str, object], labels: tuple[str, ...] | None, several: bool) -> None:
    assert (row_labels(row("v", **meta)), has_several(row("v", **meta))) == (labels, several)


def test_ties_are_shared_and_malformed_rows_are_refused() -> None:
    report = evaluate_classify(
        known_split(ROWS, clips=Clips({source.video: [[0.0] * 16] for source in ROWS})), ANY
    ).to_json()
    assert report["figures"]["all"]["top-1"] == pytest.approx(100 / 8)
    assert report["figures"]["all"]["top-5"] == pytest.approx(500 / 8)
    with pytest.raises(UsageError, match=r"needs \{label\}"):
        evaluate_classify(known_split(ROWS), ANY, "A video.")
    with pytest.raises(DataError, match=r"meta\.actions must be a list"):
        evaluate_classify(known_split([row("a", actions="running")]), ANY)
    with pytest.raises(DataError, match=r"meta\.label must be names or numbers"):
        evaluate_classify(known_split([row("a", label={"a": 1})]), ANY)
    with pytest.raises(DataError, match="has 1 classes"):
        evaluate_classify(known_split([row("a", label="one")]), ANY)
    with pytest.raises(DataError, match="no label"):
        evaluate_classify(known_split([row("a", "text")]), ANY)
