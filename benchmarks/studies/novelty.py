"""How many frames does an index need? Stretches by novelty against uniform sampling at the same number of vectors.

Three kinds of film: held-out Worlds of 40 s (`mova-worlds-tiny`), the described clips (`--model`, looked for as in
`benchmarks/studies/natural.py`), and long films of a fixed camera in which an event of some seconds happens every two
minutes or so ("watch"). A question is a sentence with its true spans. It is found if the best moment (of its film: "r1
film"; of all films: "r1 all"; one of the best five of all films: "r5 all") overlaps a true span by an IoU of 0.5.

The arms at each novelty: stretches (`mova.scoring.windows.stretches`); the same without shots; the same with the first
frame of a stretch in place of the mean; frames at a uniform rate, as many as there are stretches in all films
together; and as many means of consecutive frames, which have all of the smoothing and none of the choice.
All curves are those of the index: a stretch is repeated for its frames.

The novelty of the claims was chosen on other Worlds and on every second clip ("development"): of those with at least
four times fewer vectors, the one that finds most in its film, then the lowest. The films of a fixed camera are indexed
as files, twice. "Fixed cameras" are the three clips of more than 100 s, in which little moves.

Shape legend: T frames, W stretches, d width, V films, Q questions.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import harness
from benchmarks.studies.natural import DATA, QUICK_CLIPS, QUICK_SECONDS
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.spans import peaks
from mova.scoring.windows.stretches import MOST_FRAMES, StretchCutter, sampled_frames, score_bound
from mova.search.index import Index
from mova.search.ingest.shots import Shots
from mova.types import Frames, Span
from mova.video.writer import write_mp4
from mova.worlds.captions import describe
from mova.worlds.factors import Event, Filler, facts, sample_event
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import TRAIN_STYLES, render_event, render_scenery
from mova.worlds.script import sample_world
from mova.worlds.writer import render_world

NOVELTIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
WORLD_SECONDS, PIXELS, DEVELOPMENT = 40.0, 128, 60_000
WATCH_SECONDS, WATCH_FPS, WATCH_PIXELS = 1800, 4.0, 64
FIXED_SECONDS = 100.0
PAUSES, EVENTS = (60, 180), (4, 12)
"""Seconds between two events of a fixed camera, and of an event."""
LEAST_IOU, MOST_LOST, LEAST_SMALLER = 0.5, 1.0, 4.0
_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]


class Film(NamedTuple):
    """Unit frame vectors (T, d), their times (T,), which begin a shot (T,), and seconds."""

    frames: _F32
    times: _F64
    begins: npt.NDArray[np.bool_]
    duration: float


class Question(NamedTuple):
    """A unit text vector (d,), the number of its film, and the spans in which it is true."""

    text: _F32
    film: int
    truth: Sequence[Span]


class Stored(NamedTuple):
    """What an index keeps of a film: vectors (W, d), the vector (N,) of each of N frames that are read, their times."""

    vectors: _F32
    owners: npt.NDArray[np.int64]
    times: _F64


Store = Callable[[Film], Stored]


def encoded(model: DualEncoder, chunks: Sequence[Frames] | Iterator[Frames], duration: float) -> Film:
    """Return a film of sampled frames."""
    shots = Shots()
    parts = [(times, rows) for times, rows in model.encode_stream(shots.watch(chunks))]
    vectors = torch.nn.functional.normalize(torch.cat([rows for _, rows in parts]).float(), dim=-1).numpy()
    times = np.concatenate([times for times, _ in parts])
    return Film(vectors, times, shots.take(len(times)), duration)


@torch.no_grad()
def worlds(model: DualEncoder, seed: int, count: int) -> tuple[list[Film], list[Question]]:
    """Return held-out Worlds and the sentences of their paragraphs."""
    films, questions = [], []
    for number in range(count):
        world = sample_world(seed, WORLD_SECONDS, TRAIN_STYLES[number % len(TRAIN_STYLES)], index=number)
        times = np.arange(0, world.duration, 1 / model.frame_rate)
        films.append(encoded(model, [Frames(render_world(world, times, PIXELS), times)], world.duration))
        texts = model.encode_text([text for text, _ in world.annotations]).unit_vectors()
        questions += [Question(text, number, spans) for text, (_, spans) in zip(texts, world.annotations, strict=True)]
    return films, questions


@torch.no_grad()
def clips(model: DualEncoder, quick: bool, folder: Path | None) -> tuple[list[Film], list[Question]]:
    """Return the described clips and their events; films in `folder` are read, not encoded again."""
    rows = [json.loads(line) for line in (DATA / "realclips.jsonl").read_text(encoding="utf-8").splitlines()]
    films, questions = [], []
    for number, row in enumerate(rows[:QUICK_CLIPS] if quick else rows):
        end = QUICK_SECONDS if quick else None
        kept = None if folder is None else folder / f"{model.fingerprint()[:16]}-{end}-{Path(row['video']).stem}.npz"
        if kept is not None and kept.is_file():
            with np.load(kept) as arrays:
                films.append(Film(arrays["frames"], arrays["times"], arrays["begins"], float(arrays["duration"])))
        else:
            chunks, duration = model.open_video(DATA / row["video"], end=end)
            films.append(encoded(model, iter(chunks), duration))
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, **films[-1]._asdict())
        duration = films[-1].duration
        events = [event for event in row["events"] if event["start"] < duration]
        texts = model.encode_text([event["text"] for event in events]).unit_vectors()
        spans = [Span(event["start"], min(event["end"], duration)) for event in events]
        questions += [Question(text, number, [span]) for text, span in zip(texts, spans, strict=True)]
    return films, questions


def stretches(novelty: float, *, shots: bool = True) -> Store:
    """Return the rule of the index."""

    def store(film: Film) -> Stored:
        step = float(np.median(np.diff(film.times)))
        cutter = StretchCutter(novelty, step)
        parts = cutter.take(film.times, film.frames, film.begins if shots else None), cutter.finish()
        vectors, windows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        times, owners = sampled_frames(windows, 1 / step)
        return Stored(vectors, owners, times)

    return store


def first_frames(novelty: float) -> Store:
    """Return the rule that stores the first frame of a stretch, with the same bound on all others."""

    def store(film: Film) -> Stored:
        kept = [0]
        for k in range(1, len(film.frames)):
            far = float(np.sum((film.frames[k] - film.frames[kept[-1]]) ** 2)) > 2 * novelty
            if far or film.begins[k] or k - kept[-1] == MOST_FRAMES:
                kept.append(k)
        owners = np.searchsorted(kept, np.arange(len(film.frames)), side="right") - 1
        return Stored(film.frames[kept], owners, film.times)

    return store


def uniform(ratio: float) -> Store:
    """Return the rule that stores one of `ratio` frames; it stands for the time until the next."""

    def store(film: Film) -> Stored:
        count = max(1, round(len(film.frames) / ratio))
        kept = np.unique(np.minimum(np.rint(np.arange(count) * ratio).astype(np.int64), len(film.frames) - 1))
        return Stored(film.frames[kept], np.arange(len(kept)), film.times[kept])

    return store


def uniform_means(ratio: float) -> Store:
    """Return the rule that stores the mean of `ratio` consecutive frames, repeated for each of them."""

    def store(film: Film) -> Stored:
        owners = np.floor(np.arange(len(film.frames)) / ratio + 1e-9).astype(np.int64)
        sums = np.zeros((owners[-1] + 1, film.frames.shape[1]))
        np.add.at(sums, owners, film.frames)
        return Stored((sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32), owners, film.times)

    return store


def measure(films: Sequence[Film], questions: Sequence[Question], store: Store) -> dict[str, float]:
    """Return the number of vectors, recalls in percent, mean IoU, and the largest difference of a score."""
    kept = [store(film) for film in films]
    texts = np.stack([question.text for question in questions])
    curves = [(texts @ part.vectors.T)[:, part.owners] for part in kept]
    tops = np.stack([curve.max(axis=1) for curve in curves], axis=1)
    first, ious, first_all, five_all = [], [], [], []
    for q, question in enumerate(questions):

        def found(film: int, limit: int, q: int = q) -> list[tuple[float, int, Span]]:
            moments = peaks(curves[film][q], kept[film].times, films[film].duration, limit)
            return [(moment.score, film, moment.span) for moment in moments]

        def right(moment: tuple[float, int, Span], question: Question = question) -> float:
            own = moment[1] == question.film
            return max(moment[2].iou(span) for span in question.truth) if own else 0.0

        ious.append(right(found(question.film, 1)[0]))
        first.append(ious[-1] >= LEAST_IOU)
        near = np.argsort(-tops[q], kind="stable")[:5].tolist()  # others have no moment among the best five
        best = sorted((m for film in near for m in found(film, 5)), key=lambda moment: -moment[0])[:5]
        first_all.append(right(best[0]) >= LEAST_IOU)
        five_all.append(max(map(right, best)) >= LEAST_IOU)
    pairs = list(zip(curves, films, strict=True))
    apart = [float(np.abs(c - texts @ film.frames.T).max()) for c, film in pairs if c.shape[1] == len(film.frames)]
    rows, frames = sum(len(part.vectors) for part in kept), sum(len(film.frames) for film in films)
    recalls = {"r1 film": first, "r1 all": first_all, "r5 all": five_all}
    return {
        "vectors": rows,
        "smaller": frames / rows,
        **{name: 100 * float(np.mean(hits)) for name, hits in recalls.items()},
        "IoU": float(np.mean(ious)),
        **({"largest difference": max(apart)} if len(apart) == len(films) else {}),
    }


def arms(
    films: Sequence[Film], questions: Sequence[Question], novelty: float
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield all arms at one novelty, by name."""
    ours = measure(films, questions, stretches(novelty))
    yield "stretches", ours
    yield "without shots", measure(films, questions, stretches(novelty, shots=False))
    yield "first frame", measure(films, questions, first_frames(novelty))
    yield "uniform", measure(films, questions, uniform(ours["smaller"]))
    yield "uniform means", measure(films, questions, uniform_means(ours["smaller"]))


