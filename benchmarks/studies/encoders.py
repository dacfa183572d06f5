"""Encoders side by side on the same videos and texts: what they find, and what they cost.

`mova bench encoders --models A,B --data MANIFEST` takes any names and folders that `mova.load` loads, encoders of
single frames and of windows alike, and any manifest. Without `--data`: rendered Worlds, and the real clips if they are
there (`natural.py`). The names that begin with `random-` are tiny checkpoints with random weights, one of each family
(`benchmarks/common/random_encoders.py`).

Every model runs in a process of its own, on one thread. Vectors are those of the index where a row is a whole file.
Retrieval is that of the paragraph of each video (`mova eval retrieval --protocol paragraphs`), moments are single
sentences (`mova eval moments`), alignment is of all sentences of a paragraph together (`--paragraph`). No match: half
of the videos are left out, many times; the figure is the area under the ROC curve of the highest cosine, between
sentences about videos that are there and sentences about others (which may show the same, so 100 is out of reach).
Costs are of `mova index` on all files, in processor time. Intervals are 95 %, by bootstrap over queries; for no match,
over the draws of halves. With `--folder`, a run that was stopped continues.

Shape legend: S sentences, V videos, d width.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import harness
from benchmarks.common.random_encoders import random_encoders
from benchmarks.studies.natural import DATA
from mova.data.manifest import Row, read_manifest
from mova.errors import UsageError
from mova.eval.metrics.bootstrap import Interval
from mova.eval.metrics.classification import roc_auc
from mova.eval.protocols import find_protocol
from mova.eval.tasks.encoding import decode_rows
from mova.eval.tasks.moments import evaluate_moment_retrieval
from mova.eval.tasks.paragraphs import evaluate_paragraphs
from mova.eval.tasks.retrieval import evaluate_retrieval
from mova.eval.tasks.split import EvalSplit, open_split
from mova.eval.tasks.worlds import HELD_OUT
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.known import ready_models
from mova.models.registry import load
from mova.search.index import Index
from mova.search.storage.sources import size_on_disk
from mova.utils.hashing import digest
from mova.worlds.writer import write_worlds

HALVES = 200
VIDEO_PARTS = ("frames.lance", "videos.lance", "snapshot")
"""Parts of an index that grow with its videos."""
FIGURES = ("retrieval R@1", "moments R1@0.5", "moments mIoU", "alignment mIoU", "no match AUC")


def opened(name: str, manifest: Path, folder: Path, seed: int) -> DualEncoder:
    """Load a model; random ones are made first, with a vocabulary of the manifest's texts."""
    known = random_encoders()
    if name not in known:
        return load(name, device="cpu")
    texts = [caption.text for row in read_manifest(manifest) for caption in row.captions]
    return load(str(known[name](folder / name, texts, seed)), device="cpu")


class Clips:
    """Gives the vectors of each clip of a manifest: those of the index for whole files, else encoded once.

    Args:
        model: the encoder.
        manifest: a `.jsonl` file.
        index: of the files, with this model; None: all clips are encoded.
    """

    def __init__(self, model: DualEncoder, manifest: Path, index: Index | None = None) -> None:
        self._folder, self._index = manifest.resolve().parent, index
        self._encode = decode_rows(model, self._folder)
        self._known: dict[str, VideoEmbedding] = {}

    def __call__(self, row: Row) -> VideoEmbedding:
        """Return the embedding of a row."""
        if row.id not in self._known:
            whole = not row.parts and not row.start and row.end is None
            stored = self._index.stored(self._folder / row.video) if whole and self._index is not None else None
            self._known[row.id] = self._encode(row) if stored is None else stored
        return self._known[row.id]


def of_report(interval: Interval | None) -> list[float] | None:
    """Return value, low and high."""
    return None if interval is None else [interval.value, interval.low, interval.high]


