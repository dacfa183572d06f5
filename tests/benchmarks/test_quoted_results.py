"""Pages quote the recorded results of studies: natural clips, absent texts, planted faults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mova.models.known import MODELS

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "src/mova/models/natural/weights/README.md"
JUDGING = ROOT / "docs/guides/judging.md"
GUIDED = ROOT / "docs/research/guided-generation.md"
ALIGNMENT = ROOT / "docs/reference/alignment.md"
SEARCH = ROOT / "docs/reference/search.md"
ALIGNMENT = ROOT / "docs/reference/alignment.md"
MEASUREMENTS = ROOT / "docs/reference/measurements.md"
ROBUSTNESS = ROOT / "docs/reference/robustness.md"
SOAK = (
    "kills",
    "interrupted",
    "disturbances",
    "drives",
    "lost_nodes",
    "damaged_tables",
    "damaged_videos",
    "serve_kills",
    "serve_soak",
)
SIZES = (10, 30, 100, 400, 1000, 3000, 10_000)


def rows(name: str) -> dict[str, dict[str, Any]]:
    document = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in document["rows"]}


def cells(page: Path, first: str) -> list[str]:
    """Return the cells after the first of the only table row that begins with it."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {first} |")]
    assert len(lines) == 1, f"{page.name}: {first}"
    return [cell.strip(" *") for cell in lines[0].strip("| ").split("|")][1:]