def choose(films: Sequence[Film], questions: Sequence[Question]) -> float:
    """Return the novelty of the highest recall in the own film, of those with few enough vectors."""
    rows = {novelty: measure(films, questions, stretches(novelty)) for novelty in NOVELTIES}
    small = {novelty: row["r1 film"] for novelty, row in rows.items() if row["smaller"] >= LEAST_SMALLER}
    return max(small, key=lambda novelty: (small[novelty], -novelty))


def split(films: Sequence[Film], questions: Sequence[Question], odd: int) -> tuple[list[Film], list[Question]]:
    """Return every second film, from the first or the second on, and its questions."""
    mine = [question for question in questions if question.film % 2 == odd]
    return list(films[odd::2]), [question._replace(film=question.film // 2) for question in mine]


def watch(path: Path, seed: int, seconds: int) -> list[tuple[str, Span]]:
    """Write a film of a fixed camera; return the sentence and the span of each event."""
    rng = np.random.default_rng([seed, 20])
    nuisance = replace(sample_nuisance(rng), drift=(0.0, 0.0), noise=2)
    style = TRAIN_STYLES[seed % len(TRAIN_STYLES)]
    first = sample_event(rng)
    parts: list[tuple[Event | None, float]] = []
    told: list[tuple[str, Span]] = []
    now = 0.0
    while now < seconds:
        pause, length = (float(rng.integers(*bounds)) for bounds in (PAUSES, EVENTS))
        event = replace(sample_event(rng), place=first.place)
        parts += [(None, pause), (event, length)]
        mention = [name for name, value in facts(event).items() if value is not None]
        spoken = describe(event, rng, mention=mention).text
        told.append((spoken, Span(now + pause, now + pause + length)))
        now += pause + length

    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        now = 0.0
        for event, length in parts:
            times = np.arange(0, length, 1 / WATCH_FPS)
            moving = replace(nuisance, seed=nuisance.seed + round(now))  # other noise in every part
            if event is None:
                yield render_scenery(Filler(first.place, None), moving, style, times, length, WATCH_PIXELS)
            else:
                yield render_event(event, moving, style, times, length, WATCH_PIXELS)
            now += length

    write_mp4(path, pictures(), fps=WATCH_FPS, preset="ultrafast")
    return told


def table_bytes(folder: Path) -> int:
    """Return the bytes of the vectors' table and of the snapshot."""
    places = [folder / "frames.lance", folder / "snapshot"]
    return sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())


def watched(model: DualEncoder, seed: int, seconds: int, novelty: float) -> dict[str, dict[str, float]]:
    """Index a film of a fixed camera with every frame and with stretches; the control has the vectors of the first."""
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "watch.mp4"
        told = watch(path, seed, seconds)
        for arm, distance in (("every frame", 0.0), ("stretches", novelty)):
            index = Index(folder / arm.replace(" ", "-"), model)
            report = index.add(path, novelty=distance)
            moments = [index.search(text, k=1)[0] for text, _ in told]
            ious = [Span(moment.start, moment.end).iou(span) for moment, (_, span) in zip(moments, told, strict=True)]
            result[arm] = {
                "vectors": report.stored,
                "smaller": report.frames / report.stored,
                "megabytes": table_bytes(folder / arm.replace(" ", "-")) / 1e6,
                "r1 film": 100 * float(np.mean(np.array(ious) >= LEAST_IOU)),
                "IoU": float(np.mean(ious)),
                "questions": len(told),
                "seconds": report.seconds,
            }
        every = Index(folder / "every-frame", model).stored(path)
        assert every is not None
        film = Film(every.frames.numpy(), every.times, np.zeros(len(every.times), np.bool_), every.duration)
        texts = model.encode_text([text for text, _ in told]).unit_vectors()
        questions = [Question(text, 0, [span]) for text, (_, span) in zip(texts, told, strict=True)]
        for arm, rule in (("uniform", uniform), ("uniform means", uniform_means)):
            result[arm] = measure([film], questions, rule(result["stretches"]["smaller"]))
    return result


def of_watches(report: harness.Report, model: DualEncoder, seeds: Sequence[int], novelty: float, seconds: int) -> None:
    """Add the rows and claims of the films of a fixed camera."""
    runs = [watched(model, seed, seconds, novelty) for seed in seeds]
    means = {arm: {key: float(np.mean([run[arm][key] for run in runs])) for key in runs[0][arm]} for arm in runs[0]}
    for arm, row in means.items():
        report.row(name="watch", form=arm, novelty=novelty, **row)
    ours, every = means["stretches"], means["every frame"]
    report.claim("watch: vectors, times fewer", ours["smaller"], 20, ours["smaller"] >= 20)
    bytes_saved = every["megabytes"] / ours["megabytes"]
    report.claim("watch: bytes of table and snapshot, times fewer", bytes_saved, 20, bytes_saved >= 20)
    controls = {arm: means[arm] for arm in ("uniform", "uniform means")}
    _claim_recall(report, "watch", "r1 film", ours, every, controls)


def of_films(
    report: harness.Report, name: str, novelty: float, runs: Sequence[tuple[list[Film], list[Question]]]
) -> None:
    """Add the rows and claims of some draws of films: means over the draws."""
    measured: dict[tuple[str, float], list[dict[str, float]]] = {}
    for films, questions in runs:
        measured.setdefault(("every frame", 0.0), []).append(measure(films, questions, uniform(1.0)))
        for distance in NOVELTIES:
            for arm, row in arms(films, questions, distance):
                measured.setdefault((arm, distance), []).append(row)
    means = {key: {k: float(np.mean([row[k] for row in rows])) for k in rows[0]} for key, rows in measured.items()}
    asked = sum(len(questions) for _, questions in runs)
    for (arm, distance), row in means.items():
        report.row(name=name, form=arm, novelty=distance, bound=score_bound(distance), **row, questions=asked)
    every, ours = means[("every frame", 0.0)], means[("stretches", novelty)]
    controls = {arm: means[(arm, novelty)] for arm in ("uniform", "uniform means")}
    report.claim(
        f"{name}: vectors at novelty {novelty:g}, times fewer",
        ours["smaller"],
        LEAST_SMALLER,
        ours["smaller"] >= LEAST_SMALLER,
    )
    for recall in ("r1 film", "r1 all", "r5 all"):
        _claim_recall(report, name, recall, ours, every, controls)
    worst = max(means[("stretches", distance)]["largest difference"] / score_bound(distance) for distance in NOVELTIES)
    report.claim(f"{name}: largest difference of a score, in bounds", worst, 1, worst <= 1)


def _claim_recall(
    report: harness.Report,
    name: str,
    recall: str,
    ours: dict[str, float],
    every: dict[str, float],
    controls: dict[str, dict[str, float]],
) -> None:
    lost = every[recall] - ours[recall]
    report.claim(f"{name}: points of {recall} lost", lost, MOST_LOST, lost <= MOST_LOST)
    for arm, control in controls.items():
        gained = ours[recall] - control[recall]
        report.claim(f"{name}: points of {recall} above {arm}", gained, 0, gained > 0)


def main() -> None:
    """Measure all films."""
    parser = harness.runs_parser(__doc__)
    parser.add_argument("--model", default="mova-natural", help="model of the described clips")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds = harness.seeds_of(args)
    report = harness.Report("novelty", seeds)
    model, count = load("mova-worlds-tiny", device="cpu"), 10 if args.quick else 60
    novelty = choose(*worlds(model, DEVELOPMENT, count))
    report.row(name="development, Worlds", novelty=novelty)
    of_films(report, "Worlds", novelty, [worlds(model, 2 * DEVELOPMENT + seed, count) for seed in seeds])
    of_watches(report, model, seeds, novelty, WATCH_SECONDS // (6 if args.quick else 1))
    films, questions = clips(load(args.model, device="cpu"), args.quick, args.folder)
    novelty = choose(*split(films, questions, 0))
    report.row(name="development, clips", novelty=novelty)
    of_films(report, "clips", novelty, [split(films, questions, 1)])
    fixed = [film for film in films if film.duration > FIXED_SECONDS]
    for distance in NOVELTIES if fixed else ():
        rows = sum(len(stretches(distance)(film).vectors) for film in fixed)
        frames = sum(len(film.frames) for film in fixed)
        report.row(name="fixed cameras", form="stretches", novelty=distance, vectors=rows, smaller=frames / rows)
    report.finish(columns=("name", "form", "novelty", "smaller", "r1 film", "r1 all", "r5 all", "IoU"))


if __name__ == "__main__":
    main()
