"""Published figures as data: every file reads, every figure has its source, and bands decide as they should."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mova.errors import DataError, UsageError
from mova.eval.published import (
    Comparison,
    band,
    compare_with_published,
    find_target,
    judge,
    others,
    overall,
    published_figures,
    read_figures,
)
from mova.eval.tasks.synvita_suite import Outcome, SuiteReport

METRICS = {"R@1", "R@5", "R@10", "MdR", "MnR", "mAP"}


def test_every_figure_is_plausible_and_has_its_source() -> None:
    figures = published_figures()
    assert len({(f.system, f.form, f.protocol, f.setting, f.where, f.source) for f in figures}) == len(figures)
    for figure in figures:
        assert figure.source
        assert figure.where
        assert figure.ways
        assert figure.setting in ("fine-tuned", "zero-shot")
        for direction in ("t2v", "v2t"):
            metrics = figure.ways.get(direction, {})
            assert metrics.keys() <= METRICS
            recalls = [metrics[name] for name in ("R@1", "R@5", "R@10") if name in metrics]
            assert recalls == sorted(recalls)
            assert all(0 < value < 100 for value in recalls)
            assert metrics.get("MdR", 1) >= 1


def test_published_tables_that_recipes_reproduce() -> None:
    assert find_target("MoVA", "activitynet-val1").ways == {"t2v": {"R@1": 47.8}, "v2t": {"R@1": 46.7}}
    tables = {
        name: find_target("MoVA", name).ways["t2v"]["R@1"] for name in ("msvd", "didemo", "videoufo", "ultravideo")
    }
    assert tables == {"msvd": 52.6, "didemo": 57.5, "videoufo": 62.4, "ultravideo": 58.5}
    gexia = find_target("GEXIA", "activitynet-val1")
    assert gexia.ways["t2v"] == {"R@1": 45.3, "R@5": 76.5, "R@10": 86.6, "MdR": 2.0}
    assert find_target("GEXIA", "activitynet-val1", "zero-shot").ways["v2t"]["R@1"] == 35.0
    assert find_target("CLIP4Clip", "activitynet-val1").ways["t2v"]["R@1"] == 40.5
    assert find_target("TAN", "htm-align", "zero-shot").ways == {"points": {"recall": 49.8, "alignable AUC": 75.1}}
    grounding = find_target("DepNet", "activitynet-moments")
    assert grounding.ways == {"moments": {"R1@0.3": 72.81, "R1@0.5": 55.91, "R1@0.7": 33.46}}
    assert [row.verdict for row in compare_with_published({"moments": {"R1@0.5": 40.0}}, grounding, 4885)] == ["below"]
    assert not find_target("DepNet", "tacos").comparable
    assert gexia not in others(gexia)
    assert {"MoVA", "CLIP4Clip"} <= {figure.system for figure in others(gexia)}
    with pytest.raises(UsageError, match=r"0 published figures of 'GEXIA' on msvd.*MoVA"):
        find_target("GEXIA", "msvd")


def test_the_tables_of_synvita_agree_with_their_text() -> None:
    figures = [figure for figure in published_figures() if figure.source == "SynViTA paper"]
    assert len(figures) == (6 + 3 + 7 + 4 + 3) * 6

    def row(system: str, form: str = "") -> list[float]:
        return [v for f in figures if (f.system, f.form) == (system, form) for m in f.ways.values() for v in m.values()]

    own, before = row("SynViTA (mPLUG-Owl 7B)"), row("VideoCon (mPLUG-Owl 7B)")
    gains = [round(a - b, 2) for a, b in zip(own, before, strict=True)]
    assert gains[1] == 0.32  # section 6.1
    assert gains[3:] == [4.32, 2.17, 1.85]
    llava = zip(row("SynViTA (Video-LLaVA)"), row("VideoCon (Video-LLaVA)"), strict=True)
    assert [round(a - b, 2) for a, b in llava][1:] == [0.77, 1.12, 0.33, 1.2, 1.12]
    alone = row("SynViTA (mPLUG-Owl 7B)", "synthetic videos of LaVie, Eq. 2 and 3 alone")
    assert [round(a - b, 2) for a, b in zip(alone, before, strict=True)] == [-3.13, -0.2, -0.13, 1.26, 0.43, -0.64]
    every = row("SynViTA (mPLUG-Owl 7B)", "synthetic videos of ALL")
    assert round(every[3] - before[3], 2) == 1.06  # section 6.2
    assert round(every[3] - own[3], 2) == -3.26


@given(st.floats(1, 99), st.integers(50, 5000))
def test_a_band_holds_95_per_cent_of_what_chance_gives(percent: float, videos: int) -> None:
    low, high = band(percent, videos)
    assert 0 <= low <= percent <= high <= 100
    if min(percent, 100 - percent) / 100 * videos > 20:  # where the normal approximation is good
        inside = binom.cdf(high / 100 * videos, videos, percent / 100) - binom.cdf(
            low / 100 * videos - 1e-9, videos, percent / 100
        )
        assert 0.92 < inside < 0.975


def test_invalid_bands_raise() -> None:
    for percent, videos in ((-1.0, 10), (101.0, 10), (50.0, 0), (float("nan"), 10)):
        with pytest.raises(ValueError, match="a share of 0 to 100"):
            band(percent, videos)


def test_measured_and_published_values_side_by_side() -> None:
    figure = find_target("GEXIA", "activitynet-val1")
    report = {"t2v": {"R@1": 45.3, "R@5": 60.0, "R@10": 99.0, "MdR": 3.0}, "v2t": {"R@1": 45.0}}
    rows = {(row.way, row.metric): row for row in compare_with_published(report, figure, 4917)}
    assert {key: row.verdict for key, row in rows.items()} == {
        ("t2v", "R@1"): "hit",
        ("t2v", "R@5"): "below",
        ("t2v", "R@10"): "above",
        ("t2v", "MdR"): None,
        ("v2t", "R@1"): "hit",
    }
    first = rows["t2v", "R@1"]
    assert (first.low, first.high) == (pytest.approx(43.909, abs=1e-3), pytest.approx(46.691, abs=1e-3))
    assert judge(first.low or 0, first.low or 0, first.high or 0) == "hit"


def row(verdict: str | None) -> Comparison:
    return Comparison("t2v", "R@1", 1.0, 0.0, 2.0, 1.0, verdict)  # type: ignore[arg-type]


def test_one_metric_below_makes_all_below() -> None:
    assert overall([row("hit"), row("above"), row("below")]) == "below"
    assert overall([row("hit"), row("above"), row(None)]) == "above"
    assert overall([row("hit"), row(None)]) == "hit"
    assert overall([row(None)]) is None


@pytest.mark.parametrize("text", ["[]", "{", '{"figures": [{"system": "x"}], "source": "y"}', '{"figures": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json: cannot be read as published figures"):
        read_figures(tmp_path / "x.json")
    entry = {"system": "a", "protocol": "p", "setting": "zero-shot", "where": "T", "t2v": {"R@1": 1.0}, "odd": 1}
    (tmp_path / "x.json").write_text(json.dumps({"source": "s", "figures": [entry]}))
    with pytest.raises(DataError, match="odd"):
        read_figures(tmp_path / "x.json")


def test_the_six_tests_are_compared_by_equal_forms_only() -> None:
    def outcome(protocol: str, form: str = "log odds", excluded: tuple[str, ...] = ()) -> Outcome:
        head = SimpleNamespace(protocol=protocol, settings={"form": form})
        return Outcome(protocol, {}, SimpleNamespace(head=head, excluded=excluded))  # type: ignore[arg-type]

    outcomes = {
        "Human": outcome("videocon-human"),
        "Temporal": outcome("ssv2-temporal"),
        "Events": outcome("ssv2-events", form="late"),
        "Hard": outcome("videocon-human-hard", excluded=("a",)),
        "ATP-Hard": outcome("atp-hard"),
        "missing": Outcome(missing="no data"),
    }
    published = SuiteReport("m", "f", False, outcomes).published
    assert list(published) == ["Human", "Temporal"]
    values = {figure.system: figure.ways["t2v"]["mAP"] for figure in published["Temporal"]}
    assert values["SynViTA (Video-LLaVA)"] == 20.10
    assert len(values) == 6
    assert SuiteReport("m", "f", True, outcomes).published == {}
