"""Paragraph grounding: which sentences are given together, figures by counting, and the recall of HTM-Align."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.manifest import Caption, Row, TimedSentence
from mova.errors import DataError, UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.paragraphs import best_second, evaluate_paragraphs, paragraphs_of
from mova.types import ScoredSpan, Span
from tests.support.known import Clips, KnownEncoder, known_split, row

Call = Callable[..., tuple[int, str, str]]
ANY = find_protocol("moments")
WIDTH = 16


def basis(index: int) -> list[float]:
    return [float(i == index) for i in range(WIDTH)]


TEXTS = {"The door opens.": basis(0), "Tea is poured.": basis(1), "It rains.": basis(2)}
DOOR, TEA, RAIN = TEXTS
FILM = [basis(0)] * 4 + [basis(5)] * 3 + [basis(1)] * 5
ANNOTATED = ((DOOR, 0.0, 4.0), (TEA, 7.0, 12.0))


def paragraph(*sentences: tuple[Any, ...], **meta: Any) -> Row:
    timed = tuple(TimedSentence(*sentence) for sentence in sentences)
    return Row("a", "a.mp4", None, "test", (Caption(" ".join(s.text for s in timed), timed),), meta=meta)


def measured(rows: list[Row], decoder: str = "joint", **protocol: Any) -> dict[str, Any]:
    model = KnownEncoder(TEXTS)
    model.relevance_threshold = 0.5
    split = known_split(rows, clips=Clips({"a.mp4": FILM}), model=model)
    return evaluate_paragraphs(split, protocol.get("protocol", ANY), decoder).to_json()  # type: ignore[arg-type]


@pytest.mark.parametrize("decoder", ["joint", "independent"])
def test_sentences_of_a_paragraph_are_found_together(decoder: str) -> None:
    report = measured([paragraph(*ANNOTATED)], decoder)
    assert report["queries"] == 2
    assert report["settings"]["decoder"] == decoder
    assert ("temporal_order" in report["settings"]) == (decoder == "joint")
    assert report["figures"]["points"]["recall"] == 100.0
    assert report["figures"]["moments"]["R1@0.5"] == 100.0
    assert report["places"]["moments"]["mIoU"] == pytest.approx([100.0, 100.0])


def test_equal_parts_are_the_overlap_that_counting_gives() -> None:
    report = measured([paragraph(*ANNOTATED)], "equal")
    assert report["places"]["moments"]["mIoU"] == pytest.approx([100 * 4 / 6, 100 * 5 / 6])


def test_queries_of_single_captions_form_a_paragraph_in_their_order() -> None:
    (item,) = paragraphs_of(row("v", (DOOR, 0.0, 4.0), (TEA, 7.0, 12.0)))
    assert item.texts == (DOOR, TEA)
    assert item.ids == ("v/0/0", "v/1/0")
    two = Row("w", "w.mp4", None, "test", (*paragraph(*ANNOTATED).captions, *row("x", (DOOR, 0.0, 4.0)).captions))
    assert [found.texts for found in paragraphs_of(two)] == [(DOOR, TEA)]
    assert list(paragraphs_of(row("y", "No times."))) == []


def test_descriptions_of_one_video_are_paragraphs_of_their_own() -> None:
    timed = ((DOOR, 0.0, 4.0), (TEA, 7.0, 12.0), (RAIN, 1.0, 2.0))
    found = paragraphs_of(replace(row("v", *timed), meta={"paragraphs": [2, 1]}))
    assert [(item.ids, item.texts) for item in found] == [(("v/0/0", "v/1/0"), (DOOR, TEA)), (("v/2/0",), (RAIN,))]
    for wrong in ([2], [3, 0], [1.5, 1.5], "21"):
        with pytest.raises(DataError, match=r"row 'v': meta.paragraphs must divide its 3 captions"):
            list(paragraphs_of(replace(row("v", *timed), meta={"paragraphs": wrong})))


def test_a_paragraph_of_several_sentences_can_be_one_query() -> None:
    first, second = "The door opens. A man comes in.", "Tea is poured. It is hot."
    captions = tuple(
        Caption(text, (TimedSentence(text, *times),)) for text, times in ((first, (0.0, 4.0)), (second, (7.0, 12.0)))
    )
    episode = Row("e", "a.mp4", None, "test", captions)
    assert [item.texts for item in paragraphs_of(episode)] == [(first, second)]
    model = KnownEncoder({first: TEXTS[DOOR], second: TEXTS[TEA]})
    model.relevance_threshold = 0.5
    report = evaluate_paragraphs(
        known_split([episode], clips=Clips({"a.mp4": FILM}), model=model), ANY, "joint"
    ).to_json()
    assert report["figures"]["moments"]["R1@0.7"] == 100.0


def test_sentences_without_times_are_aligned_and_not_counted() -> None:
    report = measured([paragraph((DOOR, 0.0, 4.0), (RAIN,), (TEA, 7.0, 12.0))])
    assert report["queries"] == 2
    assert report["settings"]["sentences_without_times"] == 1
    assert report["figures"]["moments"]["R1@0.7"] == 100.0
    assert "alignable AUC" not in report["figures"]["points"]


def test_alignable_sentences_are_told_from_others() -> None:
    sentences = ((DOOR, 0.0, 4.0), (RAIN,), (TEA, 7.0, 12.0))
    report = measured([paragraph(*sentences, alignable=[1, 0, 1])])
    assert report["figures"]["points"]["alignable AUC"] == 100.0
    with pytest.raises(DataError, match="alignable has 2 values for 3 sentences"):
        measured([paragraph(*sentences, alignable=[1, 0])])


def test_a_point_is_the_most_probable_frame_or_the_middle_of_the_best_span() -> None:
    curve, spans = np.array([0.1, 0.9, 0.2], dtype=np.float32), (ScoredSpan(Span(0.0, 3.0), 0.5),)
    assert best_second(curve, spans, np.arange(3.0), posterior=True) == 1.0
    assert best_second(curve, spans, np.arange(3.0), posterior=False) == 1.5


def test_sizes_and_models_are_checked() -> None:
    with pytest.raises(UsageError, match="1 videos instead of 80"):
        measured([paragraph(*ANNOTATED)], protocol=find_protocol("htm-align"))
    with pytest.raises(DataError, match="no sentence with known times"):
        measured([row("a", "No times.")])


def test_the_command_compares_decoders(tmp_path: Path, call: Call) -> None:
    call("data", "worlds", tmp_path, "--videos", 2, "--seconds", 40, "--seed", 3, "--size", 64)
    figures = {}
    for decoder in ("joint", "equal"):
        code, out, _ = call(
            "eval", "moments", "--manifest", tmp_path / "manifest.jsonl", "--model", "mova-worlds-tiny",
            "--paragraph", "--decoder", decoder, "--json",
        )  # fmt: skip
        assert code == 0
        figures[decoder] = json.loads(out)["figures"]["moments"]["mIoU"]
    assert figures["joint"] > figures["equal"]
    code, _, err = call("eval", "moments", "--manifest", tmp_path / "manifest.jsonl", "--decoder", "dtw")
    assert (code, "need --paragraph" in err) == (2, True)
