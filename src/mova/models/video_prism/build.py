"""Build a VideoPrism model from a recipe, and say what the family does not support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from mova.data.batch import InputAdapter, StoredVectorInputs
from mova.errors import UsageError
from mova.models.two_tower.inputs import TwoTowerInputs
from mova.models.video_prism.model import VideoPrism


@dataclass(frozen=True)
class VideoPrismBuild:
    """Settings of model kind `video-prism`."""

    source: str
    """A checkpoint: a name on the Hub or a folder."""

    def build(self) -> VideoPrism:
        """Read the checkpoint in float32 on the CPU."""
        return VideoPrism.from_checkpoint(self.source, precision="fp32", device="cpu")


def input_adapter(model: VideoPrism, stored: bool) -> InputAdapter:
    """Return the adapter of texts beside stored vectors of windows.

    Raises:
        UsageError: pixels are read: recipes read single frames.
    """
    if not stored:
        raise UsageError(
            f"{model.name}: encodes windows of {model.window.frames} frames, and training on pairs reads single "
            "frames; store its vectors with `mova data features`, and train its texts on them with --data.features"
        )
    return StoredVectorInputs(TwoTowerInputs(model.image_rule, model.text_rule, model.tokenizer))


def refuse_maps(model: VideoPrism) -> NoReturn:
    """Raise: maps explain the vectors of single frames.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{model.name}: a vector sees {model.window.frames} frames, so there are no maps of single frames; "
        "use the method subsets"
    )
