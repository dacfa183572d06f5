"""Kills at random moments: indexing and training go on where they stopped, with nothing lost and nothing twice.

A child process indexes videos, or trains a small model, and is killed (SIGKILL) at a random moment. After every kill,
the stored state is examined. The same work is then started again, until it ends. The result is compared with that of a
run that was never killed: the same frames in the index, the same weights of the model. Work that ended begins anew, so
that every kill hits a run.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.common import harness
from mova.models.embeddings import TextEmbedding
from mova.models.encoder import DualEncoder
from mova.search.index import Index
from mova.search.ingest import file_reader, writer
from mova.search.storage.store import Store
from mova.types import Frames
from mova.video.writer import write_mp4

KILLS, QUICK = (100, 100), (4, 3)
"""Kills of indexing, and of training."""
FILMS, SECONDS = 10, 6
CAUSE_BYTES = 4096
RECIPE: dict[str, Any] = {
    "model": {"kind": "worlds-tiny", "image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2},
    "data": {"kind": "worlds", "batches": 8, "videos": 2, "events": 3, "image_size": 32},
    "objective": {"kind": "grounding"},
    "training": {"max_steps": 8, "logging_steps": 1, "save_steps": 2, "bf16": False, "learning_rate": 1.0e-3},
    "finish": {"clips": 3, "worlds": 2},
}


class MeanColor(DualEncoder):
    """An encoder that costs nothing: its vectors are thumbnails.

    Args:
        wait: seconds per frame.
    """

    name = "mean-color"
    frame_rate = 4.0

    def __init__(self, wait: float = 0.0) -> None:
        self.wait = wait

    @property
    def embedding_dim(self) -> int:
        return 48

    def fingerprint(self) -> str:
        return "mean-color"

    def encode_frames(self, frames: Frames) -> torch.Tensor:
        time.sleep(self.wait * len(frames))
        pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1) + 1e-3

    def encode_text(self, texts: Any) -> TextEmbedding:
        raise NotImplementedError


def attempt(work: Callable[[], object], seconds: float | None) -> bool:
    """Run work in a child process, killed after some seconds (None: never); return whether it ended by itself.

    Raises:
        RuntimeError: the work raised an error, which is named.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(os.devnull, "w") as silent:
                os.dup2(silent.fileno(), 1)
                os.dup2(silent.fileno(), 2)
                work()
            code = 0
        except BaseException as error:  # noqa: BLE001  the parent raises it
            os.write(tell, f"{type(error).__name__}: {error}".encode()[:CAUSE_BYTES])
        finally:
            os._exit(code)
    os.close(tell)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    failed = os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    cause = os.read(told, CAUSE_BYTES).decode(errors="replace") if failed else ""
    os.close(told)
    if failed:
        raise RuntimeError(f"the work failed by itself ({cause})")
    return os.WIFEXITED(status)


@dataclass(frozen=True)
class Contents:
    """Times and vectors of every video of an index, by file name, and the number of all stored frames."""

    videos: dict[str, tuple[list[float], bytes]]
    frames: int


def contents(folder: Path) -> Contents:
    """Read an index in a child process: LanceDB must not be in use where a process forks."""

    def examine() -> None:
        index = Index(folder, MeanColor())
        stored = {Path(record.path).name: index.stored(record.path) for record in index.videos()}
        videos = {
            name: (embedding.times.tolist(), embedding.frames.numpy().tobytes())
            for name, embedding in stored.items()
            if embedding is not None
        }
        frames = Store(folder).count_frames() if index.exists else 0
        answer.write_bytes(pickle.dumps(Contents(videos, frames)))

    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "contents"
        attempt(examine, None)
        return pickle.loads(answer.read_bytes())


def make_films(folder: Path, rng: np.random.Generator) -> Path:
    """Write films of moving noise; return their folder."""
    folder.mkdir(parents=True)
    for number in range(FILMS):
        picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        write_mp4(folder / f"{number}.mp4", [np.stack([np.roll(picture, s, 1) for s in range(4 * SECONDS)])], fps=4.0)
    return folder


