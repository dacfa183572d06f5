"""Score many texts about one video: the keys and values of the frames are computed once and shared.

A video has hundreds or thousands of tokens, a question about it some tens. The frames come first in every prompt, so
their keys and values do not depend on the question: they are computed once (`prefill`), and every text only adds its
own tail (`answer_shared`). `answer_whole` runs whole prompts, which training needs; both return the same logits.
Positions are always passed explicitly, so neither padding nor masked tokens of a description shift any.

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

CACHE = "cache"
"""Name of keys and values in the arguments and results of transformers."""
Side = Literal["left", "right"]
Read = Callable[[Tensor], Tensor]
"""Next-token logits (B, V) -> the part to keep, (B, ...)."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the frames, and the position of the next token.

    Attributes:
        cache: a cache of transformers with one row.
        length: P.
        next_position: position of the first token after it; less than P if a frame's tokens share positions (Qwen-VL).
        axes: 3 if positions are (time, height, width), else 1.
    """

    cache: Any
    length: int
    next_position: int
    axes: int


@torch.inference_mode()
def prefill(model: Any, visual: Visual) -> Prefix | None:
    """Run the frames through the model once; None if it keeps more than keys and values (linear attention)."""
    device, positions, following = model.device, *visual_positions(model, visual)
    inputs = {key: value[None].to(device) for key, value in visual.kinds.items()}
    inputs |= joined_pixels(model, [visual])
    ids = visual.ids[None].to(device)
    out = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **position_options(model, positions),
        **inputs,
        **logits_options(model, torch.tensor([len(visual) - 1], device=device)),
        use_cache=True,
    )
    cache = out[CACHE if CACHE in out else "past_key_values"]
    if not all(isinstance(layer, DynamicLayer) for layer in getattr(cache, "layers", [None])):
        return None
    return Prefix(cache, len(visual), following, len(positions))


@torch.inference_mode()
def answer_shared(
    model: Any, prefix: Prefix, tails: Sequence[Tail], read: Read, *, batch: int = 16, side: Side = "left"
) -> Tensor:
    """Apply `read` to the next-token logits of every tail behind one prefix.

    Args:
        model: a video LLM of transformers.
        prefix: from `prefill`.
        tails: one per text.
        read: applied batch by batch, so that N rows of logits are never held at once.
        batch: texts per batch; the prefix's keys and values are repeated as often.
        side: side on which shorter tails are padded.
    """
    device = model.device
    answers = []
    for first in range(0, len(tails), batch):
        chunk = tails[first : first + batch]
        ids, real = pad([tail.ids for tail in chunk], side, device)
        attention_mask = torch.cat(
            [torch.ones(len(chunk), prefix.length, dtype=torch.long, device=device), real], dim=1
        )
        positions = (real.cumsum(1) - 1 + prefix.next_position) * real
        ends = _ends(real)
        keep, rows = ends.unique(return_inverse=True)
        out = model(
            input_ids=ids,
            attention_mask=attention_mask,
            **position_options(model, positions.expand(prefix.axes, -1, -1)),
            **logits_options(model, keep),
            **cache_options(model, _repeated(prefix.cache, len(chunk))),
            use_cache=True,
        )
        answers.append(read(_read_logits(model, out.logits, ends, rows)))
    return torch.cat(answers)


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
    """Apply `read` to the next-token logits of whole prompts, one visual and one tail each, with gradients if enabled.

    Args:
        model: a video LLM of transformers.
        visuals, tails: B each. Architectures of whole frames need equal frames in a batch.
        read: applied to the logits (B, V).
        keep: for each tail None, or bool (tokens of its description,): false where a token is hidden from attention.
            All tokens keep their positions (SynViTA, Eq. 6).
        side: side on which shorter prompts are padded.
        run: called instead of the model, if something wraps it.

    Raises:
        ModelError: the frames of these videos do not fit into one batch.
    """
    device = model.device
    pairs = list(zip(visuals, tails, strict=True))
    prompts = [torch.cat([visual.ids, tail.ids]) for visual, tail in pairs]
    ids, real = pad(prompts, side, device)
    rows_of = [_whole_positions(model, visual, len(tail)) for visual, tail in pairs]
    positions = torch.stack([pad([row[axis] for row in rows_of], side, device)[0] for axis in range(len(rows_of[0]))])
    attention_mask = real.clone()
    for row, mask in enumerate(keep or []):
        if mask is not None:
            start = (ids.shape[1] - len(prompts[row]) if side == "left" else 0) + len(visuals[row])
            part = tails[row].description
            attention_mask[row, start + part.start : start + part.stop] *= mask.to(device).long()
    kinds = {
        key: pad([torch.cat([v.kinds[key], torch.zeros_like(t.ids)]) for v, t in pairs], side, device)[0]
        for key in visuals[0].kinds
    }
    ends = _ends(real)
    read_positions, rows = ends.unique(return_inverse=True)
    out = (run or model)(
        input_ids=ids,
        attention_mask=attention_mask,
        **position_options(model, positions),
        **kinds,
        **joined_pixels(model, visuals),
        **logits_options(model, read_positions),
        use_cache=False,
    )
    return read(_read_logits(model, out.logits, ends, rows))


def visual_positions(model: Any, visual: Visual) -> tuple[Tensor, int]:
    """Return the positions (axes, 1, P) of a visual's tokens, and the position of the token after them.

    If an architecture spreads frames over three axes, the latter is not the largest position plus one (Qwen2.5-VL's
    times run ahead of its text), so it is found by appending a text token to the visual.
    """
    rope = getattr(core(model), "get_rope_index", None)
    if rope is None:
        return torch.arange(len(visual), device=model.device).expand(1, 1, -1), len(visual)
    known = inspect.signature(rope).parameters
    inputs = {"input_ids": visual.ids, **visual.kinds}
    longer = {key: torch.cat([value, value.new_zeros(1)])[None] for key, value in inputs.items()} | dict(visual.pixels)
    positions, _ = rope(**{key: value.to(model.device) for key, value in longer.items() if key in known})
    return positions[..., :-1], int(positions[0, 0, -1])


def core(model: Any) -> Any:
    """Return the model below the language head, if it is a module of its own."""
    return getattr(model, "model", model)


def pad(rows: Sequence[Tensor], side: Side, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad rows of different length with zeros; also return int64 (B, longest), 1 where real.

    >>> pad([torch.tensor([7, 8]), torch.tensor([9])], "left", torch.device("cpu"))[0].tolist()
    [[7, 8], [0, 9]]
    """
    longest = max(map(len, rows))
    values = torch.zeros(len(rows), longest, dtype=rows[0].dtype)
    real = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        part = slice(longest - len(row), longest) if side == "left" else slice(0, len(row))
        values[i, part], real[i, part] = row.cpu(), 1
    return values.to(device), real.to(device)


