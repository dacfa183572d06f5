"""What lists of moments contain: planted highlights, near-equal moments, and queries of a file beside single ones.

1. Highlights, on natural clips (see `natural.py`) with `mova-natural`: four seconds of one clip are put into another.
   How often are they its first moment, and how many of the first moments of ten such clips are they?
2. Near-equal moments, on the same clips: the share of pairs of two seconds from different clips that `--dedupe` takes
   for the same, and of two seconds and the same in half size with strong JPEG compression.
3. `--queries`, on Worlds: processor time of many sentences together, as a multiple of that of one after the other.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import harness
from benchmarks.studies.natural import DATA, QUICK_CLIPS
from mova.data.manifest import read_manifest
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.search.highlights import find
from mova.search.index import Index
from mova.search.narrow.distinct import drop_near_equal
from mova.search.narrow.filter import NEAR_EQUAL
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.serve.held import HeldIndex
from mova.types import Frames, Moment
from mova.video.reader import stream
from mova.worlds.writer import write_worlds

RATE, LONGEST = 1.0, 24.0
"""Frames per second, and seconds of a clip that are used."""
PLANTED, LEAST, TOGETHER = 4, 12, 10
"""Seconds that are planted, least seconds of a clip that they are planted in, and clips of one index."""
PAIR, JPEG_QUALITY = 2, 20
"""Seconds of a moment that is compared, and quality of the pictures of its copy."""


@dataclass(frozen=True)
class Clip:
    """Unit vectors (T, d) of the frames of a clip, one per second, and of copies of some of them."""

    name: str
    vectors: np.ndarray
    copies: np.ndarray


def encoded(model: DualEncoder, path: Path) -> Clip:
    """Encode a clip, and its first seconds in half size with strong JPEG compression."""
    frames = Frames.concatenate(list(stream(path, fps=RATE, end=LONGEST, short_side=256)))
    return Clip(path.stem, _unit(model, frames), _unit(model, _worse(frames[: 3 * PAIR])))


def _unit(model: DualEncoder, frames: Frames) -> np.ndarray:
    vectors = model.encode_frames(frames).float().numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _worse(frames: Frames) -> Frames:
    """Return frames in half size, after JPEG compression."""
    pictures = []
    for pixels in frames.pixels:
        small = Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
        pictures.append(np.asarray(Image.open(buffer).convert("RGB")))
    return Frames(np.stack(pictures), frames.pts)


def stored(folder: Path, model: DualEncoder, videos: dict[str, np.ndarray]) -> Store:
    """Write an index of vectors (T, d), one frame per second."""
    store = Store(folder)
    store.create(Meta(model.name, model.fingerprint(), model.embedding_dim, RATE))
    records, parts = [], []
    for number, (name, vectors) in enumerate(videos.items()):
        times, mean = np.arange(len(vectors)) / RATE, vectors.mean(axis=0)
        parts.append(StoredFrames(times, vectors))
        length = len(vectors) / RATE
        records.append(VideoRecord(f"/{name}", f"{number:032x}", 1, 1, length, len(vectors), mean))
    store.append([record.content for record in records], parts)
    store.commit(records)
    return store


def first_highlights(store: Store, k: int) -> list[Moment]:
    """Return the least typical moments; pictures are not looked at."""
    return list(find(store, None, k, method="distance", per_video=3, skip_blank=False))


def planted(rng: np.random.Generator, host: Clip, donor: Clip) -> tuple[np.ndarray, int]:
    """Return the vectors of a clip with some of another one, and the second at which they begin."""
    vectors, start = host.vectors.copy(), int(rng.integers(len(host.vectors) - PLANTED))
    vectors[start : start + PLANTED] = donor.vectors[:PLANTED]
    return vectors, start


def overlaps(moment: Moment, start: int) -> bool:
    """Return whether most of a moment is planted."""
    inside = min(moment.end, start + PLANTED) - max(moment.start, start)
    return inside > 0.5 * (moment.end - moment.start)


def highlights(report: harness.Report, model: DualEncoder, clips: Sequence[Clip], seed: int, folder: Path) -> None:
    """Measure the first block."""
    rng = np.random.default_rng(seed)
    hosts = [clip for clip in clips if len(clip.vectors) >= LEAST]
    made = {}
    for host in hosts:
        donor = clips[int(rng.integers(len(clips)))]
        while donor is host:
            donor = clips[int(rng.integers(len(clips)))]
        made[host.name] = planted(rng, host, donor)
    alone = []
    for name, (vectors, start) in made.items():
        found = first_highlights(stored(folder / name, model, {name: vectors}), 1)
        alone.append(bool(found) and overlaps(found[0], start))
    some = list(made)[:TOGETHER]
    together = stored(folder / "together", model, {name: made[name][0] for name in some})
    first = [overlaps(moment, made[moment.video[1:]][1]) for moment in first_highlights(together, len(some))]
    report.row(
        name=f"highlights, seed {seed}",
        clips=len(made),
        first_of_its_clip=float(np.mean(alone)),
        clips_together=len(some),
        among_the_first_of_all=float(np.sum(first)) / len(some),
    )


def near_equal(report: harness.Report, model: DualEncoder, clips: Sequence[Clip], folder: Path) -> None:
    """Measure the second block."""
    videos = {clip.name: clip.vectors for clip in clips}
    copies = {f"copy-{clip.name}": clip.copies for clip in clips}
    store = stored(folder / "pairs", model, {**videos, **copies})

    def moments(name: str, vectors: np.ndarray) -> list[Moment]:
        return [Moment(f"/{name}", float(s), float(s + PAIR), 0.0) for s in range(0, len(vectors) - PAIR + 1, PAIR)]

    def same(a: Moment, b: Moment) -> bool:
        return len(drop_near_equal(store, [a, b], NEAR_EQUAL, 2)) == 1

    chosen = {name: moments(name, vectors)[:3] for name, vectors in videos.items()}
    others = [same(a, b) for one, two in combinations(chosen.values(), 2) for a in one for b in two]
    worse = [
        same(a, b)
        for name, vectors in copies.items()
        for a, b in zip(chosen[name.removeprefix("copy-")], moments(name, vectors), strict=False)
    ]
    report.row(
        name="near-equal moments",
        pairs_of_other_clips=len(others),
        others_left_out=float(np.mean(others)),
        copies=len(worse),
        copies_left_out=float(np.mean(worse)),
    )


def queries(report: harness.Report, folder: Path, seed: int, count: int) -> None:
    """Measure the third block."""
    manifest = write_worlds(folder / "asked", 8, 60, "flat", 700_000 + seed, size=64)
    Index(folder / "index", "mova-worlds-tiny").add([manifest.parent])
    sentences = [s.text for row in read_manifest(manifest) for c in row.captions for s in c.sentences or ()]
    texts = [f"{sentences[i % len(sentences)]} {sentences[i // len(sentences)]}"[:-1] for i in range(count)]
    index = HeldIndex(folder / "index")
    index.search(texts[0], 5, order="no")

    def single() -> list[list[Moment]]:
        return [list(index.search(text, 5, order="no")) for text in texts]

    def together() -> list[list[Moment]]:
        with index.held():
            index.look_ahead(texts)
            return [list(index.search(text, 5, order="no")) for text in texts]

    def places(answers: list[list[Moment]]) -> list[list[tuple[str, float, float]]]:
        return [[(moment.video, moment.start, moment.end) for moment in answer] for answer in answers]

    same = places(single()) == places(together())
    one, all_at_once = harness.seconds(single, 2), harness.seconds(together, 2)
    report.row(name="queries one after the other", queries=count, processor_seconds=one)
    report.row(name="queries of a file", queries=count, processor_seconds=all_at_once, ratio=all_at_once / one)
    report.claim("queries of a file find the same moments", int(same), 1, same)
    ratio = all_at_once / one
    report.claim("queries of a file take less processor time than single ones", ratio, 1.0, ratio < 1.0)


def main() -> None:
    """Run all blocks."""
    args = harness.arguments(__doc__)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else 3)))
    report = harness.Report("answers", seeds=seeds)
    model = load("mova-natural")
    rows = [json.loads(line) for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()]
    clips = [encoded(model, DATA / row["video"]) for row in (rows[:QUICK_CLIPS] if args.quick else rows)]
    with tempfile.TemporaryDirectory() as name:
        for seed in seeds:
            highlights(report, model, clips, seed, Path(name) / str(seed))
        near_equal(report, model, clips, Path(name))
        queries(report, Path(name), args.seed, 50 if args.quick else 300)
    first = float(np.mean([row["first_of_its_clip"] for row in report.rows if "first_of_its_clip" in row]))
    mistaken = next(row["others_left_out"] for row in report.rows if "others_left_out" in row)
    report.claim("what is planted is the first highlight of at least 90 % of single clips", first, 0.9, first >= 0.9)
    report.claim("at most 1 % of pairs of other clips count as near-equal", mistaken, 0.01, mistaken <= 0.01)
    report.finish()


if __name__ == "__main__":
    main()
