"""Put the long-text encoder of a model in place of the text encoder of a diffusers pipeline (MoVA, Figs. 5 and 8).

CLIP text encoders read 77 tokens, and pipelines cut the rest of a prompt. The text tower of a MoVA reads 248. It takes
the place of a CLIP text encoder of the same width as it is. To other widths, and to T5 encoders, a linear map is fitted
(`mova.text_to_video.projection`). The pipeline then works as before: prompts, negative prompts, guidance, saving.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from mova.errors import ModelError, UsageError
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import set_positions
from mova.models.encoder import DualEncoder
from mova.models.precision import hash_weights
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import stretch_positions
from mova.text_to_video.projected_encoder import ProjectedTextEncoder
from mova.text_to_video.projection import Fit, Reader, fit_projection

SLOTS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
"""Text encoders of a pipeline, with their tokenizers."""
CLIP_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
T5_ENCODERS = ("T5EncoderModel", "UMT5EncoderModel")
PENULTIMATE = -2
"""Layer whose states pipelines with two CLIP text encoders use (Stable Diffusion XL)."""
LEAST_LENGTH = 3
"""Tokens of the shortest prompt: a special token at each end and one word."""
T5_LENGTH = 226
"""Tokens per text when a map to a T5 encoder is fitted."""


@dataclass(frozen=True, eq=False)
class TextGuide:
    """A model whose text encoder takes the place of a pipeline's.

    Attributes:
        model: a `TwoTower` of CLIP, or a model around one (MoVA).
        length: tokens per prompt, special tokens included; more than the model's own stretches its position table.
            Default: the model's own.
        texts: texts on which a map between widths is fitted, if one is needed. Default: mova's background captions.

    >>> import mova
    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> TextGuide(mova.load(write_tiny_clip("tiny-clip", ["a dog runs"])), length=248).length
    248
    """

    model: DualEncoder
    length: int | None = None
    texts: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Guided:
    """What `guide` changed in a pipeline.

    Attributes:
        component: name of the text encoder that was replaced.
        model: name of the model.
        length: tokens per prompt, special tokens included.
        layers: number of layers of the text tower that are used.
        fit: the map between widths; None if none was needed.
        stretched: names of other text encoders, whose position tables were stretched to `length`.
        fingerprint: hash of the weights of the new text encoder.

    >>> Guided("text_encoder", "runs/mova", 248, 12, None, (), "e1f2").identity()
    {'component': 'text_encoder', 'weights': 'e1f2', 'length': 248}
    """

    component: str
    model: str
    length: int
    layers: int
    fit: Fit | None
    stretched: tuple[str, ...]
    fingerprint: str

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the states of prompts, as JSON."""
        own = {"component": self.component, "weights": self.fingerprint, "length": self.length}
        return {**own, "stretched": list(self.stretched)} if self.stretched else own


