"""How good is the shipped model, over many draws of the test? Every measure of `mova eval worlds`, mean and spread.

One draw of 200 clips says little: the recall among near duplicates differs by several points between draws. Recalls are
scored by late interaction, as `mova eval worlds` does.
"""

from __future__ import annotations

import statistics

from benchmarks.common import harness
from mova.eval.tasks.worlds import evaluate_worlds
from mova.models.registry import load

DRAWS = 13
SPREAD_LIMIT = 5.0
"""Points of R@1; a single draw is not quoted, because draws differ by more than this."""


def main() -> None:
    """Evaluate the shipped model on every draw; print and record the results."""
    parser = harness.runs_parser(__doc__)
    parser.set_defaults(seeds=DRAWS)
    args = parser.parse_args()
    seeds = harness.seeds_of(args)
    model = load("mova-worlds-tiny")
    draws = [evaluate_worlds(model, seed=seed) for seed in seeds]
    report = harness.Report("shipped_draws", seeds)
    for style, measures in draws[0].items():
        for measure in measures:
            values = [draw[style][measure] for draw in draws]
            report.row(
                name=style,
                form=measure,
                mean=round(statistics.fmean(values), 3),
                deviation=round(statistics.stdev(values), 3) if len(values) > 1 else None,
                lowest=round(min(values), 3),
                highest=round(max(values), 3),
            )
    for style in draws[0]:
        row = next(r for r in report.rows if r["name"] == style and "twins" in r["form"])
        spread = row["highest"] - row["lowest"]
        text = f"R@1 among near duplicates differs between draws by more than {SPREAD_LIMIT:g} points, {style}"
        report.claim(text, round(spread, 1), SPREAD_LIMIT, spread > SPREAD_LIMIT)
    report.finish()


if __name__ == "__main__":
    main()
