"""Score a trained system on the galleries.

Shape legend: V videos, N = V texts, T samples, P dense vectors per sample, C their width, L tokens, d width of vectors.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.systems import System, both_ways
from benchmarks.studies.gexia.arms import Arm
from benchmarks.studies.gexia.footage import SAMPLES, Dense, Footage, Queries
from mova.data.granularity import GRANULARITIES
from mova.models.gexia.model import Gexia
from mova.scoring.similarity import cosine

GRANULARITY = {"short": "SVST", "long": "LVLT", "twins": "LVLT", "brief": "LVST", "image": "IT"}
"""Granularity of the pairs of each gallery."""
SETTINGS: dict[str, tuple[tuple[int, int], ...]] = {
    "short": ((1, 1), (3, 1), (3, 3)),
    "long": (*((r, r) for r in range(6)), (3, 1)),
    "twins": ((1, 1), (3, 1), (3, 3)),
    "brief": ((1, 1), (3, 1), (3, 3)),
    "image": ((0, 1), (1, 1), (3, 1), (3, 3)),
}
"""`#iter` of videos and texts at inference (Fig. 3, Tables 4b and 11)."""
FORMS = ("subsets", "late", "global")
CHUNK = 64
Row = dict[str, Any]


def rounds_at(arm: Arm, gallery: str) -> tuple[int, int]:
    """Return the `#iter` that an arm was trained with for pairs of the size of a gallery."""
    sizes = GRANULARITIES[GRANULARITY[gallery]]
    by_size = {"image": 0, "short": 1, "long": 3}
    return (by_size[sizes.video], by_size[sizes.text]) if arm.rounds is None else (arm.rounds, arm.rounds)


def score(arm: Arm, model: nn.Module, footage: Footage, galleries: dict[str, Queries]) -> list[Row]:
    """Return R@1 in both directions on every gallery: a GEXIA by its own and other `#iter`, a MoVA by every form."""
    with torch.no_grad():
        return _gexia(arm, model, footage, galleries) if isinstance(model, Gexia) else _mova(model, footage, galleries)


def _gexia(arm: Arm, model: Gexia, footage: Footage, galleries: dict[str, Queries]) -> list[Row]:
    dense = footage.dense(model) if arm.cached else Dense(footage, model)
    rows = []
    for name, queries in galleries.items():
        if name == "image" and not arm.curve:
            continue
        which = torch.tensor(queries.clips)
        features = dense.stills[which] if name == "image" else dense.clips[which].flatten(1, 2)
        states, mask = _states(model, [" ".join(units) for units in queries.texts])

        @cache
        def videos(rounds: int, features: Tensor = features) -> Tensor:
            """(V, T, P, C) -> (V, d)."""
            real = torch.ones(features.shape[:2], dtype=torch.bool)
            vectors = [
                model.video_vectors(part.flatten(0, 1), part_mask, torch.full((len(part),), rounds))
                for part, part_mask in zip(features.split(CHUNK), real.split(CHUNK), strict=True)
            ]
            return torch.cat(vectors)

        @cache
        def texts(rounds: int, states: Tensor = states, mask: Tensor = mask) -> Tensor:
            """(N, L, C) -> (N, d)."""
            return model.text_iam(states, mask, torch.full((len(states),), rounds)).mean(dim=1)

        for video, text in SETTINGS[name] if arm.curve else [rounds_at(arm, name)]:
            t2v, v2t = both_ways(cosine(videos(video), texts(text)).double().numpy())
            own_rounds = (video, text) == rounds_at(arm, name)
            rows.append({"gallery": name, "form": f"{video}-{text}", "own": own_rounds, "t2v": t2v, "v2t": v2t})
    return rows


def _states(model: Gexia, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return states (N, L, C) and mask (N, L) of texts."""
    ids, mask, _ = model.backbone.token_ids(texts)
    return model.backbone.dense_texts(ids, mask), mask


def _mova(model: nn.Module, footage: Footage, galleries: dict[str, Queries]) -> list[Row]:
    system = System(model)
    frames = system.frames(footage.samples(list(range(len(footage.clips)))))
    frames = frames.unflatten(0, (len(footage.clips), SAMPLES))
    rows = []
    for name, queries in galleries.items():
        if name == "image":
            continue
        videos = frames[torch.tensor(queries.clips)].flatten(1, 2)
        texts = system.texts(queries.texts)
        for form in FORMS:
            t2v, v2t = both_ways(system.scores(form, videos, texts).double().numpy())
            rows.append({"gallery": name, "form": form, "own": form == FORMS[0], "t2v": t2v, "v2t": v2t})
    return rows
