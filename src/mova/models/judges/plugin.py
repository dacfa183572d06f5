"""Models that mova and transformers do not have, from a module or an installed package of the user's.

A name such as `package.module:Name=ARGUMENT` is called with the argument and the options; `NAME=ARGUMENT` likewise, if
an installed package has an entry point NAME in the group `mova.models`. Only code that is installed, or in Python's
path, runs: nothing is fetched, and code in a checkpoint is never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from mova.errors import ModelError

GROUP = "mova.models"
"""Group of entry points."""
NEEDED = ("figure_scores", "fingerprint", "name")
"""What every such model has; see `FigureJudge` and, for videos, `EntailmentModel`."""
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_][\w.]*")


def find_plugin(name_or_path: str | Path) -> Callable[..., Any] | None:
    """Return what a name of a plug-in calls; None if it is none.

    Raises:
        ModelError: its module or name does not exist.

    >>> find_plugin("openai/clip-vit-base-patch32") is None
    True
    >>> find_plugin("collections:OrderedDict")().__class__.__name__
    'OrderedDict'
    """
    name = str(name_or_path).partition("=")[0]
    if Path(str(name_or_path)).exists():
        return None
    if _CLASS.fullmatch(name):
        try:
            return resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ModelError(f"{name}: cannot be imported ({error}); is it installed, or in PYTHONPATH?") from error
    found = entry_points(group=GROUP, name=name) if re.fullmatch(r"[\w.-]+", name) else ()
    for point in found:
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ModelError(f"{name}: entry point {point.value} cannot be imported ({error})") from error
    return None


def load_plugin(name_or_path: str | Path, call: Callable[..., Any], **options: Any) -> Any:
    """Call what `find_plugin` has found, with the argument in the name, and check what it returns.

    Args:
        name_or_path: the name.
        call: what it calls.
        options: those that are None are not passed.

    Raises:
        ModelError: it does not accept these options, or returns something else than a model.
    """
    _, equals, argument = str(name_or_path).partition("=")
    passed = {key: value for key, value in options.items() if value is not None}
    try:
        model = call(*([argument] if equals else []), **passed)
    except TypeError as error:
        raise ModelError(
            f"{name_or_path}: cannot be called with {', '.join(passed) or 'no options'} ({error})"
        ) from error
    if missing := [name for name in NEEDED if not hasattr(model, name)]:
        raise ModelError(f"{name_or_path}: returned {type(model).__name__}, which lacks {', '.join(missing)}")
    return model