def short(value: float) -> str:
    """One digit after the point below 10, none from 10 on, as in the table of absent texts."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


@pytest.mark.parametrize(
    ("first", "row", "query"),
    [
        ("caption to clip, of 32", "32 clips", "caption"),
        ("clip to caption, of 32", "32 clips", "clip"),
        ("single event to clip, of 32 (146 events)", "32 clips", "event"),
        ("caption to clip, among the 12 clips most alike", "the 12 most alike", "caption"),
        ("single event to clip, among these", "the 12 most alike", "event"),
        (
            "control: class vectors shuffled, caption to clip, of 32 (mean of 10)",
            "classes shuffled (mean of 10)",
            "caption",
        ),
        ("mean frame taken from the 31 other clips, caption to clip", "mean frame of the other clips", "caption"),
        ("no mean frame, caption to clip", "no mean frame", "caption"),
    ],
)
def test_the_model_card_quotes_the_study(first: str, row: str, query: str) -> None:
    measured = rows("natural")[row]
    keys = (f"{query}_r1", f"{query}_r5", f"{query}_chance_r1", f"{query}_chance_r5")
    assert [float(cell) for cell in cells(CARD, first)] == [pytest.approx(measured[key], abs=0.051) for key in keys]


def test_the_card_and_the_readme_quote_moments_and_recall() -> None:
    study = rows("natural")
    within, whole = study["moments within a clip"], study["32 clips"]
    text = " ".join(CARD.read_text(encoding="utf-8").split())
    assert f"average precision of {within['ap']:.1f} (random scores: {within['chance_ap']:.1f})" in text
    assert f"AUC of {within['auc']:.1f} (50)" in text
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    chance = whole["caption_chance_r1"]
    assert f"the clip of a caption first for {whole['caption_r1']:.0f} % (chance {chance:.0f} %)" in readme
    assert [float(cell) for cell in cells(MEASUREMENTS, "`mova-natural`, caption to clip")] == [
        pytest.approx(whole["caption_r1"], abs=0.051),
        pytest.approx(whole["caption_r5"], abs=0.051),
    ]


@pytest.mark.parametrize("minutes", SIZES)
def test_the_page_of_search_quotes_absent_texts_by_size(minutes: int) -> None:
    bars, expected, repeated = ("at_1", "at_5", "at_10"), [], set()
    for study in map(rows, ("no_match", "no_match-mova-worlds-small")):
        absent, near, present = (
            study[f"Worlds, {minutes} minutes: {name}"] for name in ("absent", "one fact differs", "present")
        )
        expected.append(" / ".join(short(absent[bar]) for bar in bars))
        expected.append(short(near["at_5"]))
        expected.append(" / ".join(short(present[bar]) for bar in bars))
        repeated.add(absent["frames"] != "rendered")
    assert cells(SEARCH, f"{minutes:,} minutes" + (" (repeated)" if repeated == {True} else "")) == expected


@pytest.mark.parametrize(("table", "name"), [(0, "alignment"), (1, "alignment-mova-worlds-small")])
def test_the_page_of_alignment_quotes_the_study(table: int, name: str) -> None:
    document = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    measured = {(row["style"], row["seconds"], row["method"]): row for row in document["rows"]}
    quoted = [line for line in ALIGNMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    headers = [i for i, line in enumerate(quoted) if line.startswith("| | flat, 60 s | sketch, 60 s |")]
    lines = dict(line.strip("| ").split(" | ", 1) for line in quoted[headers[table] + 1 :][:6])
    for first, method in (
        ("all sentences together", "joint"),
        ("the same, sentences shuffled", "joint, shuffled"),
        ("the same, as many sentences of other videos", "joint, half foreign"),
        ("the same, `--order no`", "joint, order no"),
        ("a threshold per sentence", "thresholds"),
        ("Drop-DTW, drop cost from the threshold", "Drop-DTW, threshold"),
    ):
        places = (("flat", 60), ("sketch", 60), ("flat", 630), ("shaded", 630), ("sketch", 630))
        for cell, (style, seconds) in zip(lines[first].split(" | "), places, strict=True):
            row = measured[style, seconds, method]
            figures = [row["R@0.5"], row["frame F1"], row["spans per sentence"]]
            assert [float(part) for part in cell.split(" / ")] == pytest.approx(figures, abs=0.051)
            assert [float(part) for part in cell.split(" / ")[:2]] == pytest.approx(figures[:2], abs=0.0051)


@pytest.mark.parametrize("texts", ["event sentences", "caption sentences", "whole captions"])
def test_the_page_of_search_quotes_absent_texts_of_natural_clips(texts: str) -> None:
    study = rows("no_match")
    quoted = cells(SEARCH, texts)
    for cell, about in zip(quoted, ("clips left out", "clips in the index"), strict=True):
        row = study[f"natural, {texts} of {about}"]
        assert cell == " / ".join(short(row[bar]) for bar in ("at_1", "at_5", "at_10"))


@pytest.mark.parametrize("form", [row["form"] for row in rows("no_match_variants").values() if row["minutes"] == 10])
def test_the_page_of_search_quotes_other_null_distributions(form: str) -> None:
    kept = ("best frame: ", "best two seconds: counted")
    if not form.startswith(kept):
        return
    study = rows("no_match_variants")
    sizes = [study[f"{minutes} minutes, {form}"] for minutes in (10, 30, 100, 400)]
    expected = [" / ".join(short(row[group]) for row in sizes) for group in ("absent 5", "present 5")]
    assert cells(SEARCH, form.replace("best frame: ", "")) == expected


def test_the_card_quotes_variants_that_were_not_kept() -> None:
    for name, row in rows("natural_variants").items():
        if "event_mrr" in row and name != "shipped":
            interval = f"{row['low']:.3f} to {row['high']:.3f}"
            assert cells(CARD, name) == [f"{row['event_mrr']:.3f}", interval, f"{row['caption_r1']:.1f}"]


def test_the_page_of_search_quotes_measures_of_evidence() -> None:
    for name, row in rows("natural_variants").items():
        if "auc" in row:
            expected = [f"{row['auc']:.0f}", *(short(row[group]) for group in ("absent", "present"))]
            assert cells(SEARCH, name.removeprefix("evidence: ")) == expected


def test_the_share_that_mova_natural_detects_is_the_measured_one() -> None:
    measured = rows("no_match")["natural, event sentences of clips in the index"]["at_5"]
    assert MODELS["mova-natural"].detects == pytest.approx(measured / 100, abs=0.0006)


@pytest.mark.parametrize("kind", ["relation", "attribute", "hallucination", "count", "action", "object", "flip"])
def test_the_guide_of_judging_quotes_the_planted_faults(kind: str) -> None:
    quoted = cells(JUDGING, "two sentences swapped" if kind == "flip" else kind)
    for name, seen_cell, unseen_cell in (("judge", 0, 3), ("judge-mova-worlds-small", 5, 6)):
        document = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
        measured = {row["style"]: row for row in document["rows"] if row["kind"] == kind}
        seen = sorted(measured[style]["judge"] for style in ("flat", "shaded"))
        assert quoted[seen_cell] == " to ".join(dict.fromkeys(f"{value:.2f}" for value in seen))
        assert quoted[unseen_cell] == f"{measured['sketch']['judge']:.2f}"


@pytest.mark.parametrize("length", [4, 8])
@pytest.mark.parametrize("share", [2, 4])
def test_the_page_quotes_the_bounds_on_windows(length: int, share: int) -> None:
    document = json.loads((ROOT / "benchmarks/results/windows.json").read_text(encoding="utf-8"))
    errors = {
        row["form"]: row["error"]
        for row in document["rows"]
        if (row["name"], row.get("window"), row.get("stride")) == ("Worlds", length, length / share)
    }
    forms = ("best window", "cells", "local", "deconvolved", "frames")
    quoted = [float(cell) for cell in cells(MEASUREMENTS, f"{length} s every {length / share:g} s")]
    assert quoted == [pytest.approx(errors[form], abs=0.0051) for form in forms]


def test_the_page_quotes_the_comparison_of_encoders() -> None:
    document = json.loads((ROOT / "benchmarks/results/encoders.json").read_text(encoding="utf-8"))
    page = MEASUREMENTS.read_text(encoding="utf-8")
    for row in document["rows"]:
        figures = (row[name] for name in ("retrieval R@1", "moments R1@0.5", "alignment mIoU", "no match AUC"))
        costs = (row["seconds of video per second"], row["peak MB"])
        ends = (*figures, *(f"{cost:.0f}" for cost in costs), f"{row['MB per hour']:.1f}")
        line = " | ".join((row["data"], f"`{row['name']}`", f"{row['window']:g} s", *ends))
        assert f"| {line} |" in page


def test_the_page_quotes_the_image_towers() -> None:
    for name, row in rows("image_towers").items():
        rate, ratio, *cosines = cells(MEASUREMENTS, name)
        assert float(rate) == pytest.approx(row["frames per second"], abs=0.051)
        assert float(ratio) == pytest.approx(row["ratio"], abs=0.0051)
        assert [float(cosine) for cosine in cosines] == [
            pytest.approx(row[key], abs=0.000051) for key in ("lowest cosine", "mean")
        ]


@pytest.mark.parametrize(
    ("first", "name", "form", "novelty"),
    [
        (f"{label}, {words}", name, form, novelty if form != "every frame" else 0.0)
        for label, name, novelty in (("Worlds", "Worlds", 0.05), ("clips", "clips", 0.2))
        for words, form in (
            ("every frame", "every frame"),
            (f"novelty {novelty:g}", "stretches"),
            ("first frame of a stretch", "first frame"),
            ("uniform rate", "uniform"),
            ("means at a uniform rate", "uniform means"),
        )
    ],
)
def test_recalls_of_stretches_are_those_of_the_study(first: str, name: str, form: str, novelty: float) -> None:
    document = json.loads((ROOT / "benchmarks/results/novelty.json").read_text(encoding="utf-8"))
    place = (name, form, novelty)
    (row,) = [r for r in document["rows"] if (r["name"], r.get("form"), r["novelty"]) == place]
    expected = [f"{row[key]:.1f}" for key in ("smaller", "r1 film", "r1 all", "r5 all")] + [f"{row['IoU']:.2f}"]
    assert cells(MEASUREMENTS, first) == expected


def test_the_page_quotes_the_second_stage() -> None:
    for name, row in rows("rerank").items():
        label = re.sub(r"(mova-worlds-tiny|mova-natural)", r"`\1`", name)
        *figures, weights, chance, best, cost = cells(MEASUREMENTS, label)
        assert figures == [row[key] for key in ("first stage", "second alone", "equal", "measured")]
        assert (chance, best) == (row["chance"], row["best"])
        assert [float(weight) for weight in weights.split(",")] == row["weights"]
        assert int(cost) == round(row["ms per moment asked"])


def test_the_page_quotes_the_smaller_vectors() -> None:
    document = json.loads((ROOT / "benchmarks/results/vectors.json").read_text(encoding="utf-8"))
    found = {(row["data"], row["name"]): row for row in document["rows"]}
    for kind, name in found:
        if kind == "geometry of CLIP":
            clip, worlds = found[kind, name], found["Worlds, mova-worlds-tiny", name]
            size, scored, *recalls = cells(MEASUREMENTS, name)
            assert size == ("" if name == "chance" else f"{clip['bytes per vector']:.0f} of 1,024")
            assert scored == f"{clip['scored']:.0f}"
            assert recalls == [f"{row['recall of 10']:.1f} ± {row['deviation']:.1f}" for row in (clip, worlds)]


def test_the_page_quotes_the_study_of_ten_minute_videos() -> None:
    document = json.loads((ROOT / "benchmarks/results/long_videos.json").read_text(encoding="utf-8"))
    measured = {(row["name"].split(",")[0], row["form"]): row for row in document["rows"]}
    text = MEASUREMENTS.read_text(encoding="utf-8").partition("## Ten-minute videos")[2].partition("\n## ")[0]
    quoted = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in text.splitlines() if "/ " in line]
    lines = [line for line in quoted if line[0] in ("Worlds", "real clips")]
    assert len(lines) == 13
    for videos, form, recalls, *others in lines:
        name = {"group of near duplicates known": "group known"}.get(form, form.split()[0].strip("`"))
        row = measured[videos, name]
        cells_of_row = [*(float(cell) for cell in recalls.split(" / ")), *map(float, others)]
        keys = ("t2v", "v2t", "group", "least uncovered", "most uncovered")
        assert cells_of_row == [pytest.approx(row[key], abs=0.051) for key in keys], (videos, form)


@pytest.mark.parametrize("name", ["cut", "stretched", "MoVA, whole text", "MoVA, subsets", "stretched, in order"])
def test_the_page_quotes_the_study_of_guided_generation(name: str) -> None:
    measured = rows("guide")[name]
    keys = [*(f"sentence {k}" for k in (1, 2, 3)), "all", "lowest", "highest", "place", "color", "shape", "motion"]
    assert cells(GUIDED, name) == [f"{measured[key]:.1f}" for key in keys]


def test_the_page_of_robustness_quotes_the_suite() -> None:
    for study, label, name in (
        ("kills", "`mova index`", "indexing"),
        ("kills", "`mova train`", "training"),
        ("interrupted", "joining the files of an index", "compaction"),
        ("interrupted", "`mova data convert`", "conversion"),
        ("interrupted", "`mova index --novelty`", "indexing of stretches"),
    ):
        row = rows(study)[name]
        keys = ("killed", "runs compared", "lost", "twice", "wrong")
        assert cells(ROBUSTNESS, label) == [str(row.get(key, "–")) for key in keys]
    disturbed = rows("disturbances") | rows("drives") | rows("lost_nodes")
    reads = disturbed["readers beside a writer"]["reads"]
    for label, name in (
        ("writes that fail beyond a random size", "full disk"),
        ("a full drive", "full drive"),
        ("the drive of the films vanishes", "vanished drive"),
        ("the drive of the index vanishes", "vanished drive of the index"),
        ("the drive of the index becomes read-only", "read-only drive"),
        ("a clock that jumps", "wrong clock"),
        ("two writers", "two writers"),
        (f"readers beside a writer ({reads:,} reads)", "readers beside a writer"),
        ("a node lost under Ray", "a node lost under Ray"),
    ):
        keys = ("trials", "refused", "other_errors", "lost", "twice", "wrong")
        assert cells(ROBUSTNESS, label) == [str(disturbed[name][key]) for key in keys]


def test_the_page_of_robustness_quotes_damaged_files_and_the_service() -> None:
    videos, tables, served = rows("damaged_videos"), rows("damaged_tables"), rows("serve_soak")
    numbers = [f"{videos[name]['count']:,}" for name in ("mutants", "indexed", "reported")]
    kinds = videos["seed videos"]["count"]
    assert cells(ROBUSTNESS, f"videos of {kinds} kinds, by `mova index`") == [*numbers, "0", "0"]
    names = ("damaged files", "read all the same", "refused with an error of mova")
    numbers = [f"{tables[name]['count']:,}" for name in names]
    readers = tables["readers"]["count"]
    assert cells(ROBUSTNESS, f"tables, annotations and documents, by {readers} readers") == [*numbers, "0", "0"]
    memory, end = served["memory"], served["memory at the end"]
    kills = rows("serve_kills")["kills"]
    text = " ".join(ROBUSTNESS.read_text(encoding="utf-8").split())
    assert f"killed {kills['killed']} times while clients searched ({kills['searches']:,} searches)" in text
    assert f"during the same job ({kills['jobs compared']} jobs)" in text
    assert (
        f"({memory['rounds']:,} rounds, none failed) its memory was {memory['megabytes_warm']:.0f} MB once warm" in text
    )
    assert f"and {end['megabytes_end']:.0f} MB at the end" in text
    assert f"No process took more than {videos['peak memory, MB']['count'] / 1000:.1f} GB" in text
    documents = [ROOT / f"benchmarks/results/{name}.json" for name in SOAK]
    claims = [claim for path in documents for claim in json.loads(path.read_text(encoding="utf-8"))["claims"]]
    assert all(claim["holds"] for claim in claims)
    assert [kills[key] for key in ("jobs lost", "searches that changed", "videos missing or twice", "damaged")] == [
        0
    ] * 4


def test_the_page_of_alignment_quotes_the_clips() -> None:
    document = json.loads((ROOT / "benchmarks/results/alignment-clips.json").read_text(encoding="utf-8"))
    methods = {
        "joint": "all sentences together",
        "joint, order no": "the same, `--order no`",
        "equal parts": "equal parts in order",
        "DTW": "DTW, every frame in one sentence",
        "Drop-DTW": "Drop-DTW, drop cost as published",
        "thresholds": "a threshold per sentence",
    }
    table = ALIGNMENT.read_text(encoding="utf-8").split("### Natural clips")[1]
    for row in document["rows"]:
        if row["method"] in methods:
            figures = f"{row['mIoU']:.3f} | {row['R@0.5']:.2f} | {row['frame F1']:.2f}"
            assert f"| {methods[row['method']]} | {figures} |" in table


def test_the_page_of_alignment_quotes_unit_selection() -> None:
    document = json.loads((ROOT / "benchmarks/results/alignment_units.json").read_text(encoding="utf-8"))
    measured = {(r["emissions"], r["style"], r["seconds"]): r for r in document["rows"] if r["caption"] == "in order"}
    for name in dict.fromkeys(name for name, _, _ in measured):
        found = [measured[name, style, seconds] for seconds in (60.0, 630.0) for style in ("flat", "sketch")]
        expected = [f"{row['mIoU']:.2f} / {row['R@0.5']:.2f} / {row['frame F1']:.2f}" for row in found]
        assert cells(ALIGNMENT, name) == expected
