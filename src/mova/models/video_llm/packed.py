"""One video and several texts in one pass with gradient: the frames are run once, and every text sees only them.

Training cannot reuse keys and values as `models/video_llm/prefix_cache.py` does: gradient checkpointing keeps no cache.
Here the prompts' tails stand one after the other behind the frames, each at the positions that it would have alone, and
attention is masked so that a tail sees the frames and itself. A triplet of SynViTA needs eight scores of two videos
(Eq. 2, 5 and 6): that is two passes over frames instead of eight.

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
    asked_places,
    given_positions,
    joined_pixels,
    place_visual,
)
from mova.models.video_llm.prompt import Tail, Visual

MASKABLE = ("sdpa", "eager")
"""Implementations of attention that take a mask of every token against every other."""


def answer_packed(
    model: Any,
    visual: Visual,
    tails: Sequence[Tail],
    read: Read,
    *,
    keep: Sequence[Tensor | None] | None = None,
    run: Callable[..., Any] | None = None,
) -> Tensor:
    """What `read` makes of the next-token logits of every tail behind one video, with gradient where it is on.

    Equal to `answer_whole` of N prompts, which is what runs where `can_pack` says no.

    Args:
        model: a video LLM of transformers whose frames do not look at the text behind them.
        visual: the frames.
        tails: N.
        read: applied to the logits (N, V).
        keep: for each tail None, or bool over its description's tokens; see `answer_whole`.
        run: called in place of the model, where something is wrapped around it (an adapter, mixed precision).
    """
    if not can_pack(model):
        return answer_whole(model, [visual] * len(tails), tails, read, keep=keep, run=run)
    place = model.device
    ids = torch.cat([visual.ids, *(tail.ids for tail in tails)]).to(place)
    positions, following = place_visual(model, visual)
    counted = torch.cat([torch.arange(following, following + len(tail), device=place) for tail in tails])
    positions = torch.cat([positions, counted.expand(len(positions), 1, -1)], dim=-1)
    rest = len(ids) - len(visual)
    kinds = {key: torch.cat([value, value.new_zeros(rest)])[None].to(place) for key, value in visual.kinds.items()}
    ends = torch.tensor([len(tail) for tail in tails], device=place).cumsum(0) + len(visual) - 1
    asked = asked_places(model, ends)
    out = (run or model)(
        input_ids=ids[None],
        attention_mask=_mask(model, visual, tails, keep),
        **given_positions(model, positions),
        **kinds,
        **joined_pixels(model, [visual]),
        **asked,
        use_cache=False,
    )
    return read(out.logits[0] if asked else out.logits[0, ends])


def can_pack(model: Any) -> bool:
    """Whether positions can be given to a model, and a mask of every token against every other."""
    used = getattr(model.get_decoder().config, "_attn_implementation", None)
    return used in MASKABLE and "position_ids" in inspect.signature(model.forward).parameters


def _mask(model: Any, visual: Visual, tails: Sequence[Tail], keep: Sequence[Tensor | None] | None) -> Tensor:
    """(1, 1, S, S) of what each token sees: bool, or what is added to scores of attention that is written out."""
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
