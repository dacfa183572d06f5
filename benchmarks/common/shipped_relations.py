"""Train the basis of `mova-worlds-tiny` and write it beside the weights, which stay as they are.

Run by `python -m benchmarks.common.shipped_relations`. All values of the trained concepts are named here; how well the
basis carries over to values that were not is measured by `mova bench relations`.
"""

from __future__ import annotations

from typing import cast

from benchmarks.common.relation_galleries import concept_sentences, concept_vectors, draw_gallery
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


def main() -> None:
    """Train, write and check the file."""
    model = cast(WorldsTiny, load("mova-worlds-tiny", device="cpu"))
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
    path = relations.save(shipped_folder())
    assert load("mova-worlds-tiny", device="cpu").fingerprint() == model.fingerprint()
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
