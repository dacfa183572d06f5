"""The table of an alignment: spans, and sentences that are probably not shown."""

from __future__ import annotations

import numpy as np
import pytest

from mova.cli.commands.align import show_timeline
from mova.types import ScoredSpan, SentenceTimeline, Span, Timeline


def test_a_sentence_that_is_probably_not_shown_is_told_with_its_most_probable_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    curve = np.linspace(0, 1, 20, dtype=np.float32)
    found = SentenceTimeline("A door opens.", curve, (ScoredSpan(Span(1.0, 3.0), 0.9, 0.87),), curve, 0.99)
    absent = SentenceTimeline("Rain.", curve, (), curve, 0.22, likely=ScoredSpan(Span(6.0, 6.5), 0.3, 0.2))
    show_timeline(Timeline("film.mp4", 10.0, np.arange(20) / 2, (found, absent), ()))
    printed = "".join(capsys.readouterr())
    for words in ("0:01.0 - 0:03.0 (87%)", "none (shown: 22%)", "if at all 0:06.0 - 0:06.5"):
        assert words in printed
