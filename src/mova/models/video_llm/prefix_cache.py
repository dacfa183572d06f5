"""One video, many texts: the keys and values of the frames are computed once and shared.

A video is hundreds or thousands of tokens, a question about it some tens. The frames come first in every prompt, so
their keys and values do not depend on the question: they are computed once (`prefill`) and every text only adds its
own tail (`answer_shared`). `answer_whole` runs the whole prompts, which training needs; both give the same logits.
Positions are always given, so that padding on either side, or a description's tokens that are masked out, move none.

Shape legend: B prompts, P tokens up to the end of the frames, L tokens of the longest tail, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from mova.errors import ModelError
from mova.models.video_llm.prompt import Tail, Visual

Side = Literal["left", "right"]
Read = Callable[[Tensor], Tensor]
"""Next-token logits (B, V) -> whatever is kept of them, (B, ...)."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the frames, and where the next token stands.

    Attributes:
        cache: transformers', one row.
        length: P.
        next_position: of the first token after it; less than P where a frame's tokens share positions (Qwen-VL).
        axes: 3 where positions are (time, height, width), else 1.
    """

    cache: Any
    length: int
    next_position: int
    axes: int


@torch.inference_mode()
def prefill(model: Any, visual: Visual) -> Prefix | None:
    """Run the frames through the model once; None where it keeps more than keys and values (linear attention)."""
    place, positions, following = model.device, *place_visual(model, visual)
    inputs = {key: value[None].to(place) for key, value in visual.kinds.items()}
    inputs |= joined_pixels(model, [visual])
    ids = visual.ids[None].to(place)
    out = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **given_positions(model, positions),
        **inputs,
        **asked_places(model, torch.tensor([len(visual) - 1], device=place)),
        use_cache=True,
    )
    cache = out.past_key_values
    if not all(isinstance(layer, DynamicLayer) for layer in getattr(cache, "layers", [None])):
        return None
    return Prefix(cache, len(visual), following, len(positions))


@torch.inference_mode()
def answer_shared(
    model: Any, prefix: Prefix, tails: Sequence[Tail], read: Read, *, batch: int = 16, side: Side = "left"
) -> Tensor:
    """What `read` makes of the next-token logits of every tail behind one prefix.

    Args:
        model: a video LLM of transformers.
        prefix: from `prefill`.
        tails: one a text.
        read: applied batch by batch, so that N rows of logits are never held at once.
        batch: texts side by side; the prefix's keys and values are repeated so often.
        side: where shorter tails are padded.
    """
    place = model.device
    found = []
    for first in range(0, len(tails), batch):
        some = tails[first : first + batch]
        ids, real = pad([tail.ids for tail in some], side, place)
        seen = torch.cat([torch.ones(len(some), prefix.length, dtype=torch.long, device=place), real], dim=1)
        positions = (real.cumsum(1) - 1 + prefix.next_position) * real
        ends = _ends(real)
        keep, rows = ends.unique(return_inverse=True)
        out = model(
            input_ids=ids,
            attention_mask=seen,
            **given_positions(model, positions.expand(prefix.axes, -1, -1)),
            **asked_places(model, keep),
            past_key_values=_repeated(prefix.cache, len(some)),
            use_cache=True,
        )
        found.append(read(_kept(model, out.logits, ends, rows)))
    return torch.cat(found)


def answer_whole(
    model: Any,
    visuals: Sequence[Visual],
    tails: Sequence[Tail],
    read: Read,
    *,
    keep: Sequence[Tensor | None] | None = None,
    side: Side = "left",
    run: Callable[..., Any] | None = None,
) -> Tensor:
    """The same for whole prompts side by side, one visual and one tail each, with gradient where it is on.

    Args:
        model: a video LLM of transformers.
        visuals, tails: B each. Families of whole frames need equal frames in a batch.
        read: applied to the logits (B, V).
        keep: for each tail None, or bool (tokens of its description,): false where a token is hidden from attention.
            It keeps its place, so the others keep their positions (SynViTA, Eq. 6).
        side: where shorter prompts are padded.
        run: called in place of the model, where something is wrapped around it.

    Raises:
        ModelError: the frames of these videos do not fit into one batch.
    """
    place = model.device
    pairs = list(zip(visuals, tails, strict=True))
    whole = [torch.cat([visual.ids, tail.ids]) for visual, tail in pairs]
    ids, real = pad(whole, side, place)
    places = [_whole_positions(model, visual, len(tail)) for visual, tail in pairs]
    positions = torch.stack([pad([row[axis] for row in places], side, place)[0] for axis in range(len(places[0]))])
    seen = real.clone()
    for row, mask in enumerate(keep or []):
        if mask is not None:
            start = (ids.shape[1] - len(whole[row]) if side == "left" else 0) + len(visuals[row])
            part = tails[row].description
            seen[row, start + part.start : start + part.stop] *= mask.to(place).long()
    kinds = {
        key: pad([torch.cat([v.kinds[key], torch.zeros_like(t.ids)]) for v, t in pairs], side, place)[0]
        for key in visuals[0].kinds
    }
    ends = _ends(real)
    kept, rows = ends.unique(return_inverse=True)
    out = (run or model)(
        input_ids=ids,
        attention_mask=seen,
        **given_positions(model, positions),
        **kinds,
        **joined_pixels(model, visuals),
        **asked_places(model, kept),
        use_cache=False,
    )
    return read(_kept(model, out.logits, ends, rows))


def place_visual(model: Any, visual: Visual) -> tuple[Tensor, int]:
    """Positions (axes, 1, P) of a visual's tokens, and the position of the token after them.

    Where a family spreads frames over three axes, the latter is not the largest position plus one (Qwen2.5-VL's times
    run ahead of its text), so a token of text is placed behind the visual to see.
    """
    rope = getattr(core(model), "get_rope_index", None)
    if rope is None:
        return torch.arange(len(visual), device=model.device).expand(1, 1, -1), len(visual)
    known = inspect.signature(rope).parameters
    given = {"input_ids": visual.ids, **visual.kinds}
    longer = {key: torch.cat([value, value.new_zeros(1)])[None] for key, value in given.items()} | dict(visual.pixels)
    positions, _ = rope(**{key: value.to(model.device) for key, value in longer.items() if key in known})
    return positions[..., :-1], int(positions[0, 0, -1])


def core(model: Any) -> Any:
    """The model below the language head, where it is a module of its own."""
    return getattr(model, "model", model)


def pad(rows: Sequence[Tensor], side: Side, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of different length side by side, zeros where padded, and int64 (B, longest) that is 1 where real."""
    longest = max(map(len, rows))
    values = torch.zeros(len(rows), longest, dtype=rows[0].dtype)
    real = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        part = slice(longest - len(row), longest) if side == "left" else slice(0, len(row))
        values[i, part], real[i, part] = row.cpu(), 1
    return values.to(device), real.to(device)


