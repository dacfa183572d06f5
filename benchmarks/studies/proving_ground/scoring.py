"""Score a trained system on the galleries: retrieval, changed captions, localization, long videos.

Shape legend: V videos, N = V captions, T samples, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.systems import Scores, System, Texts, both_ways
from benchmarks.studies.proving_ground.stage import Gallery, LongVideo
from mova.eval.calibration import Grid, calibrate
from mova.models.encoder import TextEmbedding
from mova.scoring.caption_score import Evidence, EvidenceRule, gather_evidence
from mova.scoring.masked import ModularScore
from mova.text.units import UnitRule
from mova.worlds.captions import Claim
from mova.worlds.galleries import Short
from mova.worlds.negatives import Line

TOP = 10
"""Candidates that are re-ranked by modular scores."""
ALPHAS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
GRID = Grid(global_share=(None,))
"""Each form is calibrated alone, without mixing it with another one."""
WINDOWS = UnitRule(keep_sentences=False)


@dataclass(frozen=True, eq=False)
class EncodedGallery:
    """A gallery encoded by both towers."""

    shorts: list[Short]
    frames: Tensor
    texts: Texts


def see(system: System, gallery: Gallery) -> EncodedGallery:
    """Encode a gallery."""
    frames = system.frames(gallery.frames[:, :: system.every])
    return EncodedGallery(gallery.shorts, frames, system.texts([s.sentences for s in gallery.shorts]))


def weigher(form: str, system: System, validation: Sequence[EncodedGallery], ordered: bool) -> EvidenceRule:
    """Calibrate the evidence rule of a form on all validation galleries together."""
    frames = torch.cat([encoded.frames for encoded in validation])
    units = [unit for encoded in validation for unit in encoded.texts.units]
    wholes = [encoded.texts.whole for encoded in validation]
    texts = Texts(_join(wholes), units)
    return calibrate(_evidence(form, system, frames, texts, ordered), ordered=ordered, grid=GRID).rule


def _evidence(form: str, system: System, frames: Tensor, texts: Texts, ordered: bool) -> Evidence:
    """Gather evidence whose base is the score of a form."""
    base = system.scores(form, frames, texts)
    sizes = texts.whole.mask.sum(dim=1).tolist() if form == "tokens" else [len(units) for units in texts.units]
    counts = torch.tensor([float(size) for size in sizes])
    order = gather_evidence(list(frames), texts.units, lone=False).order if ordered else None
    return Evidence(base, counts, order)


def _join(texts: Sequence[TextEmbedding]) -> TextEmbedding:
    longest = max(text.tokens.shape[1] for text in texts)
    pads = [longest - text.tokens.shape[1] for text in texts]
    return TextEmbedding(
        torch.cat([text.pooled for text in texts]),
        torch.cat([F.pad(text.tokens, (0, 0, 0, pad)) for text, pad in zip(texts, pads, strict=True)]),
        torch.cat([F.pad(text.mask, (0, pad)) for text, pad in zip(texts, pads, strict=True)]),
        np.concatenate([text.dropped for text in texts]),
    )


def retrieval(
    form: str, system: System, validation: Sequence[EncodedGallery], test: dict[str, EncodedGallery]
) -> list[dict[str, Any]]:
    """Return the rows of a form on every gallery: raw, calibrated by number of units, and with temporal order."""
    rows = []
    variants = {"": None, " K": weigher(form, system, validation, False)}
    if form in ("late", "subsets"):
        variants[" K order"] = weigher(form, system, validation, True)
    for gallery, encoded in test.items():
        for name, rule in variants.items():
            evidence = _evidence(form, system, encoded.frames, encoded.texts, name.endswith("order"))
            scores = evidence.late if rule is None else rule.weigh(evidence)
            t2v, v2t = both_ways(scores.double().numpy())
            rows.append(
                {"form": form + name, "gallery": gallery, "t2v": t2v, "v2t": v2t, **_by_length(encoded, scores)}
            )
    return rows


def _by_length(encoded: EncodedGallery, scores: Tensor) -> dict[str, float]:
    """Return text-to-video R@1 by number of sentences, and by share of samples without a sentence."""
    hits = np.array([(row > row[i]).sum() == 0 for i, row in enumerate(scores.T.numpy())], dtype=float)
    counts = np.array([len(short.lines) for short in encoded.shorts])
    uncovered = np.array([1 - short.truth().any(axis=0).mean() for short in encoded.shorts])
    recalls = {f"t2v K={k}": 100 * float(hits[counts == k].mean()) for k in sorted(set(counts.tolist()))}
    words = np.array([len(" ".join(short.sentences).split()) for short in encoded.shorts])
    middle = float(np.median(words))
    parts = {
        "untold<.7": uncovered < 0.7,
        "untold>=.7": uncovered >= 0.7,
        "short captions": words <= middle,
        "long captions": words > middle,
    }
    for name, chosen in parts.items():
        if chosen.any():
            recalls[f"t2v {name}"] = 100 * float(hits[chosen].mean())
    return recalls


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The base scores (V, N) of a gallery, the ten best of every text and of every video, and their second scores."""

    base: Scores
    forward: npt.NDArray[np.bool_]
    backward: npt.NDArray[np.bool_]
    second: dict[str, Scores]

    def recall(self, second: str, alpha: float) -> tuple[float, float]:
        """Return R@1 both ways, of `base + alpha * second` within the shortlists."""
        again = self.base + alpha * self.second[second]
        lowest = self.base - 100.0
        return both_ways(np.where(self.forward, again, lowest), np.where(self.backward, again, lowest))