def guide(pipeline: Any, model: DualEncoder, *, length: int | None = None, texts: Sequence[str] = ()) -> Guided:
    """Replace the text encoder and the tokenizer of a pipeline, in place.

    The pipeline gets a copy of the model's text tower, in the type and on the device of the encoder that it replaces.
    If the replaced encoder has fewer layers at the same width (Stable Diffusion 2), the last layers are left out. A
    pipeline with two CLIP text encoders keeps the other one, with its position table stretched.

    Args:
        pipeline: a diffusers pipeline with a CLIP or T5 text encoder. Call this before `enable_model_cpu_offload` and
            before adapters of the text encoder are loaded.
        model, length, texts: see `TextGuide`.

    Raises:
        ModelError: the pipeline has no such text encoder, or the model has no CLIP text tower.
        UsageError: `length` is too small, or there are too few texts to fit a map.

    >>> import mova
    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> model = mova.load(write_tiny_clip("tiny-clip", ["a dog runs"]))  # random weights
    >>> pipeline = PromptEncoder(text_side(model).towers[1], text_side(model).tokenizer)
    >>> guide(pipeline, model, length=248).length, pipeline.encode(["a dog runs"]).shape
    (248, torch.Size([1, 248, 32]))
    """
    kinds = {slot: type(getattr(pipeline, slot, None)).__name__ for slot in SLOTS}
    require_replaceable(kinds, type(pipeline).__name__)
    source = text_side(model)
    tower = _tower(source, length)
    limit = int(tower.config.max_position_embeddings)
    slot = _slot(pipeline, kinds, source)
    stock, tokenizer = getattr(pipeline, slot), getattr(pipeline, SLOTS[slot])
    encoder, fit = tower, None
    if kinds[slot] in T5_ENCODERS or stock.config.hidden_size != tower.config.hidden_size:
        layer = PENULTIMATE if kinds["text_encoder_2"] in CLIP_ENCODERS else None
        reader = Reader(tower, source.tokenizer, limit, layer)
        fit = fit_projection(reader, _target(stock, tokenizer, layer), texts or background_sentences())
        encoder = ProjectedTextEncoder.of(tower, fit.projection)
    else:
        _drop_layers(tower, stock.config.num_hidden_layers)
        if kinds[slot] == "CLIPTextModelWithProjection":
            encoder = _with_projection(tower, source.backbone.text_projection)
    fingerprint = hash_weights(dict(encoder.state_dict()))
    same = tokenizer.get_vocab() == source.tokenizer.get_vocab()
    tokenizer = copy.deepcopy(tokenizer if same else source.tokenizer)
    tokenizer.model_max_length = limit
    encoder = encoder.to(device=stock.device, dtype=stock.dtype).eval().requires_grad_(False)
    pipeline.register_modules(**{slot: encoder, SLOTS[slot]: tokenizer})
    others = tuple(name for name in SLOTS if name != slot and kinds[name] in CLIP_ENCODERS)
    for name in others:
        _stretch(pipeline, name, limit)
    layers = int(tower.config.num_hidden_layers)
    return Guided(slot, model.name, limit, layers, fit, others, fingerprint)


def require_replaceable(kinds: Mapping[str, str], name: str) -> None:
    """Raise unless a pipeline has a text encoder that can be replaced.

    Args:
        kinds: class of each component, by its name.
        name: the pipeline, for messages.

    Raises:
        ModelError: it has none, or one of another kind.

    Example:
        >>> require_replaceable({"text_encoder": "CLIPTextModel"}, "AnimateDiffPipeline")
    """
    found = {slot: kinds[slot] for slot in SLOTS if kinds.get(slot, "NoneType") != "NoneType"}
    if not found:
        raise ModelError(f"{name}: has no text encoder, so none can be replaced")
    only_clip = all(kind in CLIP_ENCODERS for kind in found.values())
    if not only_clip and not (len(found) == 1 and found.get("text_encoder") in T5_ENCODERS):
        listed = " and ".join(f"{slot} is a {kind}" for slot, kind in found.items())
        raise ModelError(
            f"{name}: its {listed}; only pipelines with CLIP text encoders ({', '.join(CLIP_ENCODERS)}) or a single "
            f"T5 encoder ({', '.join(T5_ENCODERS)}) can be guided"
        )


def text_side(model: DualEncoder) -> TwoTower:
    """Return the two-tower model whose text tower a model uses.

    Raises:
        ModelError: its text tower is not CLIP's.

    Example:
        >>> import mova
        >>> from mova.models.tiny_checkpoint import write_tiny_clip
        >>> text_side(mova.load(write_tiny_clip("tiny-clip", ["a dog runs"]))).text_length
        77
    """
    inner = model if isinstance(model, TwoTower) else getattr(model, "backbone", None)
    if not isinstance(inner, TwoTower) or not isinstance(inner.towers[1], CLIPTextModel):
        raise ModelError(
            f"{model.name}: has no CLIP text tower, so it cannot take the place of a pipeline's text encoder; use a "
            "CLIP checkpoint, or a MoVA trained around one"
        )
    return inner


def _tower(source: TwoTower, length: int | None) -> CLIPTextModel:
    """Return a copy of the text tower that reads `length` tokens, on the CPU in float32."""
    if length is not None and length < LEAST_LENGTH:
        raise UsageError(f"text length {length}: a prompt needs at least {LEAST_LENGTH} tokens")
    tower: CLIPTextModel = copy.deepcopy(source.towers[1]).to("cpu", torch.float32).eval()
    _resize_positions(tower, length or source.text_length or tower.config.max_position_embeddings)
    return tower


