"""The model card that lies beside saved weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CARD = """\
---
library_name: mova
pipeline_tag: feature-extraction
tags: [video-text, dual-encoder]
---

# {title}

A dual encoder for `mova`: frames and texts become vectors in one space of width {dim}.

| | |
|---|---|
| made from | {source} |
| family | {family} |
| parameters | {parameters:,} |
| frames a second | {frame_rate:g} |
| tokens a text | {length}{fixed} |
| relevance threshold | {threshold} |

```python
import mova
model = mova.load("{title}")  # this folder
timeline = model.align("film.mp4", "A man opens a door. Then he pours tea.")
```

Licence and known limits are those of the checkpoint that it was made from and of the data that it was trained
on.
"""


def write_card(folder: Path, config: Any, parameters: int, dim: int) -> None:
    """Write `README.md` into a folder of saved weights, unless a person has already written one.

    Args:
        folder: where the weights lie.
        config: a `TwoTowerConfig`.
        parameters: how many.
        dim: width of the shared space.
    """
    path = folder / "README.md"
    if path.exists() and "pipeline_tag: feature-extraction\ntags: [video-text" not in path.read_text(encoding="utf-8"):
        return
    threshold = config.relevance_threshold
    text = CARD.format(
        title=folder.name,
        dim=dim,
        source=config.source or "no checkpoint (random weights)",
        family=config.backbone.get("model_type"),
        parameters=parameters,
        frame_rate=config.frame_rate,
        length=config.text["length"],
        fixed=" (always, padding included)" if config.text.get("fixed") else "",
        threshold="not measured" if threshold is None else f"{threshold:g}",
    )
    path.write_text(text, encoding="utf-8")