def shortlist(base: str, seconds: Sequence[str], system: System, encoded: EncodedGallery) -> Shortlist:
    """Score a gallery by the base, and its ten best by the other scores; "masks" is the modular score "agg"."""
    scores = system.scores(base, encoded.frames, encoded.texts).double().numpy()
    forward, backward = _best(scores.T).T, _best(scores)
    selected = forward | backward
    names = {name: "agg" if name == "masks" else name for name in seconds}
    modular: list[Any] = [name for name in names.values() if name in get_args(ModularScore)]
    results: dict[str, Scores] = {**system.modular(encoded.frames, encoded.texts, selected, modular)}
    for name in names.values():
        if name not in results:
            results[name] = system.scores(name, encoded.frames, encoded.texts).double().numpy() * selected
    return Shortlist(scores, forward, backward, {name: results[score] for name, score in names.items()})


def reranked(
    base: str,
    seconds: Sequence[str],
    system: System,
    validation: Sequence[EncodedGallery],
    test: dict[str, EncodedGallery],
) -> list[dict[str, Any]]:
    """Add another score of each query's ten best to the base, with the best weight on validation.

    The weight 0, which leaves the base as it is, is among the candidates, and wins if no other is better.
    """
    tuning = [shortlist(base, seconds, system, encoded) for encoded in validation]
    galleries = {name: shortlist(base, seconds, system, encoded) for name, encoded in test.items()}
    rows = []
    for second in seconds:
        alpha = best_alpha(tuning, second)
        for gallery, parts in galleries.items():
            t2v, v2t = parts.recall(second, alpha)
            rows.append({"form": f"{base}+{second}", "gallery": gallery, "t2v": t2v, "v2t": v2t, "alpha": alpha})
            t2v, v2t = parts.recall(second, 1e6)
            alone = f"{second} alone, top {TOP} of {base}"
            rows.append({"form": alone, "gallery": gallery, "t2v": t2v, "v2t": v2t})
    return rows


def best_alpha(tuning: Sequence[Shortlist], second: str) -> float:
    """Return the weight of a second score with the highest sum of R@1; of equal ones the smallest."""
    return max(ALPHAS, key=lambda a: (round(sum(sum(parts.recall(second, a)) for parts in tuning), 6), -a))


def _best(scores: Scores) -> npt.NDArray[np.bool_]:
    """Return a mask of the `TOP` highest entries of every row."""
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1, kind="stable")[:, :TOP], True, axis=1)
    return chosen