def kill_indexing(folder: Path, kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill indexing; compare the stored frames, after each kill and at the end, with an index that was never killed."""
    films = make_films(folder / "films", rng)
    file_reader.DECODE_CHUNK, writer.FLUSH_ROWS, writer.FLUSH_SECONDS, writer.TIDY_EVERY = 8, 16, 0.0, 3
    began = time.perf_counter()
    attempt(lambda: Index(folder / "complete", MeanColor(wait=0.005)).add([films]), None)
    usual = time.perf_counter() - began
    complete = contents(folder / "complete")
    counts: Counter[str] = Counter(killed=0, lost=0, twice=0, wrong=0)
    target, known = folder / "killed", set[str]()
    while counts["killed"] < kills:
        ended = attempt(lambda: Index(target, MeanColor(wait=0.005)).add([films]), rng.uniform(0, usual))
        counts["killed"] += not ended
        stored = contents(target).videos
        counts["wrong"] += sum(stored[name] != complete.videos[name] for name in stored)
        counts["lost"] += len(known - stored.keys())
        known = set(stored)
        if ended or len(stored) == FILMS:
            _finish_index(target, films, complete, counts)
            shutil.rmtree(target)
            known = set()
    _finish_index(target, films, complete, counts)
    return counts


def _finish_index(target: Path, films: Path, complete: Contents, counts: Counter[str]) -> None:
    """Index without a kill; count videos that are missing, and stored frames beyond those of the videos."""
    attempt(lambda: Index(target, MeanColor()).add([films]), None)
    stored = contents(target)
    counts["lost"] += sum(stored.videos.get(name) != frames for name, frames in complete.videos.items())
    counts["twice"] += max(0, stored.frames - complete.frames)
    counts["runs compared"] += 1


def kill_training(folder: Path, kills: int, rng: np.random.Generator) -> Counter[str]:
    """Kill training, resume, and compare the weights and the log with those of a run that was never killed."""
    from mova.train.recipe import load_recipe  # the other kills do without the libraries of training
    from mova.train.run import newest_checkpoint, train

    folder.mkdir(parents=True)
    recipe = folder / "small.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    began = time.perf_counter()
    attempt(lambda: train(load_recipe(str(recipe)), folder / "complete"), None)
    usual = time.perf_counter() - began
    complete = _trained(folder / "complete")
    counts: Counter[str] = Counter(killed=0, lost=0, twice=0)
    target = folder / "killed"
    while counts["killed"] < kills:
        resume = newest_checkpoint(target) is not None
        ended = attempt(lambda r=resume: train(load_recipe(str(recipe)), target, resume=r), rng.uniform(0, usual))
        counts["killed"] += not ended
        if ended or (target / "training.json").exists():
            _compare(_trained(target), complete, counts)
            shutil.rmtree(target)
        elif not resume and newest_checkpoint(target) is None:
            shutil.rmtree(target, ignore_errors=True)
    if target.exists():
        resume = newest_checkpoint(target) is not None
        attempt(lambda: train(load_recipe(str(recipe)), target, resume=resume), None)
        _compare(_trained(target), complete, counts)
    return counts


def _trained(folder: Path) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Return the weights of a run, and the steps of its log."""
    from json import loads

    from safetensors.torch import load_file

    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [row["step"] for row in map(loads, lines) if "loss" in row]
    return load_file(folder / "model.safetensors"), steps


def _compare(run: tuple[Any, list[int]], complete: tuple[Any, list[int]], counts: Counter[str]) -> None:
    weights, steps = run
    counts["lost"] += any(not torch.equal(value, weights[name]) for name, value in complete[0].items())
    counts["lost"] += len(set(complete[1]) - set(steps))
    counts["twice"] += len(steps) - len(set(steps))
    counts["runs compared"] += 1


def main() -> None:
    """Kill, resume, compare; print and record the counts."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    of_indexing, of_training = QUICK if args.quick else KILLS
    report = harness.Report("kills", [args.seed])
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        results = {
            "indexing": kill_indexing(Path(name) / "indexing", of_indexing, rng),
            "training": kill_training(Path(name) / "training", of_training, rng),
        }
    for work, counts in results.items():
        report.row(name=work, **counts)
        bad = counts["lost"] + counts["twice"] + counts["wrong"]
        report.claim(f"{work}: after every kill, nothing is lost, twice or wrong", bad, 0, bad == 0)
    report.finish()


if __name__ == "__main__":
    main()
