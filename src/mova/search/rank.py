"""Rank encoded videos for a text: global vectors choose candidates, which are then scored exactly."""

from __future__ import annotations

from collections.abc import Sequence

from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder

CANDIDATES = 100
"""Videos that are scored exactly, by default."""


def rank_videos(
    model: DualEncoder, text: str, videos: Sequence[VideoEmbedding], k: int = 10, candidates: int = CANDIDATES
) -> list[tuple[int, float]]:
    """Return the k best videos for a text.

    The candidates with the best global vectors are scored in one batch by the model's evidence rule. A model that
    scores by global vectors (`scoring_form`) ranks by them alone.

    Args:
        model: the encoder that made the videos' vectors.
        text: a sentence or a paragraph.
        videos: the videos to rank.
        k: return at most k videos.
        candidates: score at least this many videos exactly, and never fewer than k. The number of videos makes the
            ranking exact.

    Returns:
        (index of the video, score), best first, ties by index.

    Raises:
        UsageError: the text contains no words.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> videos = [model.encode_video(f"films/world-flat-1-0000{i}.mp4") for i in range(2)]
    >>> [video for video, score in rank_videos(model, "Three white stars are getting bigger.", videos)]
    [1, 0]
    """
    if not videos:
        return []
    similarities = model.similarity(videos, model.encode_sentences(text))[:, 0]
    chosen = sorted(similarities.topk(min(len(videos), max(k, candidates))).indices.tolist())
    exact = (
        similarities[chosen] if model.scoring_form == "global" else model.score([videos[i] for i in chosen], text)[:, 0]
    )
    return sorted(zip(chosen, exact.tolist(), strict=True), key=lambda row: (-row[1], row[0]))[:k]
