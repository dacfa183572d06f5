"""Sentences that say nothing of a video in particular."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def background_sentences() -> tuple[str, ...]:
    """Captions of everyday videos in general; how well they fit a video in particular is the noise floor."""
    return tuple(files("mova.models").joinpath("background_captions.txt").read_text(encoding="utf-8").split("\n")[:-1])
