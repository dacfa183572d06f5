"""Rows, claims and the picture of the study of scaling.

A run is the dictionary that `study.run` returns. Values over seeds are lists in the order of the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Run = dict[str, Any]
BASE = "middle"
"""The size of the backbone in (a), (b) and (d)."""
PAPER, POOLED, SUBSETS, LATE = (
    "MoVA, paper",
    "CLIP4Clip, mean",
    "MoVA, subsets",
    "late interaction (no masks)",
)
SYSTEMS = (PAPER, POOLED, SUBSETS, LATE)
FIGURES = ("easy_global", "easy_late", "hard_global", "hard_late")
"""R@1 by gallery and form of scoring."""
LABELS = {
    PAPER: "MoVA, published objective",
    POOLED: "global loss alone",
    SUBSETS: "MoVA, default (subsets)",
    LATE: "late interaction, no masks",
}
COLOURS = {PAPER: "#d1495b", POOLED: "#8d99ae", SUBSETS: "#00798c", LATE: "#edae49"}
LEVEL = {"below": 0.2, "above": 1.2}
"""Ratios beyond which, according to the paper, the global meaning is lost and the frame masks collapse."""


def values(
    runs: Sequence[Run], figure: str, system: str, epoch: int, size: str = BASE, ratio: float = 1.0
) -> list[float]:
    """Return a figure over seeds: R@1 as the mean of both directions, or a use of masks, such as "m_t/changing"."""
    name, _, part = figure.partition("/")
    found = []
    for run in runs:
        if (run["system"], run["size"], run["ratio"]) == (system, size, ratio):
            for checkpoint in run["checkpoints"]:
                if checkpoint["epoch"] == epoch and name in checkpoint:
                    value = checkpoint[name]
                    found.append(float(value[part] if part else np.mean(value)))
    return found


def mean(*args: Any, **kwargs: Any) -> float:
    """Return the mean of `values`; NaN without runs."""
    found = values(*args, **kwargs)
    return float(np.mean(found)) if found else float("nan")


def summaries(runs: Sequence[Run], short: int) -> list[dict[str, Any]]:
    """Return the rows of all panels: means over seeds, and standard deviations over seeds of the same figures."""
    rows = []
    for system, epoch in sorted({(r["system"], c["epoch"]) for r in runs for c in r["checkpoints"]}, key=_order):
        if found := _row(runs, system, epoch):
            rows.append({"panel": "a, b", "name": system, "at": f"epoch {epoch}", **found})
    for size, parameters in sizes(runs):
        for system in SYSTEMS:
            row = {"panel": "c", "name": system, "at": f"{parameters:,} parameters", "size": size}
            rows.append({**row, **_row(runs, system, short, size=size)})
    for ratio in ratios(runs):
        row = {"panel": "d", "name": PAPER, "at": f"{ratio:g} : 1", "ratio": ratio}
        rows.append({**row, **_row(runs, PAPER, short, ratio=ratio)})
    return rows


def _order(key: tuple[str, int]) -> tuple[int, int]:
    return SYSTEMS.index(key[0]), key[1]


def _row(runs: Sequence[Run], system: str, epoch: int, **place: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    spreads: dict[str, float] = {}
    for figure in FIGURES:
        if found := values(runs, figure, system, epoch, **place):
            row[figure] = round(float(np.mean(found)), 1)
            spreads[figure] = round(float(np.std(found)), 1)
    if not row:
        return row
    row["spread"] = max(spreads.values())
    row["spreads"] = spreads
    for figure in ("m_t/density", "m_t/changing", "m_v/density", "m_v/changing"):
        if found := values(runs, figure, system, epoch, **place):
            row[figure] = round(float(np.mean(found)), 1)
            row["spreads"][figure] = round(float(np.std(found)), 1)
    return row


def sizes(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """Return the sizes with the parameters of their backbones, ascending."""
    return sorted({(run["size"], run["parameters"]) for run in runs}, key=lambda pair: pair[1])


def ratios(runs: Sequence[Run]) -> list[float]:
    """Return lambda_g : lambda_tv of all runs, ascending."""
    return sorted({run["ratio"] for run in runs if run["system"] == PAPER})


def checkpoints(runs: Sequence[Run]) -> list[int]:
    """Return the epochs of panels (a) and (b)."""
    return sorted({c["epoch"] for run in runs if run["size"] == BASE for c in run["checkpoints"]})


def claims(runs: Sequence[Run], short: int) -> list[tuple[str, float, float]]:
    """Return (claim, value, lower bound) of what the paper's Fig. 7 says, and of masks over no masks."""
    last = checkpoints(runs)[-1]
    rows = []
    for gallery in ("easy", "hard"):
        for form in ("global", "late"):
            name = f"{gallery}_{form}"
            for system in (PAPER, SUBSETS):
                gain = mean(runs, name, system, last) - mean(runs, name, system, 0)
                rows.append((f"{system}: R@1 after epoch {last} minus that of the start, {gallery}, {form}", gain, 0.0))
            for system, control in ((PAPER, POOLED), (SUBSETS, LATE)):
                lead = mean(runs, name, system, last) - mean(runs, name, control, last)
                rows.append((f"{system} minus {control} after epoch {last}, {gallery}, {form}", lead, 0.0))
    rows += _of_sizes(runs, short)
    rows += _of_ratios(runs, short)
    return [(text, round(value, 3), bound) for text, value, bound in rows if not np.isnan(value)]