def _whole_positions(model: Any, visual: Visual, length: int) -> Tensor:
    """(axes, P + length) of one prompt."""
    positions, following = place_visual(model, visual)
    tail = torch.arange(following, following + length, device=positions.device)
    return torch.cat([positions[:, 0], tail.expand(len(positions), -1)], dim=1)


def given_positions(model: Any, positions: Tensor) -> dict[str, Tensor]:
    """As the model takes them: (B, n), or (3, B, n) where positions have three axes."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": positions[0] if len(positions) == 1 else positions}


def asked_places(model: Any, keep: Tensor) -> dict[str, Tensor]:
    """Ask for the logits of these places only, where a model can be asked."""
    return {"logits_to_keep": keep} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def _kept(model: Any, logits: Tensor, ends: Tensor, rows: Tensor) -> Tensor:
    """(B, V): each prompt's logits at its last real token."""
    column = rows if asked_places(model, ends) else ends
    return logits[torch.arange(len(logits), device=logits.device), column.to(logits.device)]


def _ends(real: Tensor) -> Tensor:
    """(B,) place of each row's last real token."""
    return (real * torch.arange(1, real.shape[1] + 1, device=real.device)).argmax(dim=1)


def joined_pixels(model: Any, visuals: Sequence[Visual]) -> dict[str, Tensor]:
    """Tensors of all frames, joined along their first axis; floats in the model's type."""
    joined: dict[str, Tensor] = {}
    for key in visuals[0].pixels:
        parts = [visual.pixels[key] for visual in visuals]
        if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            shapes = sorted({tuple(part.shape) for part in parts})
            raise ModelError(f"videos of unequal frames cannot share a batch ({key}: {shapes}); use a batch of one")
        value = torch.cat(parts).to(model.device)
        joined[key] = value.to(model.dtype) if value.is_floating_point() and _is_picture(key) else value
    return joined


def _is_picture(key: str) -> bool:
    return key.startswith("pixel_values")


def _repeated(cache: Any, count: int) -> Any:
    """Keys and values for `count` rows; the given cache stays as it is."""
    mine = copy.copy(cache)
    mine.layers = [copy.copy(layer) for layer in cache.layers]
    mine.batch_repeat_interleave(count)
    return mine
