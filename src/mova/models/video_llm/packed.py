"""Score several texts about one video in one differentiable pass: the frames run once, and texts do not see each other.

Training cannot reuse keys and values as `models/video_llm/prefix_cache.py` does: gradient checkpointing keeps no cache.
Here the tails of the prompts follow the frames one after the other, each at the positions it would have alone, and
attention is masked so that a tail sees the frames and itself. A triplet of SynViTA (Zanella et al. 2025) needs eight
scores of two videos (Eq. 2, 5 and 6): two passes over frames instead of eight.

Shape legend: N texts, P tokens up to the end of the frames, S tokens of a packed prompt, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mova.models.video_llm.prefix_cache import (
    Read,
    answer_whole,
    joined_pixels,
    logits_options,
    position_options,
    visual_positions,
)
from mova.models.video_llm.prompt import Tail, Visual

MASKABLE = ("sdpa", "eager")
"""Implementations of attention that accept a mask of every token with every other."""


def answer_packed(
    model: Any,
    visual: Visual,
    tails: Sequence[Tail],
    read: Read,
    *,
    keep: Sequence[Tensor | None] | None = None,
    run: Callable[..., Any] | None = None,
) -> Tensor:
    """Apply `read` to the next-token logits of every tail behind one video, with gradients if enabled.

    The result equals `answer_whole` of N prompts, which also runs if `can_pack` is false.

    Args:
        model: a video LLM of transformers whose frames do not attend to the text behind them.
        visual: the frames.
        tails: N tails.
        read: applied to the logits (N, V).
        keep: for each tail None, or bool over its description's tokens; see `answer_whole`.
        run: called instead of the model, if something wraps it (an adapter, mixed precision).
    """
    if not can_pack(model):
        return answer_whole(model, [visual] * len(tails), tails, read, keep=keep, run=run)
    device = model.device
    ids = torch.cat([visual.ids, *(tail.ids for tail in tails)]).to(device)
    positions, following = visual_positions(model, visual)
    counted = torch.cat([torch.arange(following, following + len(tail), device=device) for tail in tails])
    positions = torch.cat([positions, counted.expand(len(positions), 1, -1)], dim=-1)
    rest = len(ids) - len(visual)
    kinds = {key: torch.cat([value, value.new_zeros(rest)])[None].to(device) for key, value in visual.kinds.items()}
    ends = torch.tensor([len(tail) for tail in tails], device=device).cumsum(0) + len(visual) - 1
    options = logits_options(model, ends)
    out = (run or model)(
        input_ids=ids[None],
        attention_mask=_mask(model, visual, tails, keep),
        **position_options(model, positions),
        **kinds,
        **joined_pixels(model, [visual]),
        **options,
        use_cache=False,
    )
    return read(out.logits[0] if options else out.logits[0, ends])


def can_pack(model: Any) -> bool:
    """Return whether a model accepts positions, and a mask of every token with every other."""
    used = getattr(model.get_decoder().config, "_attn_implementation", None)
    return used in MASKABLE and "position_ids" in inspect.signature(model.forward).parameters


def _mask(model: Any, visual: Visual, tails: Sequence[Tail], keep: Sequence[Tensor | None] | None) -> Tensor:
    """Return what each token sees, (1, 1, S, S): bool, or for eager attention the values added to its scores."""
    lengths = torch.tensor([len(visual), *map(len, tails)])
    segment = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    seen = torch.ones(len(segment), dtype=torch.bool)
    starts = lengths.cumsum(0)[:-1].tolist()
    for start, tail, mask in zip(starts, tails, keep or [None] * len(tails), strict=True):
        if mask is not None:
            part = tail.description
            seen[start + part.start : start + part.stop] &= mask.to(seen.device)
    segment, seen = segment.to(model.device), seen.to(model.device)
    allowed = ((segment == 0) | (segment == segment[:, None])) & seen
    allowed = allowed.tril_()[None, None]
    if model.get_decoder().config._attn_implementation == "sdpa":
        return allowed
    return torch.zeros_like(allowed, dtype=model.dtype).masked_fill_(~allowed, torch.finfo(model.dtype).min)