def _of_sizes(runs: Sequence[Run], short: int) -> list[tuple[str, float, float]]:
    names = [size for size, _ in sizes(runs)]
    rows = []
    for system, form in ((PAPER, "global"), (PAPER, "late"), (SUBSETS, "late")):
        curve = [mean(runs, f"easy_{form}", system, short, size=size) for size in names]
        rows.append(
            (f"{system}: R@1 of the largest backbone minus the smallest, easy, {form}", curve[-1] - curve[0], 0.0)
        )
        rows.append((f"{system}: smallest gain from one size to the next, easy, {form}", min(np.diff(curve)), 0.0))
    for system, control, form in ((PAPER, POOLED, "global"), (PAPER, POOLED, "late"), (SUBSETS, LATE, "late")):
        leads = [
            mean(runs, f"easy_{form}", system, short, size=size) - mean(runs, f"easy_{form}", control, short, size=size)
            for size in names
        ]
        rows.append((f"{system} minus {control}, mean over sizes, easy, {form}", float(np.mean(leads)), 0.0))
    return rows


def _of_ratios(runs: Sequence[Run], short: int) -> list[tuple[str, float, float]]:
    every = ratios(runs)
    recall = {ratio: mean(runs, "easy_global", PAPER, short, ratio=ratio) for ratio in every}
    varies = {ratio: mean(runs, "m_t/changing", PAPER, short, ratio=ratio) for ratio in every}
    others = [recall[ratio] for ratio in every if ratio != 1.0]
    rows = [("lambda_g : lambda_tv = 1 minus the best other ratio, easy, global", recall[1.0] - max(others), 0.0)]
    low = [recall[ratio] for ratio in every if ratio < LEVEL["below"]]
    high = [varies[ratio] for ratio in every if ratio > LEVEL["above"]]
    if low:
        rows.append(("a ratio of 1 minus the best ratio below 0.2, R@1, easy, global", recall[1.0] - max(low), 0.0))
    if high:
        text = "share of m_t that changes within a video at a ratio of 1, minus twice the highest above 1.2, percent"
        rows.append((text, varies[1.0] - 2 * max(high), 0.0))
    return rows


def plot(runs: Sequence[Run], short: int, figure: Any) -> None:
    """Draw the four panels; bars are standard deviations over seeds."""
    figure.set_size_inches(11, 9)
    axes = figure.subplots(2, 2)
    epochs = checkpoints(runs)
    for axis, gallery, letter in ((axes[0, 0], "easy", "a"), (axes[0, 1], "hard", "b")):
        _lines(axis, epochs, gallery, lambda figure, system, epoch: values(runs, figure, system, epoch))
        axis.set(title=f"({letter}) epochs, {gallery} gallery", xlabel="epochs")
    places = sizes(runs)
    names = {parameters: size for size, parameters in places}
    axis = axes[1, 0]
    _lines(axis, list(names), "easy", lambda figure, system, x: values(runs, figure, system, short, size=names[x]))
    axis.set(
        title=f"(c) size of the backbone, {short} epochs, easy gallery",
        xlabel="parameters of both towers",
        xscale="log",
    )
    axis.set_xticks(list(names), [f"{parameters / 1000:.0f} k" for parameters in names])
    axis.minorticks_off()
    _panel_of_ratios(axes[1, 1], runs, short)
    for axis in axes.flat:
        axis.set(ylabel="R@1, mean of both directions (%)")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[1, 1].set(ylabel="R@1, or share of dimensions (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


Reader = Callable[[str, str, Any], list[float]]


def _lines(axis: Any, xs: Sequence[Any], gallery: str, read: Reader) -> None:
    """Draw R@1 of all systems: late interaction as lines, the pooled cosine, where it is trained, broken."""
    for system in SYSTEMS:
        forms = ("late", "global") if system in (PAPER, POOLED) else ("late",)
        for form in forms:
            found = [read(f"{gallery}_{form}", system, x) for x in xs]
            style = "-o" if form == "late" else "--s"
            label = f"{LABELS[system]}; scored {'sentence by sentence' if form == 'late' else 'by pooled cosine'}"
            _curve(axis, xs, found, style, COLOURS[system], label)


def _curve(axis: Any, xs: Sequence[Any], found: Sequence[Sequence[float]], style: str, color: str, label: str) -> None:
    means, spreads = [np.mean(value) for value in found], [np.std(value) for value in found]
    axis.errorbar(xs, means, spreads, fmt=style, color=color, label=label, markersize=4, linewidth=1.4, capsize=2)


def _panel_of_ratios(axis: Any, runs: Sequence[Run], short: int) -> None:
    xs = ratios(runs)
    drawn = {
        "easy_late": ("-o", COLOURS[PAPER], None),
        "easy_global": ("--s", COLOURS[PAPER], None),
        "m_t/changing": (":^", "#6a4c93", "dimensions of $m_t$ that change within a video"),
    }
    for name, (style, color, label) in drawn.items():
        found = [values(runs, name, PAPER, short, ratio=x) for x in xs]
        _curve(axis, xs, found, style, color, label)
    for form, style in (("late", "-"), ("global", "--")):
        axis.axhline(mean(runs, f"easy_{form}", POOLED, short), color=COLOURS[POOLED], linestyle=style, linewidth=1.2)
    axis.set(
        title=f"(d) weight of the global loss, {short} epochs, easy gallery",
        xlabel=r"$\lambda_g : \lambda_{tv}$",
        xscale="log",
    )
    axis.set_xticks(xs, [f"{x:g}" for x in xs], minor=False)
    axis.minorticks_off()
    axis.legend(loc="best", fontsize=8)
