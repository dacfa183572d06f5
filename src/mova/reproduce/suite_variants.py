"""The rows of SynViTA's tables as settings of its recipe (Zanella et al. 2025, Tables 1 to 5).

A variant is named as the form of its published figures. The full system trains on the videos of CogVideoX alone: its
figures in Table 3 are those of CogVideoX in Table 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mova.data.negatives.kinds import KINDS
from mova.errors import UsageError
from mova.eval.published import Figure, published_figures

NONE = "none"
"""Name of the variant without synthetic videos, which the tables call VideoCon."""
GENERATORS = ("CogVideoX", "LaVie", "VideoCrafter2")
ALONE: Mapping[str, Any] = {"objective.strategy": "fixed", "objective.consistency": 0.0}
"""Eq. 2 and 3 alone."""


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        settings: settings of the recipe.
        generators: whose videos are trained on, by the beginning of their names.
        each: whether the figures are means over one run per generator.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    generators: tuple[str, ...] = GENERATORS[:1]
    each: bool = False

    @property
    def runs(self) -> list[tuple[str, ...]]:
        """The generators of each run."""
        return [(name,) for name in self.generators] if self.each else [self.generators]


def variants() -> dict[str, Variant]:
    """Return form of the published figures -> variant; the full system is the empty form.

    >>> variants()["weights: own"].settings
    {'objective.strategy': 'own'}
    """
    mean = "Eq. 2 and 3 alone, mean over three generators"
    return {
        "": Variant(),
        NONE: Variant({"objective.strategy": "none"}, ()),
        **{f"synthetic videos of {name}, Eq. 2 and 3 alone": Variant(ALONE, (name,)) for name in GENERATORS},
        **{
            f"synthetic videos of kind {kind}, {mean}": Variant({**ALONE, "data.kinds": [kind]}, GENERATORS, each=True)
            for kind in KINDS
        },
        **{
            f"weights: {strategy}": Variant({"objective.strategy": strategy})
            for strategy in ("fixed", "own", "product", "indicator")
        },
        **{f"synthetic videos of {name}": Variant(generators=(name,)) for name in GENERATORS[1:]},
        "synthetic videos of ALL": Variant({"data.every_video": True}, GENERATORS),
    }


def find_variant(name: str, model: str) -> Variant:
    """Return a variant by its name.

    Raises:
        UsageError: there is none, or the tables have no figures of it for this model.
    """
    known = {form: variant for form, variant in variants().items() if figures_of(model, form, "fine-tuned")}
    if name not in known:
        raise UsageError(
            f"--figure {name!r}: the tables have no such row of {model}; they have: {'; '.join(filter(None, known))}"
        )
    return known[name]


def figures_of(model: str, form: str, setting: str) -> dict[str, Figure]:
    """Return protocol -> the published figure of a row of the tables.

    Args:
        model: as the tables name it.
        form: name of a variant.
        setting: "fine-tuned", or "zero-shot" for the model itself.
    """
    system = model if setting == "zero-shot" else f"{'VideoCon' if form == NONE else 'SynViTA'} ({model})"
    wanted = (system, "" if form == NONE else form, setting, "SynViTA paper")
    rows = [f for f in published_figures() if (f.system, f.form, f.setting, f.source) == wanted]
    return {figure.protocol: figure for figure in rows}
