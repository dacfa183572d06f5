"""Convert weights of CLIP's first release to a checkpoint in the Hub's layout, which every command takes.

Names and shapes are those of https://github.com/openai/CLIP (`clip/model.py`). open_clip kept them for its own vision
transformers; CLIP4Clip keeps them below `clip.`, beside its temporal head, which is left out.

Shape legend: P positions, D width of a tower, d shared width.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from mova.errors import ModelError, UsageError
from mova.models.checkpoint import quiet_transformers
from mova.models.original_clip.archive import read_weights
from mova.models.original_clip.tokenizer import read_tokenizer

logger = logging.getLogger(__name__)

Activation = Literal["auto", "quick_gelu", "gelu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
HEAD_WIDTH = 64
"""Width of an attention head of OpenAI's models."""
VISION_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}
"""Width of open_clip's large image towers (ViT-H, g, G) -> width of their heads."""
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_PREFIXES = ("module.", "clip.", "model.")
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_FIRST_BIAS = "transformer.resblocks.0.mlp.c_fc.bias"
_NEEDED = (*_PLAIN, "text_projection", "visual.proj", _FIRST_BIAS, f"visual.{_FIRST_BIAS}")
_RESBLOCK = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        folder: the checkpoint.
        activation: of both towers.
        left_out: names of weights that are not part of the two towers.
    """

    folder: Path
    activation: str
    left_out: tuple[str, ...]


def convert(path: str | Path, folder: str | Path, tokenizer: str | Path, activation: Activation = "auto") -> Converted:
    """Write a checkpoint of CLIP's first layout as a folder in the Hub's layout.

    Args:
        path: OpenAI's `ViT-*.pt`, CLIP4Clip's `pytorch_model.bin.N`, or weights of open_clip's vision transformers.
        folder: for the checkpoint; it must not exist, or be empty.
        tokenizer: folder or Hub name of a checkpoint with CLIP's tokenizer, or `bpe_simple_vocab_16e6.txt.gz`.
        activation: "quick_gelu" for OpenAI's weights and what was trained from them, "gelu" for most of open_clip.
            "auto": "quick_gelu" for TorchScript archives and CLIP4Clip's files, else "gelu", with a message.

    Raises:
        UsageError: the folder is not empty.
        ModelError: a damaged file, other weights than those of CLIP's transformers, or a tokenizer of another size.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder; name a new one")
    weights, scripted = read_weights(path)
    original, left_out = towers_of(weights, str(path))
    chosen = activation
    if activation == "auto":
        chosen = "quick_gelu" if scripted or any(name.startswith("clip.") for name in weights) else "gelu"
        logger.warning("%s: the activation is taken to be %s; --activation sets it", path, chosen)
    words = read_tokenizer(tokenizer, rows=len(original["token_embedding.weight"]))
    config = settings_of(original, words, chosen)
    renamed = to_hub_names(original)
    with quiet_transformers():
        model = CLIPModel(config)
        try:
            model.load_state_dict({name: value.float() for name, value in renamed.items()})
        except RuntimeError as error:
            raise ModelError(f"{path}: its weights are not those of CLIP's transformers ({error})") from error
        model.save_pretrained(folder)
    words.save_pretrained(folder)
    size = config.vision_config.image_size
    (folder / "preprocessor_config.json").write_text(json.dumps(image_settings_of(size), indent=2), encoding="utf-8")
    return Converted(folder, chosen, left_out)


def towers_of(weights: Mapping[str, Tensor], name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights of both towers by their first names, and the names of all other weights.

    Args:
        weights: of a checkpoint file; names may have prefixes of a wrapper.
        name: of the file, for messages.

    Raises:
        ModelError: these are not CLIP's transformers.
    """
    bare = {_bare(key): (key, value) for key, value in weights.items()}
    if any(key.startswith(("visual.layer1.", "visual.attnpool.")) for key in bare):
        raise ModelError(f"{name}: its image tower is a ResNet; only CLIP's vision transformers can be converted")
    absent = [key for key in _NEEDED if key not in bare]
    if absent:
        raise ModelError(
            f"{name}: {len(absent)} of the weights of CLIP's transformers are missing, such as {absent[0]}; "
            "checkpoints in the Hub's layout need no conversion"
        )
    chosen = {key: value for key, (_, value) in bare.items() if key in _NEEDED or _RESBLOCK.match(key)}
    rest = sorted(full for key, (full, value) in bare.items() if key not in chosen and value.dim() > 0)
    return chosen, tuple(rest)


def _bare(name: str) -> str:
    """Return a name without the prefixes of wrappers; `text.` is open_clip's for its text tower."""
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name.removeprefix("text.") if name.startswith("text.") else name


def settings_of(weights: Mapping[str, Tensor], tokenizer: Any, activation: str) -> CLIPConfig:
    """Return the configuration that the shapes of weights imply."""
    positions, width = weights["positional_embedding"].shape
    patches, vision_width = weights["visual.positional_embedding"].shape
    patch = weights["visual.conv1.weight"].shape[-1]
    text = {
        "vocab_size": len(weights["token_embedding.weight"]),
        "hidden_size": width,
        "intermediate_size": len(weights[_FIRST_BIAS]),
        "num_hidden_layers": _layers(weights, "transformer."),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": positions,
        "hidden_act": activation,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": vision_width,
        "intermediate_size": len(weights[f"visual.{_FIRST_BIAS}"]),
        "num_hidden_layers": _layers(weights, "visual.transformer."),
        "num_attention_heads": max(1, vision_width // VISION_HEAD_WIDTHS.get(vision_width, HEAD_WIDTH)),
        "image_size": math.isqrt(patches - 1) * patch,
        "patch_size": patch,
        "hidden_act": activation,
    }
    shared = weights["text_projection"].shape[1]
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=shared)


def _layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[1] for name in weights if name.startswith(f"{prefix}resblocks.")})


def to_hub_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape the weights of both towers: projections are transposed, query, key and value separate."""
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name in _PLAIN:
            renamed[_PLAIN[name]] = value
        elif name == "text_projection":
            renamed["text_projection.weight"] = value.T.contiguous()
        elif name == "visual.proj":
            renamed["visual_projection.weight"] = value.T.contiguous()
        elif block := _RESBLOCK.match(name):
            visual, layer, inner = block.groups()
            root = f"{'vision' if visual else 'text'}_model.encoder.layers.{layer}."
            renamed.update({root + new: part for new, part in _block_parts(inner, value)})
    return renamed


def _block_parts(inner: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Return the new names of a weight of a block, and its parts."""
    module, _, kind = inner.rpartition(".")
    if module == "attn" and kind.startswith("in_proj_"):
        kinds = kind.removeprefix("in_proj_")
        parts = value.chunk(3)
        return [(f"self_attn.{p}_proj.{kinds}", part.clone()) for p, part in zip("qkv", parts, strict=True)]
    return [(f"{_BLOCK.get(module, module)}.{kind}", value)]


def image_settings_of(size: int) -> dict[str, Any]:
    """Return CLIP's image preprocessing for a side of `size` pixels, as `preprocessor_config.json` has it."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