def _whole_positions(model: Any, visual: Visual, length: int) -> Tensor:
    """Return the positions (axes, P + length) of one prompt."""
    positions, following = visual_positions(model, visual)
    tail = torch.arange(following, following + length, device=positions.device)
    return torch.cat([positions[:, 0], tail.expand(len(positions), -1)], dim=1)


def position_options(model: Any, positions: Tensor) -> dict[str, Tensor]:
    """Return the model's argument for positions: (B, n), or (3, B, n) if they have three axes."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    return {"position_ids": positions[0] if len(positions) == 1 else positions}


def logits_options(model: Any, keep: Tensor) -> dict[str, Tensor]:
    """Return the argument that restricts logits to these positions, if the model has one."""
    return {"logits_to_keep": keep} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def cache_options(model: Any, cache: Any) -> dict[str, Any]:
    """Return the model's argument for keys and values; earlier versions of transformers have another name."""
    return {CACHE if CACHE in inspect.signature(model.forward).parameters else "past_key_values": cache}


def _read_logits(model: Any, logits: Tensor, ends: Tensor, rows: Tensor) -> Tensor:
    """Return each prompt's logits at its last real token, (B, V)."""
    column = rows if logits_options(model, ends) else ends
    return logits[torch.arange(len(logits), device=logits.device), column.to(logits.device)]


def _ends(real: Tensor) -> Tensor:
    """Return the index of each row's last real token, (B,)."""
    return (real * torch.arange(1, real.shape[1] + 1, device=real.device)).argmax(dim=1)


def joined_pixels(model: Any, visuals: Sequence[Visual]) -> dict[str, Tensor]:
    """Join the tensors of all frames along their first axis; floats get the model's type."""
    joined: dict[str, Tensor] = {}
    for key in visuals[0].pixels:
        parts = [visual.pixels[key] for visual in visuals]
        if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            shapes = sorted({tuple(part.shape) for part in parts})
            raise ModelError(
                f"videos with different numbers of frames cannot share a batch ({key}: {shapes}); use batches of one"
            )
        value = torch.cat(parts).to(model.device)
        joined[key] = value.to(model.dtype) if value.is_floating_point() and _is_picture(key) else value
    return joined


def _is_picture(key: str) -> bool:
    return key.startswith("pixel_values")


def _repeated(cache: Any, count: int) -> Any:
    """Repeat keys and values for `count` rows, without changing the given cache."""
    repeated = copy.copy(cache)
    repeated.layers = [copy.copy(layer) for layer in cache.layers]
    repeated.batch_repeat_interleave(count)
    return repeated
