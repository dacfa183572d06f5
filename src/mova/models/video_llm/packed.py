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
    return read(packed_logits(model, visual, tails, [(len(tail) - 1,) for tail in tails], keep=keep, run=run))


def packed_logits(
    model: Any,
    visual: Visual,
    tails: Sequence[Tail],
    places: Sequence[Sequence[int]],
    *,
    keep: Sequence[Tensor | None] | None = None,
    run: Callable[..., Any] | None = None,
) -> Tensor:
    """Return the next-token logits behind chosen tokens of the tails, in order: (R, V), with gradients if enabled.

    Args:
        model, visual, tails, keep, run: as for `answer_packed`. A model that cannot pack (`can_pack`) takes one tail.
        places: for each tail the positions of tokens in it, from 0; R in all.

    Raises:
        ValueError: several tails, or a mask, for a model that cannot pack.
    """
    together = can_pack(model)
    if not together and (len(tails) != 1 or any(mask is not None for mask in keep or [])):
        raise ValueError("this implementation of attention takes one text at a time")
    device = model.device
    ids = torch.cat([visual.ids, *(tail.ids for tail in tails)]).to(device)
    positions, following = visual_positions(model, visual)
    counted = torch.cat([torch.arange(following, following + len(tail), device=device) for tail in tails])
    positions = torch.cat([positions, counted.expand(len(positions), 1, -1)], dim=-1)
    rest = len(ids) - len(visual)
    kinds = {key: torch.cat([value, value.new_zeros(rest)])[None].to(device) for key, value in visual.kinds.items()}
    starts = [len(visual) + sum(map(len, tails[:i])) for i in range(len(tails))]
    read = torch.tensor([start + at for start, inside in zip(starts, places, strict=True) for at in inside]).to(device)
    options = logits_options(model, read)
    out = (run or model)(
        input_ids=ids[None],
        attention_mask=_mask(model, visual, tails, keep) if together else torch.ones_like(ids)[None],
        **position_options(model, positions),
        **kinds,
        **joined_pixels(model, [visual]),
        **options,
        use_cache=False,
    )
    return out.logits[0] if options else out.logits[0, read]


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
