"""Rank encoded videos for a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mova.search.rank import rank_videos
from mova.types import Frames
from tests.support.fakes import COLOURS, ColourEncoder


def coloured(colours: Sequence[str]) -> Frames:
    pixels = np.stack([np.full((8, 8, 3), COLOURS[colour], dtype=np.uint8) for colour in colours])
    return Frames(pixels, np.arange(len(colours)) / 2)


def test_candidates_come_from_global_vectors_and_are_scored_exactly() -> None:
    encoder = ColourEncoder()
    rng = np.random.default_rng(0)
    films = [encoder.encode_video(coloured(rng.choice(list(COLOURS), 5).tolist())) for _ in range(30)]
    text = "It is red. Then comes blue."
    exact = encoder.score(films, text)[:, 0].tolist()
    order = sorted(range(30), key=lambda i: (-exact[i], i))
    ranking = rank_videos(encoder, text, films, k=4, candidates=30)
    assert [i for i, _ in ranking] == order[:4]
    assert [score for _, score in ranking] == pytest.approx([exact[i] for i in order[:4]], abs=1e-6)
    few = rank_videos(encoder, text, films, k=2, candidates=5)
    nearest = encoder.similarity(films, encoder.encode_text(text))[:, 0].topk(5).indices.tolist()
    assert {i for i, _ in few} <= set(nearest)
    assert len(rank_videos(encoder, text, films, k=99, candidates=1)) == 30
    assert rank_videos(encoder, text, [], k=3) == []
