"""Ten-minute videos with near duplicates: what each scoring form finds, on Worlds and on real clips that are joined.

`mova eval long` over several seeds: 200 videos of Worlds in the style that was never trained with `mova-worlds-tiny`,
and 200 videos joined from the described clips (looked for as in `benchmarks/studies/natural.py`) with `mova-natural`.
Beside them an oracle that knows all facts, one that knows the group of near duplicates alone, and chance. The claims:
the test is not saturated, the best form is above chance and below the oracle, and it tells near duplicates apart. With
`--folder`, a run that was stopped continues, and encoded clips are kept in `films`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.common import harness
from benchmarks.studies.natural import DATA, QUICK_CLIPS
from benchmarks.studies.novelty import clips
from mova.eval.tasks.long_galleries import LongGallery, clips_gallery, worlds_gallery
from mova.eval.tasks.long_videos import CHANCE, GROUP, ORACLE, evaluate_long
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.registry import load

WORLDS, CLIPS = "Worlds, unseen style", "real clips, joined"
MODELS = {WORLDS: "mova-worlds-tiny", CLIPS: "mova-natural"}
QUICK = {"videos": 8, "minutes": 1.0}
SATURATED = 95.0
BOUNDS = (ORACLE, GROUP, CHANCE)
COLORS = {"rule": "#2b6cb0", "late": "#e07a1f", "relevance": "#2f855a", "global": "#9aa5b1", ORACLE: "black"}


def gallery_of(name: str, model: DualEncoder, seed: int, quick: bool, folder: Path) -> LongGallery:
    """Return one of the two galleries."""
    size: Any = QUICK if quick else {}
    if name == WORLDS:
        return worlds_gallery(model, seed=seed, **size)
    rows = [json.loads(line) for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()]
    films, _ = clips(model, quick, folder / "films")
    videos = [VideoEmbedding(torch.from_numpy(film.frames), film.times, film.duration) for film in films]
    captions = [row["caption"] for row in rows[: len(films)]]
    if quick:  # as many clips as a gallery needs
        videos, captions = videos * 3, [f"{text} {n}." for n in range(3) for text in captions[:QUICK_CLIPS]]
    return clips_gallery(videos, captions, seed=seed, **size)


def run(name: str, seed: int, quick: bool, folder: Path) -> dict[str, Any]:
    """Measure one gallery of a seed."""
    began = time.process_time()
    model = load(MODELS[name], device="cpu")
    figures = evaluate_long(model, gallery_of(name, model, seed, quick, folder))
    return {**figures.to_json(), "own": model.scoring_form, "seconds": round(time.process_time() - began, 1)}


def cells(runs: Sequence[dict[str, Any]], form: str) -> dict[str, Any]:
    """Return the mean recalls of a form over seeds, and the lowest and highest mean of both directions of a seed."""
    found = [(result["forms"] | result["bounds"])[form] for result in runs]
    each = [(recalls["t2v"] + recalls["v2t"]) / 2 for recalls in found]
    row = {key: fmean(recalls[key] for recalls in found) for key in ("t2v", "v2t", "group")}
    row |= {"both": fmean(each), "lowest": min(each), "highest": max(each)}
    for key in dict.fromkeys(key for recalls in found for key in recalls["members"]):
        row[key] = fmean(recalls["members"][key] for recalls in found)
    for key in sorted({key for recalls in found for key in recalls["statements"]}, key=int):
        row[f"{key} statements"] = fmean(r["statements"][key] for r in found if key in r["statements"])
    for third, label in enumerate(("least", "middle", "most")):
        values = [list(recalls["uncovered"].values()) for recalls in found]
        row[f"{label} uncovered"] = fmean(parts[min(third, len(parts) - 1)] for parts in values)
    return {key: round(value, 2) for key, value in row.items()}


def add(report: harness.Report, name: str, runs: Sequence[dict[str, Any]]) -> None:
    """Add the rows and claims of a gallery."""
    rows = {form: cells(runs, form) for form in (*runs[0]["forms"], *BOUNDS)}
    for form, row in rows.items():
        report.row(name=name, form=form, **row)
    found = {key: round(fmean(result["localization"][key] for result in runs), 3) for key in runs[0]["localization"]}
    ranges = [list(result["bounds"][CHANCE]["uncovered"]) for result in runs]
    sizes = {key: runs[0][key] for key in ("videos", "clips", "minutes")}
    report.row(name=name, form="localization", **found, **sizes, ranges=ranges)
    best = max(runs[0]["forms"], key=lambda form: rows[form]["both"])
    value = rows[best]["both"]
    report.claim(f"{name}: best form ({best}) is not saturated", value, SATURATED, value < SATURATED)
    for bound in (CHANCE, GROUP):
        gain = round(value - rows[bound]["both"], 2)
        report.claim(f"{name}: best form ({best}) minus {bound}", gain, 0.0, gain > 0)
    missing = round(rows[ORACLE]["both"] - value, 2)
    report.claim(f"{name}: oracle minus best form ({best})", missing, 0.0, missing > 0)
    lost = round(rows["global"]["least uncovered"] - rows["global"]["most uncovered"], 2)
    report.claim(f"{name}: global, least minus most uncovered third", lost, 0.0, lost > 0)


def plot(rows: Sequence[Mapping[str, Any]], figure: Any) -> None:
    """Draw text-to-video R@1 by share of uncovered frames and by length of the caption, on Worlds."""
    figure.set_size_inches(9, 3.8)
    shown = [row for row in rows if row["name"] == WORLDS and row["form"] in COLORS]
    lengths = sorted((key for key in shown[0] if key.endswith(" statements")), key=lambda key: int(key.split()[0]))
    thirds = [f"{label} uncovered" for label in ("least", "middle", "most")]
    titles = "by share of frames without a sentence (thirds)", "by length of the caption"
    for axis, keys, title in zip(figure.subplots(1, 2, sharey=True), (thirds, lengths), titles, strict=True):
        for row in shown:
            axis.plot(keys, [row[key] for key in keys], "o-", color=COLORS[row["form"]], label=row["form"])
        axis.set(title=title, ylim=(0, 102))
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("text to video R@1, percent")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(shown))


def main() -> None:
    """Measure both galleries with all seeds."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    seeds = harness.seeds_of(args)
    names = [name for name in MODELS if name == WORLDS or (DATA / "realclips.jsonl").is_file()]
    report = harness.Report("long_videos", seeds)
    seconds = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for name in names:
            runs = []
            for seed in seeds:
                kept = folder / f"{MODELS[name]}-{seed}{'-quick' if args.quick else ''}.json"
                runs.append(harness.finished(kept, partial(run, name, seed, args.quick, folder)))
            seconds += sum(result["seconds"] for result in runs)
            if not args.only_run:
                add(report, name, runs)
    if not args.only_run:
        columns = ("name", "form", "t2v", "v2t", "group", "least uncovered", "most uncovered", "lowest", "highest")
        report.finish(plot=lambda figure: plot(report.rows, figure), columns=columns, seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