def captions(
    form: str,
    system: System,
    validation: Sequence[EncodedGallery],
    encoded: EncodedGallery,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Measure how a form scores changed captions, in percent."""
    rule = weigher(form, system, validation, True) if form in ("late", "subsets") else None

    def true_scores(texts: Texts) -> npt.NDArray[np.float32]:
        evidence = _evidence(form, system, encoded.frames, texts, rule is not None)
        scores = evidence.late if rule is None else rule.weigh(evidence)
        diagonal: npt.NDArray[np.float32] = scores.diagonal().numpy()
        return diagonal

    captions = [short.sentences for short in encoded.shorts]
    true = true_scores(encoded.texts)
    several = np.array([len(units) > 1 for units in captions])
    swapped = true_scores(system.texts([units[::-1] for units in captions]))
    foreign = [_foreign(encoded.shorts, i, rng) for i in range(len(captions))]
    added = true_scores(system.texts([[*units, other] for units, other in zip(captions, foreign, strict=True)]))
    changed = {
        "without marks": [WINDOWS.split(_unmarked(units)) for units in captions],
        "sentences merged": [WINDOWS.split(_merged(units)) for units in captions],
        "merged, as one unit": [[_merged(units)] for units in captions],
        "paraphrased": [_paraphrased(short, rng) for short in encoded.shorts],
    }
    by_count = weigher(form, system, validation, False)
    results = {
        "order kept above swapped": _wins(true[several], swapped[several]),
        "true above true + foreign sentence": _wins(true, added),
    }
    for name, units in changed.items():
        evidence = _evidence(form, system, encoded.frames, system.texts(units), False)
        t2v, v2t = both_ways(by_count.weigh(evidence).double().numpy())
        results |= {f"{name}, t2v": t2v, f"{name}, v2t": v2t}
    return results


def _wins(high: npt.NDArray[np.float32], low: npt.NDArray[np.float32]) -> float:
    return 100.0 * float(np.mean((high > low) + 0.5 * (high == low)))


def _foreign(shorts: Sequence[Short], index: int, rng: np.random.Generator) -> str:
    """Draw a sentence of another caption that is false of this video."""
    while True:
        line = shorts[int(rng.integers(len(shorts)))].lines[0]
        if not shorts[index].satisfies([line]):
            return line.text


def _merged(units: Sequence[str]) -> str:
    """Merge a caption into one sentence."""
    rest = [unit[0].lower() + unit[1:] for unit in units[1:]]
    return " and then ".join(unit.rstrip(".") for unit in (units[0], *rest)) + "."


def _paraphrased(short: Short, rng: np.random.Generator) -> list[str]:
    """Rephrase a caption, dropping a seventh of the mentioned factors besides shape and count."""
    sentences = []
    for line in short.lines:
        kept = tuple(name for name in line.claim.mentioned if name in ("shape", "count") or rng.random() > 1 / 7)
        sentences.append(Line(Claim(line.claim.event, kept), int(rng.integers(2**31))).text)
    return sentences


def _unmarked(units: Sequence[str]) -> str:
    """Write a caption as speech recognition does: lower case, no punctuation."""
    return " ".join(units).replace(".", "").replace(",", "").lower()


def localization(
    frames: Sequence[Tensor], units: Sequence[Tensor], truth: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, float]:
    """Return sentence-to-frame mAP (with chance) and irrelevant-frame AUC of frame-unit cosines."""
    precisions, share, covered, best = [], [], [], []
    for video, texts, true in zip(frames, units, truth, strict=True):
        curves = (F.normalize(texts, dim=-1) @ F.normalize(video, dim=-1).T).numpy()
        precisions += [average_precision_score(t, c) for t, c in zip(true, curves, strict=True) if t.any()]
        share += [float(t.mean()) for t in true if t.any()]
        covered.append(true.any(axis=0))
        best.append(curves.max(axis=0))
    return {
        "sentence to frame, mAP": float(np.mean(precisions)),
        "chance mAP": float(np.mean(share)),
        "irrelevant frame, AUC": float(roc_auc_score(np.concatenate(covered), np.concatenate(best))),
    }


def long_videos(system: System, forms: Sequence[str], videos: Sequence[LongVideo]) -> dict[str, float]:
    """Score videos of over ten minutes in the held-out style: R@1 both ways by every form, and localization."""
    if not videos:
        return {}
    kept = slice(None, min(len(video.times) for video in videos), system.every)
    frames = torch.stack([system.frames(video.frames[kept]) for video in videos])
    texts = system.texts([[text for text, _ in video.world.annotations] for video in videos])
    results: dict[str, float] = {}
    for form in forms:
        if "+" not in form:
            t2v, v2t = both_ways(system.scores(form, frames, texts).double().numpy())
            results |= {f"{form}, t2v": t2v, f"{form}, v2t": v2t}
    truth = [np.stack([_inside(video.times[kept], spans) for _, spans in video.world.annotations]) for video in videos]
    return results | localization(list(frames), texts.units, truth)


def _inside(times: npt.NDArray[np.float64], spans: Sequence[Any]) -> npt.NDArray[np.bool_]:
    return np.any([(times >= span.start) & (times < span.end) for span in spans], axis=0)