def _resize_positions(tower: Any, length: int) -> None:
    """Cut or stretch the position table of a text tower to `length`."""
    table = tower.embeddings.position_embedding.weight.detach()
    set_positions(tower.embeddings, stretch_positions(table, length) if length > len(table) else table[:length].clone())
    tower.config.max_position_embeddings = length


def _drop_layers(tower: CLIPTextModel, count: int) -> None:
    """Leave out the last layers, as pipelines do that use an earlier layer of the same encoder."""
    if tower.config.num_hidden_layers > count:
        tower.encoder.layers = tower.encoder.layers[:count]
        tower.config.num_hidden_layers = count


def _with_projection(tower: CLIPTextModel, projection: nn.Linear) -> CLIPTextModelWithProjection:
    """Return the tower with the model's own projection of the pooled state."""
    config = copy.deepcopy(tower.config)
    config.projection_dim = projection.out_features
    encoder = CLIPTextModelWithProjection(config)
    encoder.text_model = tower
    encoder.text_projection = copy.deepcopy(projection).to("cpu", torch.float32)
    return encoder.eval()


def _slot(pipeline: Any, kinds: Mapping[str, str], source: TwoTower) -> str:
    """Return the text encoder to replace: the first that the text tower fits as it is, else the first of all."""
    width = source.dense_widths[1]
    for slot, kind in kinds.items():
        if kind not in CLIP_ENCODERS or getattr(pipeline, slot).config.hidden_size != width:
            continue
        if kind == "CLIPTextModel" or getattr(pipeline, slot).config.projection_dim == source.embedding_dim:
            return slot
    first = next(slot for slot, kind in kinds.items() if kind in (*CLIP_ENCODERS, *T5_ENCODERS))
    if kinds[first] == "CLIPTextModelWithProjection":
        raise ModelError(
            f"{type(pipeline).__name__}: uses pooled text vectors of another width than the model's; no map is fitted "
            "to these"
        )
    return first


def _target(stock: Any, tokenizer: Any, layer: int | None) -> Reader:
    """Return the encoder to replace as a reader, in its own precision, but never in float16, which overflows."""
    masked = type(stock).__name__ in T5_ENCODERS
    limit = T5_LENGTH if masked else int(stock.config.max_position_embeddings)
    exact = copy.deepcopy(stock).float() if stock.dtype == torch.float16 else stock
    return Reader(exact, tokenizer, min(limit, int(tokenizer.model_max_length)), layer, masked)


def _stretch(pipeline: Any, slot: str, length: int) -> None:
    """Let another CLIP text encoder of a pipeline read `length` tokens."""
    encoder, tokenizer = (copy.deepcopy(getattr(pipeline, name)) for name in (slot, SLOTS[slot]))
    _resize_positions(getattr(encoder, "text_model", encoder), length)
    encoder.config.max_position_embeddings = length
    tokenizer.model_max_length = length
    pipeline.register_modules(**{slot: encoder, SLOTS[slot]: tokenizer})


class PromptEncoder(nn.Module):
    """Text encoder and tokenizer of a generator outside diffusers: texts to states (N, L, D).

    `guide` takes it like a pipeline. It has the interface of text encoders in the latent diffusion code base (`encode`
    of a list of texts), so it can be the `cond_stage_model` of VideoCrafter2.

    Args:
        text_encoder: a CLIP text encoder of transformers.
        tokenizer: its tokenizer; `model_max_length` is L.

    >>> import mova
    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> source = text_side(mova.load(write_tiny_clip("tiny-clip", ["a dog runs"])))
    >>> PromptEncoder(source.towers[1], source.tokenizer).encode(["a dog runs", "a dog"]).shape
    torch.Size([2, 77, 32])
    """

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        super().__init__()
        self.text_encoder, self.tokenizer = text_encoder, tokenizer

    def register_modules(self, **parts: Any) -> None:
        """Replace text encoder or tokenizer, as pipelines of diffusers do."""
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, texts: str | Sequence[str]) -> Tensor:
        """Encode texts, padded and cut to L tokens."""
        rows = [texts] if isinstance(texts, str) else list(texts)
        length = self.tokenizer.model_max_length
        batch = self.tokenizer(rows, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        states: Tensor = self.text_encoder(batch["input_ids"].to(self.text_encoder.device)).last_hidden_state
        return states

    def encode(self, texts: str | Sequence[str]) -> Tensor:
        """See `forward`."""
        states: Tensor = self(texts)
        return states
