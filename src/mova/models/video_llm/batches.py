"""Ask about several clips at once.

Shape legend: V videos, N texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mova.models.entailment import EntailmentModel
from mova.models.video_llm.figures import alike
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.prompt import Visual


def log_odds_table(model: EntailmentModel, videos: Sequence[Visual], texts: Sequence[str]) -> Tensor:
    """Return `log P(Yes) - log P(No)` of every video and text: float32, (V, N), on the CPU.

    A single text is asked about all videos in one pass, as far as their frames fit into one batch. Several texts share
    the pass over each video.

    Raises:
        UsageError: a text is empty or holds a control token.

    >>> from mova.models.registry import load_video_llm
    >>> model = load_video_llm("tiny-video-llm", max_frames=2)  # random weights
    >>> clips = [model.prepare(model.sample("film.mp4", start, start + 2)) for start in (0.0, 4.0)]
    >>> log_odds_table(model, clips, ["Two black discs shrink."]).shape
    torch.Size([2, 1])
    """
    tails = model.tails(texts)
    if len(tails) != 1 or not isinstance(model, VideoLLM):
        return torch.stack([model.log_odds(video, tails) for video in videos])
    table = torch.empty(len(videos), 1)
    for group in alike(videos):
        with torch.inference_mode():
            table[group, 0] = model.pair_log_odds([videos[i] for i in group], tails * len(group)).float().cpu()
    return table