@torch.no_grad()
def no_match(model: DualEncoder, split: EvalSplit, clips: Clips, seed: int) -> list[float] | None:
    """Return the area under the ROC curve in percent, with its interval over draws; None for fewer than four videos."""
    rows = [row for row in split.kept if row.captions and row.captions[0].sentences]
    texts = [(i, sentence.text) for i, row in enumerate(rows) for sentence in row.captions[0].sentences]
    if len(rows) < 4:
        return None
    vectors = model.encode_text([text for _, text in texts]).pooled
    owner = np.array([i for i, _ in texts])
    highest = torch.stack([model.relevance(vectors, clips(row)).max(dim=1).values for row in rows], dim=1)
    scores: npt.NDArray[np.float64] = highest.double().cpu().numpy()
    rng, areas = np.random.default_rng(seed), []
    for _ in range(HALVES):
        there = np.zeros(len(rows), dtype=bool)
        there[rng.permutation(len(rows))[: len(rows) // 2]] = True
        areas.append(100 * roc_auc(scores[:, there].max(axis=1), there[owner]))
    return [float(np.mean(areas)), *np.percentile(areas, [2.5, 97.5]).tolist()]


def qualities(model: DualEncoder, manifest: Path, index: Index, seed: int) -> dict[str, list[float] | None]:
    """Return the figures of a model, each as value, low and high."""
    clips = Clips(model, manifest, index)

    def split() -> EvalSplit:
        return open_split(model, manifest, encode=clips)

    retrieval = evaluate_retrieval(split(), find_protocol("paragraphs")).directions["t2v"]
    moments = evaluate_moment_retrieval(split(), find_protocol("moments")).groups["moments"]
    aligned = evaluate_paragraphs(split(), find_protocol("moments")).groups["moments"]
    values = [
        of_report(retrieval.intervals.get("R@1")),
        of_report(moments.intervals.get("R1@0.5")),
        of_report(moments.intervals.get("mIoU")),
        of_report(aligned.intervals.get("mIoU")),
        no_match(model, split(), clips, seed),
    ]
    return dict(zip(FIGURES, values, strict=True))


def costs(model: DualEncoder, manifest: Path, folder: Path) -> dict[str, float]:
    """Return what an index of all files of a manifest costs."""
    files = sorted({manifest.parent / row.video for row in read_manifest(manifest) if row.video})
    index_folder = folder / "index"
    index = Index(index_folder, model)
    began = time.process_time()
    report = index.add(files, threads=1)
    spent = time.process_time() - began
    status = index.status()
    hours = status.seconds / 3600
    return {
        "seconds of video per second": status.seconds / spent,
        "vectors per hour": report.frames / hours,
        "MB per hour": sum(size_on_disk(index_folder / part) or 0 for part in VIDEO_PARTS) / 1e6 / hours,
        "text tower MB": (size_on_disk(index_folder / "text_tower") or 0) / 1e6,
        "peak MB": harness.resident("VmHWM"),
    }


def child(name: str, manifest: str, seed: str) -> None:
    """Print everything about one model on one manifest as JSON."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = opened(name, Path(manifest), Path(folder), int(seed))
        spent = costs(model, Path(manifest), Path(folder))
        found = qualities(model, Path(manifest), Index(Path(folder) / "index", model), int(seed))
        rate = model.frame_rate
        window = {"window": model.window.seconds(rate), "stride": model.window.stride_seconds(rate)}
        print(json.dumps({**window, "width": model.embedding_dim, **found, **spent}))


def rendered(folder: Path, videos: int, seed: int) -> Path:
    """Render Worlds of 40 s, all of one split; return the path of their manifest."""
    if (folder / "manifest.jsonl").is_file():
        return folder / "manifest.jsonl"
    path = write_worlds(folder, videos, 40, "flat", seed, size=64, fps=4.0)
    rows = [{**json.loads(line), "split": "test"} for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def real_clips(folder: Path) -> Path:
    """Write a manifest of the real clips, with their timed events as sentences; return its path."""
    lines = (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / "real-clips.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(map(json.loads, lines)):
            sentences = [{"text": e["text"], "start": e["start"], "end": e["end"]} for e in row["events"]]
            captions = [{"text": row["caption"], "sentences": sentences}]
            clip = {"id": f"{number:03d}", "video": str(DATA / row["video"]), "duration": row["duration"]}
            file.write(json.dumps({**clip, "split": "test", "captions": captions}) + "\n")
    return path


def manifests(requested: str | None, quick: bool, seed: int, folder: Path) -> dict[str, Path]:
    """Return the manifests to measure on, by name.

    Raises:
        UsageError: one does not exist.
    """
    if requested:
        paths = [Path(name) for name in requested.split(",")]
        for path in paths:
            if not path.is_file():
                raise UsageError(f"--data {path}: no such file; create a manifest with `mova data convert`")
        return {str(path): path for path in paths}
    found = {"Worlds": rendered(folder / "worlds", 6 if quick else 30, HELD_OUT + seed)}
    if not quick and (DATA / "realclips.jsonl").is_file():
        found["real clips"] = real_clips(folder)
    return found


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row: figures with their intervals as text, and as numbers under "intervals"."""
    known = {name: values[name] for name in FIGURES if values.get(name) is not None}
    texts = {name: "{:.1f} [{:.1f}, {:.1f}]".format(*three) for name, three in known.items()}
    return {**values, **texts, "intervals": known}


def chosen_models(requested: str | None) -> Sequence[str]:
    """Return the models to compare; default: what is on this machine, and random ones."""
    if requested:
        return [name.strip() for name in requested.split(",") if name.strip()]
    return ["mova-worlds-tiny", *ready_models(), *random_encoders()]


def main() -> None:
    """Measure every model on every manifest."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--models", default=None, help="names or folders, separated by commas")
    parser.add_argument("--data", default=None, help="manifests, separated by commas (default: Worlds, real clips)")
    parser.add_argument("--folder", type=Path, default=None, help="keep rendered data and finished runs here")
    args = parser.parse_args()
    report = harness.Report("encoders-own" if args.models or args.data else "encoders", [args.seed])
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for data, path in manifests(args.data, args.quick, args.seed, folder).items():
            for name in chosen_models(args.models):
                words = (name, str(path), str(args.seed))
                run = partial(harness.in_subprocess, "benchmarks.studies.encoders", *words)
                kept = folder / "runs" / f"{digest([*words, data])}.json"
                report.row(data=data, name=name, **shown(harness.finished(kept, run)))
    report.finish(columns=[name for name in report.rows[0] if name != "intervals"] if report.rows else None)


if __name__ == "__main__":
    main()
