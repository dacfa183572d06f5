"""What the arms of a seed share: triplets, tests and their frame vectors, weights, and a decoder to start from.

The frame tower is warm and frozen, so every video is rendered and seen once; vectors are kept on disk.

Shape legend: N triplets, P videos to start from, G groups, T frames, d width of frame vectors, L tokens a prompt.
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

from benchmarks.studies.synvita.arms import begin
from benchmarks.studies.synvita.decoder import Decoder, Words, common_masks, padded, word_vectors
from benchmarks.studies.synvita.footage import film
from benchmarks.studies.synvita.generator import Triplet, sample_triplets, sample_video, tell_again
from benchmarks.studies.synvita.trials import LOOKS, Groups, Pairs, sample_group, truth_of
from benchmarks.studies.synvita.vqa import Vqa
from mova.data.synthetic_weights import ensemble
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.galleries import SAMPLES, Short

BEGIN_SEED = 900_000
"""Videos to start from; those of a seed are drawn from its own numbers."""

CAPTIONS = 4
"""Captions a video to start from."""


@dataclass(frozen=True)
class Budget:
    """How much of everything."""

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
    """The ensemble's scores of synthetic videos: f~(V^s, t^s), f~(V^s, t^r), the truth and the kind, (N,) each."""

    own: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    useful: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.str_]


class Stage:
    """Everything of a seed.

    Args:
        seed: of triplets, tests, looks and the order of batches.
        budget: how much.
        folder: of this seed.
        shared: of what all seeds share.
        towers: the warm backbone, whose vectors the decoder reads, and a second model for the ensemble.
    """

    def __init__(
        self, seed: int, budget: Budget, folder: Path, shared: Path, towers: tuple[WorldsTiny, WorldsTiny]
    ) -> None:
        self.seed, self.budget, self.folder, self._words = seed, budget, folder, Words()
        first = _kept(shared / "beginning.pt", lambda: _beginning(budget.begin_videos, towers))
        vqa = [Vqa.fitted(tower, *_figures(first, i)) for i, tower in enumerate(towers)]
        train = _kept(folder / "train.pt", lambda: _train(seed, budget.triplets, towers))
        self.scored = _score(vqa, train)
        triplets: Sequence[Triplet] = train["triplets"]
        ids, keep = self._prompts(triplets)
        self.rows = {"frames": torch.stack([train["real"][0], train["synthetic"][0]], dim=1), "ids": ids, "keep": keep}
        tests = _kept(folder / "tests.pt", lambda: _tests(seed, budget, towers[:1]))
        self.pairs = {name: self._pairs(*tests[name]) for name in ("biased", "unbiased")}
        self.groups = self._groups(*tests["groups"])
        self._start = self._begun(first, shared, towers[0])

    def start(self) -> Decoder:
        """A fresh copy of the decoder that all arms start from."""
        return copy.deepcopy(self._start)

    def _begun(self, first: dict[str, Any], folder: Path, warm: WorldsTiny) -> Decoder:
        """The decoder after its beginning, one for all seeds as a published model is; read where it is finished."""
        set_seed(BEGIN_SEED)
        model = Decoder(word_vectors(warm), self._words.answers)
        path = folder / "start.pt"
        if not path.exists():
            rng = np.random.default_rng(BEGIN_SEED + 1)
            shorts = [tell_again(short, rng) for short in first["shorts"] for _ in range(CAPTIONS)]
            prompts = padded([self._words.prompt(short.sentences) for short in shorts])
            rows = {"frames": first["frames"][0].repeat_interleave(CAPTIONS, dim=0), "ids": prompts}
            begin(model, rows, self.budget.begin_size, self.budget.begin_steps, folder / "begin", BEGIN_SEED)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path))
        return model

    def _prompts(self, triplets: Sequence[Triplet]) -> tuple[Tensor, Tensor]:
        """Ids and the shared tokens, (N, 2, L) each: t^r, then t^s."""
        both = [(self._words.prompt(t.real.sentences), self._words.prompt(t.false.sentences)) for t in triplets]
        ids = padded([prompt for pair in both for prompt in pair])
        return ids.unflatten(0, (-1, 2)), torch.stack([common_masks(*pair, ids.shape[1]) for pair in both])

    def _pairs(self, triplets: Sequence[Triplet], frames: Tensor) -> Pairs:
        return Pairs(frames, self._prompts(triplets)[0], np.array([t.false.kind for t in triplets]))

    def _groups(self, members: Sequence[list[Short]], frames: Tensor) -> Groups:
        """Videos of a group are its members, `LOOKS` times over."""
        ids = padded([self._words.prompt(short.sentences) for group in members for short in group])
        truth = np.stack([np.tile(truth_of(group, group), (LOOKS, 1)) for group in members])
        return Groups(frames, ids.unflatten(0, (len(members), -1)), truth)


def _kept(path: Path, make: Any) -> Any:
    """What `make` gives, from disk where it was made before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path)
    return torch.load(path, weights_only=False)


def _beginning(count: int, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    """Real videos of all concepts."""
    rng = np.random.default_rng(BEGIN_SEED)
    shorts = [sample_video(rng, biased=False) for _ in range(count)]
    return {"shorts": shorts, "frames": film(shorts, rng, towers)}


def _figures(first: dict[str, Any], tower: int) -> tuple[Tensor, list[str]]:
    """Single frames of the videos to start from, and a sentence that is true of each."""
    shorts: Sequence[Short] = first["shorts"]
    places = torch.tensor([short.captioned[0] * SAMPLES for short in shorts])
    return first["frames"][tower][torch.arange(len(shorts)), places], [short.sentences[0] for short in shorts]


def _train(seed: int, count: int, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 0])
    triplets = sample_triplets(rng, count, biased=True)
    return {
        "triplets": triplets,
        "real": film([t.real for t in triplets], rng, towers[:1]),
        "synthetic": film([t.synthetic for t in triplets], rng, towers, generated=True),
    }


def _tests(seed: int, budget: Budget, towers: Sequence[WorldsTiny]) -> dict[str, Any]:
    """Triplets like those of training, triplets of all concepts, and groups of near duplicates; real looks only."""
    rng = np.random.default_rng([seed, 1])
    found: dict[str, Any] = {}
    for name, biased in (("biased", True), ("unbiased", False)):
        triplets = sample_triplets(rng, budget.tested, biased)
        found[name] = triplets, film([t.real for t in triplets], rng, towers)[0]
    groups = [sample_group(rng) for _ in range(budget.groups)]
    frames = film([short for group in groups for _ in range(LOOKS) for short in group], rng, towers)[0]
    found["groups"] = groups, frames.unflatten(0, (len(groups), -1))
    return found


def _score(vqa: Sequence[Vqa], train: dict[str, Any]) -> Scored:
    """The ensemble on the synthetic videos."""
    triplets: Sequence[Triplet] = train["triplets"]
    own, other = [t.false.text for t in triplets], [" ".join(t.real.sentences) for t in triplets]
    both = [
        ensemble([model.scores(frames, texts) for model, frames in zip(vqa, train["synthetic"], strict=True)])
        for texts in (own, other)
    ]
    return Scored(*both, np.array([t.useful for t in triplets]), np.array([t.false.kind for t in triplets]))
