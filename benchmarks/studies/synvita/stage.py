"""Data shared by the arms of a seed: triplets, tests and their frame vectors, weights, and the initial decoder.

The frame tower is warm and frozen, so every video is rendered and encoded once; vectors are stored on disk.

Shape legend: N triplets, P warm-up videos, G groups, T frames, d width of frame vectors, L tokens per prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import set_seed

from benchmarks.studies.synvita.arms import warm_up
from benchmarks.studies.synvita.decoder import Decoder, Words, common_masks, padded, word_vectors
from benchmarks.studies.synvita.footage import film
from benchmarks.studies.synvita.generator import Triplet, new_caption, sample_triplets, sample_video
from benchmarks.studies.synvita.trials import LOOKS, Groups, Pairs, sample_group, truth_of
from benchmarks.studies.synvita.vqa import Vqa
from mova.data.synthetic_weights import ensemble
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.galleries import SAMPLES, Short

WARM_UP_SEED = 900_000
"""Seed of the warm-up videos, which all seeds share."""
CAPTIONS = 4
"""Captions per warm-up video."""


@dataclass(frozen=True)
class Budget:
    """Sizes of the study."""

    warm_steps: int = 1000
    begin_videos: int = 2400
    begin_steps: int = 600
    begin_size: int = 64
    triplets: int = 910
    tested: int = 315
    groups: int = 40
    steps: int = 240
    size: int = 16


@dataclass(frozen=True, eq=False)
class Scored:
    """Ensemble scores of synthetic videos, f~(V^s, t^s) and f~(V^s, t^r), with truth and kind, (N,) each."""

    own: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    useful: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.str_]


class Stage:
    """Data of a seed.

    Args:
        seed: seed of triplets, tests, styles and the order of batches.
        budget: sizes.
        folder: folder of this seed.
        shared: folder of data shared by all seeds.
        towers: the warm backbone, whose vectors the decoder reads, and a second model for the ensemble.
    """

    def __init__(
        self, seed: int, budget: Budget, folder: Path, shared: Path, towers: tuple[WorldsTiny, WorldsTiny]
    ) -> None:
        self.seed, self.budget, self.folder, self._words = seed, budget, folder, Words()
        first = _stored(shared / "beginning.pt", lambda: _warm_up_videos(budget.begin_videos, towers))
        vqa = [Vqa.fitted(tower, *_figures(first, i)) for i, tower in enumerate(towers)]
        train = _stored(folder / "train.pt", lambda: _train(seed, budget.triplets, towers))
        self.scored = _score(vqa, train)
        triplets: Sequence[Triplet] = train["triplets"]
        ids, keep = self._prompts(triplets)
        self.rows = {"frames": torch.stack([train["real"][0], train["synthetic"][0]], dim=1), "ids": ids, "keep": keep}
        tests = _stored(folder / "tests.pt", lambda: _tests(seed, budget, towers[:1]))
        self.pairs = {name: self._pairs(*tests[name]) for name in ("biased", "unbiased")}
        self.groups = self._groups(*tests["groups"])
        self._start = self._initial_decoder(first, shared, towers[0])

    def start(self) -> Decoder:
        """Return a fresh copy of the decoder from which all arms start."""
        return copy.deepcopy(self._start)

    def _initial_decoder(self, first: dict[str, Any], folder: Path, warm: WorldsTiny) -> Decoder:
        """Train or load the decoder after warm-up, the same for all seeds, like a published model."""
        set_seed(WARM_UP_SEED)
        model = Decoder(word_vectors(warm), self._words.answers)
        path = folder / "start.pt"
        if not path.exists():
            rng = np.random.default_rng(WARM_UP_SEED + 1)
            shorts = [new_caption(short, rng) for short in first["shorts"] for _ in range(CAPTIONS)]
            prompts = padded([self._words.prompt(short.sentences) for short in shorts])
            rows = {"frames": first["frames"][0].repeat_interleave(CAPTIONS, dim=0), "ids": prompts}
            warm_up(model, rows, self.budget.begin_size, self.budget.begin_steps, folder / "begin", WARM_UP_SEED)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path))
        return model

    def _prompts(self, triplets: Sequence[Triplet]) -> tuple[Tensor, Tensor]:
        """Return ids and shared tokens of t^r, then t^s, (N, 2, L) each."""
        prompts = [(self._words.prompt(t.real.sentences), self._words.prompt(t.false.sentences)) for t in triplets]
        ids = padded([prompt for pair in prompts for prompt in pair])
        return ids.unflatten(0, (-1, 2)), torch.stack([common_masks(*pair, ids.shape[1]) for pair in prompts])

    def _pairs(self, triplets: Sequence[Triplet], frames: Tensor) -> Pairs:
        return Pairs(frames, self._prompts(triplets)[0], np.array([t.false.kind for t in triplets]))

    def _groups(self, members: Sequence[list[Short]], frames: Tensor) -> Groups:
        """Build groups whose videos are the members, each `LOOKS` times."""
        ids = padded([self._words.prompt(short.sentences) for group in members for short in group])
        truth = np.stack([np.tile(truth_of(group, group), (LOOKS, 1)) for group in members])
        return Groups(frames, ids.unflatten(0, (len(members), -1)), truth)


def _stored(path: Path, make: Any) -> Any:
    """Return the result of `make`, stored on disk."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path)
    return torch.load(path, weights_only=False)


def _warm_up_videos(count: int, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    """Draw real videos of all concepts."""
    rng = np.random.default_rng(WARM_UP_SEED)
    shorts = [sample_video(rng, biased=False) for _ in range(count)]
    return {"shorts": shorts, "frames": film(shorts, rng, towers)}


def _figures(first: dict[str, Any], tower: int) -> tuple[Tensor, list[str]]:
    """Return single frames of the warm-up videos, and a true sentence for each."""
    shorts: Sequence[Short] = first["shorts"]
    indices = torch.tensor([short.captioned[0] * SAMPLES for short in shorts])
    return first["frames"][tower][torch.arange(len(shorts)), indices], [short.sentences[0] for short in shorts]


def _train(seed: int, count: int, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 0])
    triplets = sample_triplets(rng, count, biased=True)
    return {
        "triplets": triplets,
        "real": film([t.real for t in triplets], rng, towers[:1]),
        "synthetic": film([t.synthetic for t in triplets], rng, towers, generated=True),
    }


def _tests(seed: int, budget: Budget, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    """Draw triplets as in training, triplets of all concepts, and groups of near duplicates; real videos only."""
    rng = np.random.default_rng([seed, 1])
    tests: dict[str, Any] = {}
    for name, biased in (("biased", True), ("unbiased", False)):
        triplets = sample_triplets(rng, budget.tested, biased)
        tests[name] = triplets, film([t.real for t in triplets], rng, towers)[0]
    groups = [sample_group(rng) for _ in range(budget.groups)]
    frames = film([short for group in groups for _ in range(LOOKS) for short in group], rng, towers)[0]
    tests["groups"] = groups, frames.unflatten(0, (len(groups), -1))
    return tests


def _score(vqa: Sequence[Vqa], train: dict[str, Any]) -> Scored:
    """Score the synthetic videos with the ensemble."""
    triplets: Sequence[Triplet] = train["triplets"]
    own, other = [t.false.text for t in triplets], [" ".join(t.real.sentences) for t in triplets]
    scores = [
        ensemble([model.scores(frames, texts) for model, frames in zip(vqa, train["synthetic"], strict=True)])
        for texts in (own, other)
    ]
    return Scored(*scores, np.array([t.useful for t in triplets]), np.array([t.false.kind for t in triplets]))
