"""A generator of videos without a model, and rows whose captions it shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from mova.data.manifest import Caption, Row

ROWS = [
    Row(
        "v1/action",
        "a.mp4",
        3.0,
        "train",
        (Caption("a man runs"),),
        meta={"negatives": [{"text": "a man sits", "misalignment": "action"}], "of": "v1"},
    ),
    Row(
        "v2", "b.mp4", None, "train", (Caption("a dog"), Caption("a red dog")), meta={"negatives": [{"text": "a cat"}]}
    ),
]


class Plain:
    """A generator without a model: every prompt and seed has its own colours."""

    fps = 4.0

    def __init__(self, name: str = "plain") -> None:
        self.name = name
        self.identity = {"revision": name}
        self.asked: list[str] = []

    def render(self, prompt: str, seed: int) -> np.ndarray[Any, Any]:
        self.asked.append(prompt)
        if "dog" in prompt:
            raise RuntimeError("out of memory\nmore")
        return np.random.default_rng([seed, len(prompt)]).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
