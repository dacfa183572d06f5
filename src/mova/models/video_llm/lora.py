"""Low-rank adapters (LoRA, Hu et al. 2021) on the attention of a video LLM's language model, by PEFT.

SynViTA (Zanella et al. 2025) trains rank 32, alpha 32, dropout 0.05 on the language model's attention projections; the
vision tower, the projector and the embeddings stay frozen. Names alone do not distinguish them (`q_proj` is also in
most vision towers), so the projections are searched inside the decoder that the model itself names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from mova.errors import ModelError, UsageError, refuse_code
from mova.models.hub import read_json

ATTENTION = ("self_attn", "self_attention", "attention", "attn")
"""Names of the module with the projections, in different architectures."""


def attention_targets(model: Any) -> str:
    """Return a pattern that matches the full names of exactly the language model's attention projections.

    Raises:
        ModelError: the model names no decoder, or its attention has no linear projections.
    """
    decoder = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is decoder), None)
    if not prefix:
        raise ModelError(f"{type(model).__name__}: does not name its language model, so adapters cannot be added")
    inside = re.compile(rf"{re.escape(prefix)}\.(?:.+\.)?(?:{'|'.join(ATTENTION)})\.(?P<leaf>[^.]+)")
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    matches = (inside.fullmatch(name) for name in linear)
    leaves = sorted({match["leaf"] for match in matches if match})
    if not leaves:
        raise ModelError(f"{type(model).__name__}: no attention projections found in {prefix}")
    return rf"{re.escape(prefix)}\.(?:.+\.)?(?:{'|'.join(ATTENTION)})\.(?:{'|'.join(map(re.escape, leaves))})"


def attach_lora(model: Any, rank: int = 32, alpha: int = 32, dropout: float = 0.05) -> Any:
    """Put adapters into a video LLM of transformers, in place. Afterwards only they are trainable.

    Args:
        model: a model without adapters; its weights may be quantized.
        rank, alpha, dropout: settings of every adapter; alpha / rank scales its output.

    Returns:
        PEFT's wrapper, for saving and counting. The passed model itself now runs with the adapters, which have no
        effect until they are trained.

    Raises:
        ModelError: PEFT is not installed, or the model has no such projections.
        UsageError: an impossible number, or the model already has adapters.
    """
    peft = _peft()
    if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise UsageError(f"LoRA needs rank >= 1, alpha > 0 and 0 <= dropout < 1, not {rank}, {alpha}, {dropout}")
    _refuse_second(model)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=attention_targets(model), task_type="CAUSAL_LM"
    )
    if getattr(model, "is_quantized", False):
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return peft.get_peft_model(model, config)


def load_lora(model: Any, folder: str | Path, *, trainable: bool = False) -> Any:
    """Put saved adapters into the model they were trained on, in place; return PEFT's wrapper.

    Raises:
        ModelError: PEFT is not installed, the folder has no adapters, or they belong to another architecture.
        UsageError: the model already has adapters.
    """
    peft = _peft()
    if not is_adapter(folder):
        raise ModelError(f"{folder}: has no adapter_config.json, so it is not a folder of PEFT adapters")
    _refuse_second(model)
    try:
        with refuse_code(folder):
            return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder}: its adapters do not fit {type(model).__name__} ({error})") from error


def is_adapter(folder: str | Path) -> bool:
    """Return whether a folder holds PEFT's adapters."""
    return (Path(folder) / "adapter_config.json").is_file()


def base_of(adapters: Path) -> str:
    """Return the name of the model that a folder of adapters was trained on.

    Raises:
        ModelError: it names none.
    """
    base = read_json(adapters / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{adapters}: its adapter_config.json names no base model; load that and use load_adapters")
    return str(base)


def _refuse_second(model: Any) -> None:
    if getattr(model, "peft_config", None):
        raise UsageError("the model already has adapters; load it again without them, or save and load those")


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ModelError("adapters need PEFT, which is not installed; pip install 'mova[vla]'") from error
    return peft
