"""Fingerprints of a two-tower model: hashes of all that its vectors depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mova.models.encoder import VideoFingerprint
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.text_processor import TextRule

PROBE = "A dog, 2 cats & the Émigré's tea.\nThen: it rains!"
"""Its tokens represent the tokenizer in a fingerprint."""
DECIDING_SETTINGS = (
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
    "num_hidden_layers",
    "patch_size",
    "image_size",
    "eos_token_id",
)
"""Settings of a tower that change its vectors and are not visible in the weights."""
OTHER_SETTINGS = ("rms_norm_eps", "use_head", "is_native", "attn_logit_softcapping", "apply_l2norm", "tubelet_size")
"""Such settings that only some architectures have (AIMv2, VideoPrism); the others keep their fingerprints."""
NOT_VIDEO = ("text_", "logit_")
"""Name prefixes of weights that change no frame vector, in every architecture of transformers."""


def hash_towers(
    weights: Mapping[str, bytes],
    backbone: Mapping[str, Any],
    image_rule: ImageRule,
    text_rule: TextRule,
    tokens: Sequence[Sequence[int]],
) -> tuple[str, VideoFingerprint]:
    """Return the fingerprint of a whole model, and of its image tower and preprocessing alone.

    Args:
        weights: hash of every tensor, by name.
        backbone: the configuration of the transformers model inside.
        image_rule, text_rule: preprocessing of the model.
        tokens: its tokens of `PROBE`.
    """
    towers = [backbone.get(tower) or {} for tower in ("vision_config", "text_config")]
    settings = [
        [tower.get(key) for key in DECIDING_SETTINGS] + [tower[key] for key in OTHER_SETTINGS if key in tower]
        for tower in towers
    ]
    digest = hashlib.sha256(repr((settings, image_rule, text_rule, tokens)).encode())
    digest.update(hashlib.sha256(b"".join(weights.values())).hexdigest().encode())
    video = hashlib.sha256(repr(settings[0]).encode())
    video.update(b"".join(part for name, part in weights.items() if not name.startswith(NOT_VIDEO)))
    image = hashlib.sha256(repr(image_rule).encode())
    return digest.hexdigest()[:32], VideoFingerprint(video.hexdigest()[:32], image.hexdigest()[:32])
