"""Train the basis of a shipped model for Worlds and write it beside the weights, which stay as they are.

Run by `python -m benchmarks.common.shipped_relations mova-worlds-tiny`. All values of the trained concepts are named
here; how well the basis carries over to values that were not is measured by `mova bench relations`. The weight for
captions that compare two moments is chosen on pairs of videos of its own (`mova bench comparisons` uses others).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import cast

from torch import Tensor

from benchmarks.common.comparison_galleries import CONCEPTS, choose_weight, draw_pairs, shared
from benchmarks.common.relation_galleries import concept_sentences, concept_vectors, draw_gallery
from mova.models.known import ONLY_RENDERED
from mova.models.registry import load
from mova.models.relations.basis import Relations
from mova.models.relations.concepts import concept_name
from mova.models.relations.fit import fit
from mova.models.worlds_tiny.model import WorldsTiny, shipped_folder
from mova.worlds.factors import FACTORS
from mova.worlds.render import TRAIN_STYLES

CLIPS = 3000
TRAINED = ("shape", "colour", "size", "motion", "place", "count")
WORDS_ONLY = ("relation",)
"""Concepts with sentences that no pairs train: too few moments have a second object."""
SEED = (99,)
PAIRS = 60
"""Pairs of videos per concept that choose the weight."""


def main() -> None:
    """Train, write and check the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", choices=ONLY_RENDERED)
    name = parser.parse_args().model
    model = cast(WorldsTiny, load(name, device="cpu"))
    gallery = draw_gallery(model, SEED, CLIPS, TRAIN_STYLES)
    sentences = concept_sentences(SEED, {name: FACTORS[name] for name in (*TRAINED, *WORDS_ONLY)})
    values = concept_vectors(model, {name: sentences[name] for name in TRAINED})
    labels = {name: gallery.labels(name, FACTORS[name]) for name in TRAINED}
    center = gallery.frames.mean(dim=0)
    fitted = fit(gallery.frames - center, labels, values)
    relations = Relations(
        fitted.generator,
        fitted.sharpness,
        fitted.offset,
        center,
        {concept_name(name): rows for name, rows in sentences.items()},
        tuple(map(concept_name, TRAINED)),
        model.fingerprint(),
    )
    relations = replace(relations, weight=chosen_weight(model, relations))
    path = relations.save(shipped_folder(name))
    assert load(name, device="cpu").fingerprint() == model.fingerprint()
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def chosen_weight(model: WorldsTiny, relations: Relations) -> float:
    """Return the weight of what two moments share with the highest R@1 on validation pairs."""
    model.relations = relations
    respects = {concept: model.respect(concept) for concept in CONCEPTS}
    pairs = [draw_pairs(model, SEED, concept, PAIRS, None, TRAIN_STYLES) for concept in CONCEPTS]
    center = relations.center

    def project(concept: str, moments: Tensor) -> Tensor:
        return respects[concept].project(moments + center)

    return choose_weight([(part.late, shared(part, project, center)) for part in pairs])


if __name__ == "__main__":
    main()
