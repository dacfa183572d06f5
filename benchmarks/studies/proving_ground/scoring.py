"""What a trained system makes of a gallery, and every figure that is taken of it.

Shape legend: V videos, N = V captions, T samples, L tokens, K units, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from mova.text.units import UnitRule
from mova.worlds.captions import Claim
from mova.worlds.galleries import Short
from mova.worlds.negatives import Line

TOP = 10
"""Candidates that modular scores rank again."""
ALPHAS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
GRID = Grid(global_share=(None,))
"""Forms are weighed as they are: none is mixed with another one."""
WINDOWS = UnitRule(keep_sentences=False)


@dataclass(frozen=True, eq=False)
class Seen:
    """A gallery after both towers."""

    shorts: list[Short]
    frames: Tensor
    texts: Texts


def see(system: System, gallery: Gallery) -> Seen:
    """Encode a gallery."""
    frames = system.frames(gallery.frames[:, :: system.every])
    return Seen(gallery.shorts, frames, system.texts([s.sentences for s in gallery.shorts]))


def weigher(form: str, system: System, validation: Sequence[Seen], ordered: bool) -> EvidenceRule:
    """The evidence rule of a form, chosen on validation galleries, all of them as one."""
    frames = torch.cat([seen.frames for seen in validation])
    units = [unit for seen in validation for unit in seen.texts.units]
    wholes = [seen.texts.whole for seen in validation]
    texts = Texts(_join(wholes), units)
    return calibrate(_evidence(form, system, frames, texts, ordered), ordered=ordered, grid=GRID).rule


def _evidence(form: str, system: System, frames: Tensor, texts: Texts, ordered: bool) -> Evidence:
    """Evidence whose base is a form's score."""
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


def retrieval(form: str, system: System, validation: Sequence[Seen], test: dict[str, Seen]) -> list[dict[str, Any]]:
    """Rows of a form: raw, weighed by number of units, and with temporal order; on every gallery."""
    if "+" in form:
        return _reranked(*form.split("+"), system, validation, test)
    rows = []
    variants = {"": None, " K": weigher(form, system, validation, False)}
    if form in ("late", "subsets"):
        variants[" K order"] = weigher(form, system, validation, True)
    for gallery, seen in test.items():
        for name, rule in variants.items():
            evidence = _evidence(form, system, seen.frames, seen.texts, name.endswith("order"))
            scores = evidence.late if rule is None else rule.weigh(evidence)
            t2v, v2t = both_ways(scores.double().numpy())
            rows.append({"form": form + name, "gallery": gallery, "t2v": t2v, "v2t": v2t, **_by_length(seen, scores)})
    return rows


def _by_length(seen: Seen, scores: Tensor) -> dict[str, float]:
    """Text-to-video R@1 by number of sentences, and by share of samples that no sentence tells."""
    hits = np.array([(row > row[i]).sum() == 0 for i, row in enumerate(scores.T.numpy())], dtype=float)
    counts = np.array([len(short.lines) for short in seen.shorts])
    untold = np.array([1 - short.truth().any(axis=0).mean() for short in seen.shorts])
    found = {f"t2v K={k}": 100 * float(hits[counts == k].mean()) for k in sorted(set(counts.tolist()))}
    words = np.array([len(" ".join(short.sentences).split()) for short in seen.shorts])
    middle = float(np.median(words))
    parts = {
        "untold<.7": untold < 0.7,
        "untold>=.7": untold >= 0.7,
        "short captions": words <= middle,
        "long captions": words > middle,
    }
    for name, chosen in parts.items():
        if chosen.any():
            found[f"t2v {name}"] = 100 * float(hits[chosen].mean())
    return found


def _reranked(
    base: str, second: str, system: System, validation: Sequence[Seen], test: dict[str, Seen]
) -> list[dict[str, Any]]:
    """Second scores of each query's ten best, added to the base with the best weight on validation, 0 included."""

    def matrices(seen: Seen) -> tuple[Scores, Scores, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        scores = system.scores(base, seen.frames, seen.texts).double().numpy()
        forward = _best(scores.T).T
        backward = _best(scores)
        wanted = forward | backward
        if second == "masks":
            return scores, system.modular(seen.frames, seen.texts, wanted), forward, backward
        return scores, system.scores(second, seen.frames, seen.texts).double().numpy() * wanted, forward, backward

    def recall(found: tuple[Scores, Scores, npt.NDArray[np.bool_], npt.NDArray[np.bool_]], alpha: float) -> Any:
        scores, masked, forward, backward = found
        again = scores + alpha * masked
        return both_ways(np.where(forward, again, scores - 100.0), np.where(backward, again, scores - 100.0))

    chosen = [matrices(seen) for seen in validation]
    alpha = max(ALPHAS, key=lambda a: (round(sum(sum(recall(found, a)) for found in chosen), 6), -a))
    rows = []
    for gallery, seen in test.items():
        found = matrices(seen)
        t2v, v2t = recall(found, alpha)
        alone = recall(found, 1e6)
        rows.append({"form": f"{base}+{second}", "gallery": gallery, "t2v": t2v, "v2t": v2t, "alpha": alpha})
        rows.append(
            {"form": f"{second} alone, top {TOP} of {base}", "gallery": gallery, "t2v": alone[0], "v2t": alone[1]}
        )
    return rows


def _best(scores: Scores) -> npt.NDArray[np.bool_]:
    """True at the `TOP` highest of every row."""
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1, kind="stable")[:, :TOP], True, axis=1)
    return chosen


