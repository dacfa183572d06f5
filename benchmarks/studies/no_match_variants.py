"""Could search answer more present sentences at the same false-alarm rate? Other null distributions, and longer scores.

In a large index of Worlds most background sentences are true of something, or nearly so. They raise the distribution
that the rates are read from, so that absent sentences are answered less often than the rate says, and present ones
too. Each form here reads the rates from another distribution. The worlds, sentences and sizes are those of `no_match`.
"Labels" uses only the background sentences that differ from every event in two facts, which no index knows, and
"threshold" is the score that exactly 5 % of the absent queries reach: no form of the null can do better than that.

Shape legend: Q queries, B background sentences, M minutes, d width.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from benchmarks.common import harness
from benchmarks.studies import no_match
from benchmarks.studies.no_match import BARS, LEAST_PRESENT, RATE, SHOWN, Pool, Queries, Vectors
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.false_alarm import tail_rate
from mova.worlds.captions import DETAILED_SEED, DETAILED_SENTENCES, DETAILS, describe, detailed_sentences
from mova.worlds.factors import sample_event

SIZES = {10: 6, 30: 4, 100: 3, 400: 1}
WINDOWS = {"best frame": 1, "best two seconds": 4}
PART = 10
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SHIPPED = "best frame: counted"
THRESHOLD, LABELS = "threshold", "labels"

Values = npt.NDArray[np.float64]


class Sample(NamedTuple):
    """One index: best scores of queries (Q,), of background sentences in each minute (B, M), their vectors (Q, d) and
    (B, d), which queries are absent and present (Q,), and which background sentences differ in two facts (B,).
    """

    best: Values
    minutes: Values
    vectors: Vectors
    background: Vectors
    groups: dict[str, npt.NDArray[np.bool_]]
    apart: npt.NDArray[np.bool_]


def counted(background: Values, scores: Values) -> Values:
    """Return the rates (Q,) of scores by counting, as search does."""
    descending = np.sort(background)[::-1]
    return np.array([tail_rate(descending, float(score)) for score in scores])


def lower_half_normal(sample: Sample) -> Values:
    """Return rates from a normal distribution that is fitted to the lower half alone (truncated likelihood)."""
    maxima = sample.minutes.max(axis=1)
    cut = float(np.median(maxima))
    below = maxima[maxima <= cut]

    def loss(parameters: Values) -> float:
        mean, spread = float(parameters[0]), float(np.exp(parameters[1]))
        return -float(norm.logpdf(below, mean, spread).sum() - len(below) * norm.logcdf(cut, mean, spread))

    mean, spread = minimize(loss, [cut, np.log(maxima.std())], method="Nelder-Mead").x
    rates: Values = norm.sf(sample.best, mean, np.exp(spread))
    return rates


def lower_of_two_normals(sample: Sample) -> Values:
    """Return rates from the lower of two normal distributions."""
    mixture = GaussianMixture(2, n_init=3, random_state=0).fit(sample.minutes.max(axis=1)[:, None])
    lower = int(mixture.means_[:, 0].argmin())
    rates: Values = norm.sf(sample.best, mixture.means_[lower, 0], np.sqrt(mixture.covariances_[lower, 0, 0]))
    return rates


def without_outstanding(share: float) -> Callable[[Sample], Values]:
    """Return a form without the sentences whose best minute stands out most from their median minute."""

    def rates(sample: Sample) -> Values:
        maxima = sample.minutes.max(axis=1)
        outstanding = maxima - np.median(sample.minutes, axis=1)
        return counted(maxima[outstanding <= np.quantile(outstanding, 1 - share)], sample.best)

    return rates


def without_improbable(sample: Sample) -> Values:
    """Return rates without the sentences whose best minute has 5 % or less under a Gumbel law of their own minutes."""
    low, middle, high = np.quantile(sample.minutes, [0.25, 0.5, 0.75], axis=1)
    scale = float(np.median(high - low)) / 1.5725
    location = middle - 0.3665 * scale
    maxima = sample.minutes.max(axis=1)
    excess = (maxima - location) / scale - np.log(sample.minutes.shape[1])
    return counted(maxima[1 - np.exp(-np.exp(-excess)) > 0.05], sample.best)


def moved_parts(sample: Sample) -> Values:
    """Return rates from best scores in parts of ten minutes, moved and scaled to two low quantiles of the whole."""
    parts, maxima = sample.minutes.shape[1] // PART, sample.minutes.max(axis=1)
    pieces = sample.minutes[:, : parts * PART].reshape(len(maxima), parts, PART).max(axis=2).ravel()
    low, high = np.quantile(pieces, [0.1, 0.3])
    target_low, target_high = np.quantile(maxima, [0.1, 0.3])
    return counted(target_low + (pieces - low) * (target_high - target_low) / (high - low), sample.best)


def predicted(sample: Sample) -> Values:
    """Return rates of what a ridge from a sentence's vector leaves of its best score (background: left out)."""
    maxima = sample.minutes.max(axis=1)
    center, mean = sample.background.mean(axis=0), maxima.mean()
    inputs = (sample.background - center).astype(np.float64)
    gram, target = inputs @ inputs.T, maxima - mean
    best: tuple[float, Values, Values] | None = None
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        left = (inverse @ target) / np.diag(inverse)
        error = float(np.square(left).mean())
        if best is None or error < best[0]:
            best = error, left, inputs.T @ (inverse @ target)
    assert best is not None
    return counted(best[1], sample.best - mean - (sample.vectors - center) @ best[2])


