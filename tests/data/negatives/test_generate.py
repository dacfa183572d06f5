"""Hard negatives by rule: the change of each kind, rejections, balance, determinism, files, the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.data.negatives.checks import grammar_fault, rejection_reason
from mova.data.negatives.generate import (
    HardNegative,
    Triplet,
    generate_negatives,
    read_triplets,
    rule_writer,
    triplet_rows,
)
from mova.data.negatives.kinds import KINDS, Kind, parse_kind
from mova.data.negatives.rules import RULES
from mova.data.negatives.tokens import TokenizedText
from mova.data.negatives.videocon_csv import write_videocon
from mova.data.readers import registry as readers
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.errors import DataError, UsageError

Call = Callable[..., tuple[int, str, str]]
TEXTS = (
    "A man in a red shirt opens the door and then sits down on a wooden chair.",
    "Three dogs run past a large truck on the left.",
    "A woman is eating an apple in front of a small house.",
    "Two children throw a ball over the fence before climbing up a ladder.",
)


def proposed(kind: str, text: str) -> set[str]:
    return set(RULES[kind](TokenizedText.of(text)))


def row(name: str, *texts: str) -> Row:
    return Row(name, f"{name}.mp4", 20.0, "train", tuple(map(Caption, texts)))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_manifest(tmp_path / "in.jsonl", [row(f"v{i}", text) for i, text in enumerate(TEXTS)])


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("action", "A man walks to the table.", "A man runs to the table."),
        ("action", "The boys are walking away.", "The boys are running away."),
        ("action", "She is opening the window.", "She is closing the window."),
        ("action", "A boy picks the ball up.", "A boy puts the ball down."),
        ("action", "The left bottle is taken away.", "The left bottle is put back."),
        ("action", "A crying baby lies on a bed and cries.", "A crying baby lies on a bed and laughs."),
        ("attribute", "A young man waits.", "An elderly man waits."),
        ("attribute", "An old car stands there.", "A new car stands there."),
        ("attribute", "He wears a light blue shirt.", "He wears a light red shirt."),
        ("count", "Two men sit.", "Five men sit."),
        ("count", "There are 12 boats.", "There are 13 boats."),
        ("flip", "He washes the cup before painting it.", "He washes the cup after painting it."),
        ("flip", "A man opens the door and then sits on a chair.", "A man sits on a chair and then opens the door."),
        ("object", "A cat sits on a bed. The cat sleeps.", "An elephant sits on a bed. The elephant sleeps."),
        ("object", "Cats sleep.", "Horses sleep."),
        ("relation", "A car is behind the house.", "A car is in front of the house."),
        ("relation", "It drives from the bottom to the top.", "It drives from the top to the bottom."),
        ("relation", "He on the left waves to her on the right.", "He on the right waves to her on the left."),
        ("relation", "The bird climbs up the ladder.", "The bird climbs down the ladder."),
        ("hallucination", "A man sleeps.", "A man sleeps with a goat standing nearby."),
    ],
)
def test_negatives_of_each_kind(kind: Kind, text: str, expected: str) -> None:
    assert expected in proposed(kind, text)
    assert rejection_reason(text, expected, kind) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("action", "Orange leaves lie before the table."),  # a noun that looks like a verb; a table cannot sit
        ("action", "Hands take bottles away and put them back."),  # "put ... back and put them back"
        ("action", "A man jumps up and down."),
        ("attribute", "The red of the sky is black and white."),
        ("attribute", "A black man smiles."),  # nobody's skin colour
        ("attribute", "A film for a little while."),
        ("count", "At two seconds he waves both of his two hands."),
        ("count", "The two pass triplet other."),
        ("flip", "A man sits in a chair. The wall is white."),  # no order is claimed
        ("flip", "At five seconds he sits, and then stands up again."),
        ("object", "A hot dog lies near the car park."),
        ("object", "The boy ducks behind her."),
        ("relation", "The man left right after that."),
        ("relation", "It lies under a blue sky."),
    ],
)
def test_captions_without_a_safe_change_get_no_negative(kind: str, text: str) -> None:
    assert proposed(kind, text) == set()


@pytest.mark.parametrize(
    ("positive", "negative", "kind", "reason"),
    [
        ("A big dog runs.", "A large dog runs.", "attribute", "no change"),
        ("A big dog runs.", "a big dog runs", "attribute", "no change"),
        ("He picks a lorry.", "He picks the truck.", "object", "no change"),
        ("A cat sits. A dog runs.", "The sea is calm today.", "object", "another caption"),
        ("A cat sits near a dog.", "A dog sits near a cat.", "object", "only the order changed"),
        ("He sits, then stands.", "He sits, then jumps.", "flip", "not the same events"),
        (
            "A red cat sits by the wall.",
            "A cat sits by the wall with a kite.",
            "hallucination",
            "something was left out",
        ),
        ("Two cats sit.", "Two dogs sit.", "count", "no number changed"),
        ("A cat sits here.", "A elephant sits here.", "object", "article"),
        ("Two big cats sit.", "Two big dog sit.", "object", "singular after a number"),
        ("A cat sits on the bed.", "A cat sits on on the floor.", "relation", "word twice"),
        ("A cat sits here.", "a dog sits here.", "object", "small letter"),
        ("A cat sits here.", " ", "object", "empty"),
    ],
)
def test_rejection_reasons(positive: str, negative: str, kind: Kind, reason: str) -> None:
    assert rejection_reason(positive, negative, kind) == reason


def test_faults_of_the_caption_itself_do_not_count() -> None:
    assert grammar_fault("a apple lies here", "a apple stands here") is None
    assert rejection_reason("A cat sits near a dog.", "A dog sits near a cat.", "flip") is None
    assert rejection_reason("He eats before he runs.", "He eats after he runs.", "flip") is None


def test_timed_sentences_are_swapped_if_the_first_ends_before_the_second() -> None:
    texts = ("A man opens a door.", "A dog runs in.", "A cat sleeps.")
    times = ((0.0, 2.0), (2.0, 5.0), (4.0, 6.0))
    timed = tuple(TimedSentence(text, *span) for text, span in zip(texts, times, strict=True))
    negatives = rule_writer([Caption(" ".join(texts), timed)], "flip")
    assert negatives == [["A dog runs in. A man opens a door. A cat sleeps."]]
    assert rule_writer([Caption(" ".join(texts))], "flip") == [[]]


def test_negatives_depend_on_the_seed_and_not_on_other_rows() -> None:
    rows = [row(f"v{i}", text) for i, text in enumerate(TEXTS)]
    negatives, report = generate_negatives(rows, seed=3)
    assert negatives == generate_negatives(rows, seed=3)[0]
    assert generate_negatives(rows[1:2], seed=3)[0] == [triplet for triplet in negatives if triplet.row.id == "v1"]
    assert [triplet.negative for triplet in negatives] != [
        triplet.negative for triplet in generate_negatives(rows, seed=4)[0]
    ]
    for triplet in negatives:
        assert triplet.negative.kind is not None
        assert rejection_reason(triplet.positive, triplet.negative.text, triplet.negative.kind) is None
    assert report.captions == 4
    for kind in KINDS:
        assert report.made[kind] + report.impossible[kind] + report.refused[kind] == 4


def test_kinds_are_balanced_and_the_rare_kind_wins() -> None:
    rows = [row(f"v{i}", "A red car drives up the hill.") for i in range(12)]
    rows += [row(f"w{i}", "Two men sit.") for i in range(4)]
    triplets, report = generate_negatives(rows, ("attribute", "action", "count", "relation"), per_caption=1)
    assert len(triplets) == 16
    assert report.made["count"] + report.made["action"] >= 4
    assert max(report.made[k] for k in ("attribute", "action", "relation")) <= 7
    assert report.surplus > 0
    with pytest.raises(UsageError, match="per caption must be at least 1, not 0"):
        generate_negatives(rows, per_caption=0)
    with pytest.raises(UsageError, match="hallucination"):
        generate_negatives(rows, ("colour",))


def test_an_entailment_filter_refuses_and_is_reported() -> None:
    def all_entailed(pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [0.9] * len(pairs)

    triplets, report = generate_negatives([row("v", TEXTS[0])], ("attribute",), entails=all_entailed)
    assert triplets == []
    assert report.refused["attribute"] == 1
    assert report.reasons["entailed"] > 0
    assert report.without == 1


def test_a_statement_of_another_caption_is_not_a_negative() -> None:
    rows = [row("v", "A hand takes the cup away.", "A hand puts the cup back for the first time.")]
    triplets, report = generate_negatives(rows, ("action",))
    assert "A hand puts the cup back." not in {triplet.negative.text for triplet in triplets}
    assert report.reasons == {"implied by another caption": 1}
    assert (
        generate_negatives([row("v", rows[0].captions[0].text)], ("action",))[0][0].negative.text
        == "A hand puts the cup back."
    )


def test_triplet_rows_are_read_back(tmp_path: Path) -> None:
    triplets, _ = generate_negatives([row("v", *TEXTS[:2])])
    path = write_manifest(tmp_path / "out.jsonl", triplet_rows(triplets))
    back = read_triplets(read_manifest(path))
    assert [(t.positive, t.negative) for t in back] == [(t.positive, t.negative) for t in triplets]
    assert all(t.row.meta["of"] == "v" for t in back)
    assert [t.row.id for t in back][:1] == ["v/action"]
    doubled = Row("x", "x.mp4", None, "train", tuple(map(Caption, TEXTS[:2])), meta={"negatives": [{"text": "a"}]})
    with pytest.raises(DataError, match="2 captions"):
        read_triplets([doubled])
    with pytest.raises(DataError, match="non-empty 'text'"):
        read_triplets([Row("x", "x.mp4", None, "train", (Caption("a"),), meta={"negatives": [{}]})])


def test_videocon_csv_round_trip(tmp_path: Path) -> None:
    header = "source,videopath,caption,neg_caption,split,misalignment,youtube_key\n"
    lines = (
        'vatex,a_000001_000011.mp4,"A cat, sits.",A dog sits.,train,object,k1\nmsr-vtt,b.mp4,c d,e d,test,counting,\n'
        "msr-vtt,c.mp4,'=c d,'-e d,test,counting,\n"
    )
    (tmp_path / "videocon_llm_entailment.csv").write_text(header + lines, encoding="utf-8")
    readers.convert("videocon-llm", tmp_path, tmp_path / "out")
    triplets = read_triplets(read_manifest(tmp_path / "out" / "manifest.jsonl"))
    assert [t.negative.kind for t in triplets] == ["object", "count", "count"]
    assert (triplets[2].positive, triplets[2].negative.text) == ("=c d", "-e d")  # as formulas they are guarded
    written = write_videocon(tmp_path / "again.csv", triplets)
    assert written.read_text(encoding="utf-8") == header + lines


def test_names_of_kinds() -> None:
    assert parse_kind("Event Order Flipping") == "flip"
    assert parse_kind("object misalignment") == "object"
    with pytest.raises(UsageError, match="relation"):
        parse_kind("mood")


def test_the_command(call: Call, manifest: Path, tmp_path: Path) -> None:
    code, out, _ = call("data", "contrast", manifest, tmp_path / "new", "--json")
    report = json.loads(out)
    rows = read_manifest(tmp_path / "new" / "manifest.jsonl")
    assert code == 0
    assert report["triplets"] == len(rows) == sum(report["made"].values())
    assert set(report["made"]) == set(KINDS)
    assert rows[0].video == str(tmp_path / "v0.mp4")
    code, out, _ = call(
        "data", "contrast", manifest, tmp_path / "t.csv", "--kinds", "action,object", "--per-caption", 1
    )
    assert code == 0
    assert "not possible" in out
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["misalignment"] for line in lines} <= {"action", "object"}
    assert call("data", "contrast", manifest, tmp_path / "x", "--kinds", "mood")[0] == 2
    assert call("data", "contrast", manifest, tmp_path / "x", "--endpoint", "http://localhost:1")[0] == 2
    assert call("data", "contrast", tmp_path / "none.jsonl", tmp_path / "x")[0] == 1


def test_negatives_of_the_real_clips_pass_their_own_checks(shared_data: Path) -> None:
    lines = (shared_data / "realclips.jsonl").read_text(encoding="utf-8").splitlines()
    clips = [json.loads(line) for line in lines]
    rows = [row(clip["video"], clip["caption"], *(event["text"] for event in clip["events"])) for clip in clips]
    triplets, report = generate_negatives(rows)
    assert len(triplets) > 2.5 * report.captions
    assert all(rejection_reason(t.positive, t.negative.text, t.negative.kind or "object") is None for t in triplets)
    assert len({(t.positive, t.negative.text) for t in triplets}) > 0.99 * len(triplets)


def test_a_triplet_without_a_kind() -> None:
    made = triplet_rows([Triplet(row("v", "A b."), "A b.", HardNegative("A c.", None))])
    assert made[0].id == "v/negative"
    assert made[0].meta["negatives"] == [{"text": "A c."}]


def test_a_triplet_keeps_the_synthetic_videos_of_its_own_captions_alone() -> None:
    texts = [("A c.", "negative", 0), ("A d.", "negative", 1), ("A b.", "positive", 1)]
    videos = [Synthetic(f"{i}.mp4", text, role, negative, 0, 1.0) for i, (text, role, negative) in enumerate(texts)]  # type: ignore[arg-type]
    labelled = with_synthetic(row("v", "A a.", "A b."), videos)
    made = triplet_rows([Triplet(labelled, "A b.", HardNegative(text, None)) for text in ("A d.", "A e.")])
    assert [[video.video for video in synthetic_videos(triplet)] for triplet in made] == [["1.mp4", "2.mp4"], ["2.mp4"]]
    assert {video.place for triplet in made for video in synthetic_videos(triplet)} == {0}