def captions(
    form: str, system: System, validation: Sequence[Seen], seen: Seen, rng: np.random.Generator
) -> dict[str, float]:
    """How a form takes captions that were changed; percent."""
    rule = weigher(form, system, validation, True) if form in ("late", "subsets") else None

    def own(texts: Texts) -> npt.NDArray[np.float32]:
        evidence = _evidence(form, system, seen.frames, texts, rule is not None)
        scores = evidence.late if rule is None else rule.weigh(evidence)
        found: npt.NDArray[np.float32] = scores.diagonal().numpy()
        return found

    told = [short.sentences for short in seen.shorts]
    true = own(seen.texts)
    several = np.array([len(units) > 1 for units in told])
    swapped = own(system.texts([units[::-1] for units in told]))
    foreign = [_foreign(seen.shorts, i, rng) for i in range(len(told))]
    added = own(system.texts([[*units, other] for units, other in zip(told, foreign, strict=True)]))
    changed = {
        "without marks": [WINDOWS.split(_unmarked(units)) for units in told],
        "sentences merged": [WINDOWS.split(_merged(units)) for units in told],
        "merged, as one unit": [[_merged(units)] for units in told],
        "paraphrased": [_paraphrased(short, rng) for short in seen.shorts],
    }
    by_count = weigher(form, system, validation, False)
    found = {
        "order kept above swapped": _wins(true[several], swapped[several]),
        "true above true + foreign sentence": _wins(true, added),
    }
    for name, units in changed.items():
        evidence = _evidence(form, system, seen.frames, system.texts(units), False)
        t2v, v2t = both_ways(by_count.weigh(evidence).double().numpy())
        found |= {f"{name}, t2v": t2v, f"{name}, v2t": v2t}
    return found


def _wins(high: npt.NDArray[np.float32], low: npt.NDArray[np.float32]) -> float:
    return 100.0 * float(np.mean((high > low) + 0.5 * (high == low)))


def _foreign(shorts: Sequence[Short], own: int, rng: np.random.Generator) -> str:
    """A sentence of another caption that nothing in this video makes true."""
    while True:
        line = shorts[int(rng.integers(len(shorts)))].lines[0]
        if not shorts[own].satisfies([line]):
            return line.text


def _merged(units: Sequence[str]) -> str:
    """A caption as one sentence."""
    rest = [unit[0].lower() + unit[1:] for unit in units[1:]]
    return " and then ".join(unit.rstrip(".") for unit in (units[0], *rest)) + "."


def _paraphrased(short: Short, rng: np.random.Generator) -> list[str]:
    """The same claims in other words, a seventh of what they mention besides shapes left out."""
    told = []
    for line in short.lines:
        kept = tuple(name for name in line.claim.mentioned if name in ("shape", "count") or rng.random() > 1 / 7)
        told.append(Line(Claim(line.claim.event, kept), int(rng.integers(2**31))).text)
    return told


def _unmarked(units: Sequence[str]) -> str:
    """A caption as speech recognition writes it: lower case, no marks."""
    return " ".join(units).replace(".", "").replace(",", "").lower()


def localisation(
    frames: Sequence[Tensor], units: Sequence[Tensor], truth: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, float]:
    """Sentence-to-frame mean average precision and irrelevant-frame AUC of frame-unit cosines; chance beside."""
    precisions, share, told, best = [], [], [], []
    for video, texts, true in zip(frames, units, truth, strict=True):
        curves = (F.normalize(texts, dim=-1) @ F.normalize(video, dim=-1).T).numpy()
        precisions += [average_precision_score(t, c) for t, c in zip(true, curves, strict=True) if t.any()]
        share += [float(t.mean()) for t in true if t.any()]
        told.append(true.any(axis=0))
        best.append(curves.max(axis=0))
    return {
        "sentence to frame, mAP": float(np.mean(precisions)),
        "chance mAP": float(np.mean(share)),
        "irrelevant frame, AUC": float(roc_auc_score(np.concatenate(told), np.concatenate(best))),
    }


def long_videos(system: System, forms: Sequence[str], videos: Sequence[LongVideo]) -> dict[str, float]:
    """Ten minutes and more in the style held out: R@1 each way by every form, and localisation."""
    if not videos:
        return {}
    kept = slice(None, min(len(video.times) for video in videos), system.every)
    frames = torch.stack([system.frames(video.frames[kept]) for video in videos])
    told = [[text for text, _ in video.world.annotations] for video in videos]
    texts = system.texts(told)
    found: dict[str, float] = {}
    for form in forms:
        if "+" not in form:
            t2v, v2t = both_ways(system.scores(form, frames, texts).double().numpy())
            found |= {f"{form}, t2v": t2v, f"{form}, v2t": v2t}
    truth = [np.stack([_inside(video.times[kept], spans) for _, spans in video.world.annotations]) for video in videos]
    return found | localisation(list(frames), texts.units, truth)


def _inside(times: npt.NDArray[np.float64], spans: Sequence[Any]) -> npt.NDArray[np.bool_]:
    return np.any([(times >= span.start) & (times < span.end) for span in spans], axis=0)
