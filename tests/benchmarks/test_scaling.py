"""The study of scaling: which runs it makes, that checkpoints are those of shorter runs, and what its claims say."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.studies.scaling.report import (
    BASE,
    LATE,
    PAPER,
    POOLED,
    SUBSETS,
    SYSTEMS,
    claims,
    plot,
    ratios,
    summaries,
    values,
)
from benchmarks.studies.scaling.study import RATIOS, SIZES, Budget, Checkpoints, Epochs, changing, jobs
from mova.train.objectives.mova import MovaObjective

SHORT = 2


class Numbers(Dataset[dict[str, Tensor]]):
    """Batch i holds the number i."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"number": torch.tensor(index)}


def run(system: str, at: dict[int, float], size: str = BASE, ratio: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """A run whose R@1 by pooled cosine is `at[epoch]` on average, and 10 more by late interaction."""
    found = [
        {
            "epoch": epoch,
            **{f"{gallery}_global": (value - 1, value + 1) for gallery in ("easy", "hard")},
            **{f"{gallery}_late": (value + 9, value + 11) for gallery in ("easy", "hard")},
            **({"m_t": {"density": 50.0, "changing": 40.0 / ratio}} if system == PAPER else {}),
        }
        for epoch, value in at.items()
    ]
    parameters = 1000 * (list(SIZES).index(size) + 1)
    return {
        "system": system,
        "size": size,
        "ratio": ratio,
        "seed": seed,
        "parameters": parameters,
        "checkpoints": found,
    }


def study() -> list[dict[str, Any]]:
    level = {PAPER: 20.0, POOLED: 30.0, SUBSETS: 50.0, LATE: 45.0}
    runs = [run(system, {0: 10.0, 2: level[system], 4: level[system] + 5}) for system in SYSTEMS]
    runs += [run(system, {2: level[system] - 8}, size="tiny") for system in SYSTEMS]
    return [*runs, *(run(PAPER, {2: 20.0 - 5 * abs(np.log10(ratio))}, ratio=ratio) for ratio in (0.1, 5.0))]


def test_every_axis_has_five_steps_and_every_panel_its_controls() -> None:
    budget = Budget()
    chosen = jobs(budget, tuple(SIZES), RATIOS)
    assert len({job.name for job in chosen}) == len(chosen)
    assert len(budget.epochs) >= 5
    assert budget.short in budget.epochs
    for size in SIZES:
        assert {job.system for job in chosen if job.size == size and budget.short in job.epochs} == set(SYSTEMS)
    tried = {job.ratio for job in chosen if job.system == PAPER}
    assert len(tried) >= 5
    assert 1.0 in tried
    assert min(tried) < 0.2 < 1.2 < max(tried)
    for job in chosen:
        objective = job.arm().objective()
        if job.system == PAPER:
            assert cast(MovaObjective, objective).weights["pooled"] == job.ratio
            assert cast(MovaObjective, objective).weights["temporal"] == 1.0


def test_the_first_epochs_of_a_longer_run_are_those_of_a_shorter_one() -> None:
    short, long = Epochs(Numbers(), 5, 2, seed=3), Epochs(Numbers(), 5, 4, seed=3)
    assert len(long) == 20
    assert [int(long[i]["number"]) for i in range(10)] == [int(short[i]["number"]) for i in range(10)]
    for epoch in range(4):
        assert sorted(int(long[5 * epoch + i]["number"]) for i in range(5)) == list(range(5))
    assert long.order != Epochs(Numbers(), 5, 4, seed=4).order


def test_checkpoints_are_measured_in_evaluation_mode_after_whole_epochs() -> None:
    model = nn.Dropout().train()
    marks = Checkpoints({0: 0, 6: 2}, lambda net: {"training": net.training})

    class State:
        global_step = 0

    marks.on_train_begin(None, State, None, model=model)
    for step in range(1, 8):
        State.global_step = step
        marks.on_step_end(None, State, None, model=model)
    assert marks.found == [{"epoch": 0, "training": False}, {"epoch": 2, "training": False}]
    assert model.training


def test_a_dimension_changes_if_it_is_on_in_some_frames_of_a_video_only() -> None:
    masks = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    assert changing(masks) == {"density": 100 * (3 / 8 + 4 / 8) / 2, "changing": 100 * (1 / 4 + 1) / 2}


def test_rows_have_means_and_spreads_over_seeds() -> None:
    runs = [run(PAPER, {0: 10.0}), run(PAPER, {0: 16.0}, seed=1)]
    [row] = [row for row in summaries(runs, SHORT) if row["panel"] == "a, b"]
    assert (row["easy_global"], row["easy_late"], row["spread"]) == (13.0, 23.0, 3.0)
    assert values(runs, "m_t/changing", PAPER, 0) == [40.0, 40.0]


def test_claims_are_about_gains_controls_sizes_and_ratios() -> None:
    found = {text: (value, bound) for text, value, bound in claims(study(), SHORT)}
    assert found[f"{PAPER}: R@1 after epoch 4 minus that of the start, easy, global"] == (15.0, 0.0)
    assert found[f"{PAPER} minus {POOLED} after epoch 4, hard, global"] == (-10.0, 0.0)
    assert found[f"{SUBSETS} minus {LATE} after epoch 4, easy, late"] == (5.0, 0.0)
    assert found[f"{PAPER}: R@1 of the largest backbone minus the smallest, easy, global"] == (8.0, 0.0)
    assert found[f"{SUBSETS} minus {LATE}, mean over sizes, easy, late"] == (5.0, 0.0)
    assert found["lambda_g : lambda_tv = 1 minus the best other ratio, easy, global"][0] > 0
    assert found["a ratio of 1 minus the best ratio below 0.2, R@1, easy, global"] == (5.0, 0.0)
    collapse = next(value for text, value in found.items() if text.startswith("share of m_t"))
    assert collapse == (40.0 - 2 * 8.0, 0.0)
    assert ratios(study()) == [0.1, 1.0, 5.0]


def test_the_picture_has_four_panels() -> None:
    figure = Figure(layout="constrained")
    plot(study(), SHORT, figure)
    titles = [axis.get_title() for axis in figure.axes]
    assert [title[:3] for title in titles] == ["(a)", "(b)", "(c)", "(d)"]
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    figure.canvas.draw()
