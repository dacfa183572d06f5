"""The timeline of a caption: order, absent sentences, edges, and work that grows linearly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mova.scoring import chain, timeline_decoder
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.timeline_decoder import ORDERS, PRESENT, TRUST, Evidence, decode, log_chance

WEIGHTS = AlignmentWeights(position=0.0)


def events(*bounds: tuple[int, int], frames: int = 60) -> Evidence:
    """Return strong evidence for sentences at the given frames."""
    odds = np.full((len(bounds), frames), -5.0)
    for row, (start, end) in zip(odds, bounds, strict=True):
        row[start:end] = 3.0
    return Evidence(odds, np.zeros(frames), WEIGHTS)


def covered(evidence: Evidence, order: str = "auto", **options: object) -> list[list[int]]:
    result = decode(evidence, order, **options)  # type: ignore[arg-type]
    return [np.flatnonzero(row).tolist() for row in result.covered]


def test_sentences_in_order_are_ordered() -> None:
    result = decode(events((5, 15), (20, 30), (40, 50)))
    assert (result.order.choice, result.order.free) == ("ordered", ())
    assert set(result.order.evidence) == {"ordered", "free"}
    assert covered(events((5, 15), (20, 30), (40, 50))) == [[*range(5, 15)], [*range(20, 30)], [*range(40, 50)]]
    assert result.posterior.sum(axis=0).max() <= 1 + 1e-6
    assert result.shown.min() > 0.99


def test_one_sentence_out_of_order_leaves_the_others_in_order() -> None:
    bounds = ((50, 58), *((8 * i, 8 * i + 6) for i in range(6)))
    result = decode(events(*bounds))
    assert (result.order.choice, result.order.free) == ("partly", (0,))
    assert covered(events(*bounds))[0] == [*range(50, 58)]


def test_reversed_sentences_are_free() -> None:
    bounds = tuple((8 * i, 8 * i + 6) for i in range(6))[::-1]
    result = decode(events(*bounds))
    assert result.order.choice == "free"
    assert covered(events(*bounds)) == [[*range(*bound)] for bound in bounds]


def test_the_chance_of_an_order_is_the_mean_over_all_sets_of_shown_sentences() -> None:
    shown = np.random.default_rng(0).random(6)
    total = 0.0
    for chosen in itertools.product((0, 1), repeat=6):
        total += math.prod(p if on else 1 - p for p, on in zip(shown, chosen, strict=True)) / math.factorial(
            sum(chosen)
        )
    assert log_chance(shown) == pytest.approx(math.log(total))
    assert np.isfinite(log_chance(np.ones(400)))
    assert log_chance(np.zeros(3)) == 0.0


def test_absent_sentences_are_no_evidence_of_order() -> None:
    absent = ((0, 0),) * 8
    result = decode(events((40, 55), *absent, (5, 20)))
    assert result.order.choice != "ordered"
    assert result.shown[[0, -1]].min() > 0.8


def test_unsure_sentences_out_of_order_are_not_hidden_by_it() -> None:
    bounds = tuple((10 * i, 10 * i + 6) for i in range(6))[::-1]
    weak = Evidence(events(*bounds).odds * 0.6, np.zeros(60), WEIGHTS)
    result = decode(weak)
    assert result.order.choice == "free"
    assert sum(map(bool, covered(weak))) == 6


def test_hypotheses_are_weighed_by_their_evidence() -> None:
    swapped = events((24, 30), (18, 24))
    ordered, free = decode(swapped, "yes"), decode(swapped, "no")
    results = [decode(swapped, prior=prior) for prior in (lambda inside, shown: 0.0, lambda inside, shown: 40.0)]
    for result in results:
        difference = result.order.evidence["ordered"] - result.order.evidence["free"]
        share = 1 / (1 + math.exp(-TRUST * difference))
        np.testing.assert_allclose(result.shown, share * ordered.shown + (1 - share) * free.shown, atol=2e-3)
    assert [result.order.choice for result in results] == ["free", "ordered"]


def test_a_hypothesis_that_cannot_count_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    reversed_ = events(*(tuple((10 * i, 10 * i + 7) for i in range(30))[::-1]), (305, 340), frames=340)
    short = decode(reversed_)
    monkeypatch.setattr(timeline_decoder, "_may_count", lambda *_: True)
    whole = decode(reversed_)
    assert set(short.order.evidence) == {"ordered", "free"}
    assert set(whole.order.evidence) == {"ordered", "partly", "free"}
    most = max(whole.order.evidence.values())
    assert TRUST * (whole.order.evidence["partly"] - most) < math.log(timeline_decoder.LEAST_SHARE)
    np.testing.assert_allclose(short.posterior, whole.posterior, atol=1e-6)
    np.testing.assert_allclose(short.shown, whole.shown, atol=1e-6)
    assert np.array_equal(short.covered, whole.covered)


def test_order_can_be_required_or_excluded() -> None:
    swapped = events((40, 50), (5, 15))
    assert sum(map(bool, covered(swapped, "yes"))) == 1
    assert covered(swapped, "no") == [[*range(40, 50)], [*range(5, 15)]]
    with pytest.raises(ValueError, match="must be one of auto, yes, no"):
        decode(swapped, "maybe")  # type: ignore[arg-type]


def test_sentences_that_overlap_by_their_words_share_frames() -> None:
    both = events((5, 15), (0, 60), (20, 30))
    assert covered(both, overlapping=(1,)) == [[*range(5, 15)], [*range(60)], [*range(20, 30)]]
    assert decode(both, overlapping=(1,)).order.free == (1,)


def test_a_sentence_is_shown_twice_where_the_evidence_is_there() -> None:
    evidence = events((5, 20))
    evidence.odds[0, 40:55] = 3.0
    assert covered(evidence) == [[*range(5, 20), *range(40, 55)]]


def test_absent_sentences_have_no_frames() -> None:
    nothing = Evidence(np.full((3, 40), -5.0), np.zeros(40), WEIGHTS)
    result = decode(nothing)
    assert not result.covered.any()
    assert result.shown.max() < 0.2
    one = decode(events((5, 15), (0, 0), (30, 40)))
    assert one.shown.round().tolist() == [1, 0, 1]


def test_a_sentence_that_is_probably_not_shown_has_no_frames_whatever_its_posterior() -> None:
    evidence = events((5, 15), (20, 24), (40, 50))
    evidence.odds[1] *= 0.25
    found = decode(evidence)
    assert found.shown[1] >= PRESENT
    assert found.covered[1].any()
    doubtful = Evidence(evidence.odds, evidence.boundaries, replace(WEIGHTS, shown_intercept=-6.0))
    for order in ORDERS:
        result = decode(doubtful, order)
        assert result.shown[1] < PRESENT <= result.shown[0]
        assert result.covered.any(axis=1).tolist() == [True, False, True]
        assert result.posterior[1].argmax() in range(20, 24), "its most probable place is still known"
        assert np.all(result.posterior.max(axis=1) <= result.shown + 1e-6), "no frame is surer than the video"


def test_a_shown_sentence_without_a_place_in_order_is_placed_by_itself() -> None:
    swapped = events((24, 30), (18, 24))
    evidence = decode(swapped).order.evidence
    needed = evidence["free"] - evidence["ordered"] + 0.5

    def prior(inside: Sequence[int], shown: Sequence[float]) -> float:
        return needed

    result = decode(swapped, prior=prior)
    assert result.order.choice == "ordered"
    assert result.shown.min() >= PRESENT
    assert covered(swapped, prior=prior) == [[*range(24, 30)], [*range(18, 24)]]
    assert sum(map(bool, covered(swapped, "yes"))) == 1, "a required order is kept"


@pytest.mark.parametrize("sentences", [1, 3])
def test_one_frame(sentences: int) -> None:
    frame = Evidence(np.full((sentences, 1), 4.0), np.zeros(1), WEIGHTS)
    assert decode(frame).covered.all(), "they overlap"
    ordered = decode(frame, "yes")
    assert ordered.covered.sum() <= 1, "one frame shows at most one of several ordered sentences"
    assert ordered.posterior.sum() == pytest.approx(1.0, abs=0.01)


def test_equal_evidence_is_shared_in_order() -> None:
    result = decode(Evidence(np.full((2, 40), 1.0), np.zeros(40), WEIGHTS))
    first, second = (np.flatnonzero(row) for row in result.covered)
    assert result.order.choice == "ordered"
    assert first.max() < second.min()
    np.testing.assert_allclose(result.posterior[0], result.posterior[1][::-1], atol=1e-5)


def test_invalid_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        decode(Evidence(np.array([[0.0, np.nan]]), np.zeros(2), WEIGHTS))
    with pytest.raises(ValueError, match="must be"):
        decode(Evidence(np.zeros((2, 3)), np.zeros(2), WEIGHTS))


def test_the_number_of_steps_is_the_number_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def counted(name: str) -> None:
        original = getattr(chain, name)

        def count(model: chain._Chain, first: int, end: int, *rest: object) -> object:
            steps.append((end - first) * model.odds.shape[1])
            return original(model, first, end, *rest)

        monkeypatch.setattr(chain, name, count)

    counted("_beginnings")
    counted("_endings")
    work = {}
    for sentences, frames in ((4, 50), (8, 50), (4, 100)):
        steps.clear()
        decode(Evidence(np.full((sentences, frames), -1.0), np.zeros(frames), WEIGHTS))
        work[sentences, frames] = sum(steps)
    hypotheses, passes = 2, 3  # ordered and free; beginnings twice, endings once
    for (sentences, frames), cells in work.items():
        assert cells == hypotheses * passes * (frames - 1) * sentences