FORMS: dict[str, Callable[[Sample], Values]] = {
    "counted": lambda sample: counted(sample.minutes.max(axis=1), sample.best),
    "normal, fitted to the lower half": lower_half_normal,
    "lower of two normals": lower_of_two_normals,
    "without the tenth that stands out most": without_outstanding(0.1),
    "without the half that stands out most": without_outstanding(0.5),
    "without the improbable": without_improbable,
    "parts of ten minutes, moved": moved_parts,
    "less a prediction from the vector": predicted,
    LABELS: lambda sample: counted(sample.minutes.max(axis=1)[sample.apart], sample.best),
    THRESHOLD: lambda sample: counted(sample.best[sample.groups["absent"]], sample.best),
}


def background_events() -> Queries:
    """Return the background sentences of the model with their events, without vectors."""
    rng = np.random.default_rng(DETAILED_SEED)
    rows = []
    for _ in range(DETAILED_SENTENCES):
        event = sample_event(rng)
        rows.append((event, describe(event, rng, must=DETAILS)))
    texts = [description.text for _, description in rows]
    assert tuple(texts) == detailed_sentences()
    return Queries(np.empty((0, 0), np.float32), [e for e, _ in rows], [d.mentioned for _, d in rows], texts)


def samples(pool: Pool, queries: Queries, about: no_match.Counts, background: Vectors) -> dict[str, Sample]:
    """Return the sample of an index for each length of the score."""
    both = np.concatenate([queries.vectors, background])
    minutes: dict[str, list[Values]] = {name: [] for name in WINDOWS}
    for block in no_match.minute_blocks(pool, len(pool.events) // (SHOWN + 1), seed=0):
        sums = np.concatenate([np.zeros((len(both), 1)), (both @ block.T).cumsum(axis=1, dtype=np.float64)], axis=1)
        for name, length in WINDOWS.items():
            minutes[name].append(((sums[:, length:] - sums[:, :-length]) / length).max(axis=1))
    facts_apart = no_match.differing_facts(queries, pool.events)
    groups = {
        "absent": (about < 0) & (facts_apart >= 2),
        "one fact": (about < 0) & (facts_apart == 1),
        "present": about >= 0,
    }
    apart = no_match.differing_facts(background_events(), pool.events) >= 2
    result = {}
    for name, blocks in minutes.items():
        scores, count = np.stack(blocks, axis=1), len(queries.vectors)
        result[name] = Sample(scores[:count].max(axis=1), scores[count:], queries.vectors, background, groups, apart)
    return result


def size_rows(report: harness.Report, model: WorldsTiny, pool: Pool, minutes: int, indexes: int, seed: int) -> None:
    """Report all forms in indexes of one size."""
    rates: dict[tuple[str, str], list[Values]] = {}
    count = 500 if minutes >= 100 else 200
    for number in range(indexes):
        frames, events = int(60 * RATE) * minutes, (SHOWN + 1) * minutes
        part = Pool(pool.vectors[number * frames :][:frames], pool.events[number * events :][:events])
        queries, about = no_match.write_queries(model, part, seed + number, count)
        for length, sample in samples(part, queries, about, no_match.background_vectors(model)).items():
            for form, rate in FORMS.items():
                found = rate(sample)
                for group, chosen in sample.groups.items():
                    rates.setdefault((f"{length}: {form}", group), []).append(found[chosen])
    for form in dict.fromkeys(form for form, _ in rates):
        row: dict[str, float] = {}
        for group in ("absent", "one fact", "present"):
            found = np.concatenate(rates[form, group])
            row |= {f"{group} {round(100 * bar)}": 100 * float(np.mean(found <= bar)) for bar in BARS}
        report.row(name=f"{minutes} minutes, {form}", minutes=minutes, form=form, indexes=indexes, **row)


def claims(report: harness.Report, sizes: Sequence[int]) -> None:
    """Claim that no other null distribution is both valid and better, and what longer scores reach."""
    rows = {(row["minutes"], row["form"]): row for row in report.rows}

    def valid(form: str) -> bool:
        return all(rows[size, form][f"absent {round(100 * bar)}"] <= 100 * bar for size in sizes for bar in BARS)

    def better(form: str) -> bool:
        return all(rows[size, form]["present 5"] > rows[size, SHIPPED]["present 5"] for size in sizes[1:])

    others = [f"best frame: {form}" for form in FORMS if form not in ("counted", LABELS, THRESHOLD)]
    found = [form for form in others if valid(form) and better(form)]
    report.claim("other null distributions that hold at every size and answer more", len(found), 0, not found)
    longer = "best two seconds: counted"
    report.claim("best two seconds: absent texts within the rate at every size", int(valid(longer)), 1, valid(longer))
    for size in sizes:
        share = rows[size, longer]["present 5"]
        text = f"best two seconds, {size} minutes: present found at 5 %, in percent"
        report.claim(text, share, LEAST_PRESENT, share >= LEAST_PRESENT)


def main() -> None:
    """Compare all forms."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="keep rendered Worlds here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    report = harness.Report("no_match_variants", [args.seed])
    model = cast(WorldsTiny, load("mova-worlds-tiny"))
    sizes = {10: 2, 20: 1} if args.quick else SIZES
    with tempfile.TemporaryDirectory() as temporary:
        pool = no_match.render_pool(model, "test", 2, max(sizes), args.folder or Path(temporary))
    for minutes, indexes in sizes.items():
        size_rows(report, model, pool, minutes, indexes, 3000 + args.seed)
    claims(report, list(sizes))
    columns = ("name", "absent 1", "absent 5", "absent 10", "one fact 5", "present 1", "present 5")
    report.finish(None, columns, time.perf_counter() - began)


if __name__ == "__main__":
    main()
