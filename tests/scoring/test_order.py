"""Words of a caption about the order of its sentences."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mova.scoring.order import COUNTS, LEAST_COUNT, STORY_NATS, TOTALS, order_prior, overlapping

CAPTION = ("At first, a dog runs.", "After that it sleeps.", "A cat is seen.", "Finally, it wakes.")


def rate(kind: str | None, position: int) -> float:
    """Rate of an opening at a position, by counting."""
    opened = [counts[position] for counts in COUNTS.values()]
    count = TOTALS[position] - sum(opened) if kind is None else COUNTS[kind][position]
    return (count + LEAST_COUNT) / (TOTALS[position] + 4 * LEAST_COUNT)


def test_the_prior_is_the_ratio_to_any_other_order() -> None:
    kinds = ["starts", "follows", None, "ends"]
    for order in itertools.permutations(range(4)):
        expected = 0.0
        for place, sentence in zip((0, 1, 1, 2), order, strict=True):
            anywhere = sum(rate(kinds[sentence], other) for other in (0, 1, 1, 2)) / 4
            expected += math.log(rate(kinds[sentence], place) / anywhere)
        assert order_prior([CAPTION[i] for i in order]) == pytest.approx(expected, abs=1e-12)


def test_the_order_of_the_caption_is_the_most_probable_one() -> None:
    values = {order: order_prior([CAPTION[i] for i in order]) for order in itertools.permutations(range(4))}
    best = max(values.values())
    assert values[0, 1, 2, 3] == best > 1
    assert sorted(order for order, value in values.items() if value == best) == [(0, 1, 2, 3), (0, 2, 1, 3)]
    assert values[3, 1, 2, 0] < -5


def test_a_sentence_that_is_not_shown_says_nothing() -> None:
    foreign = ["Finally, a bird sings.", "A man opens a door.", "Then he pours tea."]
    assert order_prior(foreign) < -3
    assert order_prior(foreign, [0, 1, 1]) == pytest.approx(order_prior(["A bird sings.", *foreign[1:]]), abs=0.05)
    assert order_prior(foreign, [1, 1, 1]) == pytest.approx(order_prior(foreign))
    # half of the time it is shown, and then against the order: the mean of the probabilities
    half = order_prior(foreign, [0.5, 1, 1])
    assert math.exp(half) == pytest.approx(
        (math.exp(order_prior(foreign)) + math.exp(order_prior(foreign, [0, 1, 1]))) / 2
    )


def test_an_excerpt_may_begin_and_end_anywhere() -> None:
    story = ["Then it sleeps.", "A cat is seen.", "Afterwards it wakes."]
    assert order_prior(story) < -4
    assert order_prior(story, excerpt=True) == pytest.approx(2 * STORY_NATS, abs=0.25)
    assert order_prior(["Finally, it wakes.", *story[:2]], excerpt=True) < -0.3
    assert order_prior([*story[:2], "Finally, it wakes."], excerpt=True) > 0.3


def test_captions_without_such_openings_say_nothing() -> None:
    assert order_prior(["A dog runs.", "Thenceforth it sleeps.", "He says then.", "First-person view of a cat."]) == 0
    assert order_prior(["Then it sleeps."]) == order_prior([]) == 0
    assert order_prior(['"And then" it sleeps.', "A dog runs."]) < -4


def test_words_of_overlap() -> None:
    assert overlapping(["It rains throughout.", "A throughout-like word.", "Meanwhile, a cat eats."]) == (0, 1, 2)
    assert overlapping(["A time of day."]) == ()


def test_the_prior_is_calibrated_on_captions_that_were_not_counted(shared_data: Path) -> None:
    captions = shared_data / "annotations" / "activitynet_captions" / "val_1.json"
    rng = np.random.default_rng(0)
    values, ordered = [], []
    for video in json.loads(captions.read_text(encoding="utf-8")).values():
        sentences, starts = video["sentences"], [start for start, _ in video["timestamps"]]
        if len(sentences) > 1 and starts == sorted(starts):
            values += [order_prior(sentences), order_prior([sentences[i] for i in rng.permutation(len(sentences))])]
            ordered += [1, 0]
    assert len(values) > 9000
    fitted = LogisticRegression(C=np.inf).fit(np.array(values)[:, None], ordered)
    assert fitted.coef_[0, 0] == pytest.approx(1, abs=0.2)
    assert fitted.intercept_[0] == pytest.approx(0, abs=0.05)
