"""Worlds with made-up labels in the formats of data sets for classification and multiple choice.

The labels say nothing about the videos: they alternate. Options of a question are first sentences of several captions.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from mova.data.manifest import Row

CLASSES = ("first", "second")
"""Names of the made-up classes."""


def write_how2qa(rows: Sequence[Row], folder: Path) -> None:
    """Write `how2QA_train_release.csv` and `how2QA_val_release.csv`."""
    texts = list(dict.fromkeys(row.captions[0].text for row in rows))
    for split in ("train", "val"):
        with (folder / f"how2QA_{split}_release.csv").open("w", encoding="utf-8", newline="") as file:
            for row in (row for row in rows if row.split == split):
                right = row.captions[0].text
                wrong = [text for text in texts if text != right][:3]
                csv.writer(file).writerow([row.id, f"[0:{row.duration:g}]", *wrong, "What does it show?", right])


def write_lvu(rows: Sequence[Row], folder: Path) -> None:
    """Write `lvu_1.0/relationship/train.csv`, `val.csv` and `test.csv`."""
    task = folder / "lvu_1.0" / "relationship"
    task.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        lines = [f"{i % 2} {CLASSES[i % 2]} {row.id} none" for i, row in enumerate(rows) if row.split == split]
        (task / f"{split}.csv").write_text("\n".join(["label name video other", *lines]) + "\n", encoding="utf-8")


def write_coin(rows: Sequence[Row], folder: Path) -> None:
    """Write `COIN.json`."""
    database = {}
    for i, row in enumerate(rows):
        steps = [
            {"id": str(k), "segment": [sentence.start, sentence.end], "label": sentence.text.rstrip(".")}
            for k, sentence in enumerate(row.captions[0].sentences)
        ]
        database[row.id] = {
            "duration": row.duration,
            "class": CLASSES[i % 2],
            "subset": "testing" if row.split == "test" else "training",
            "annotation": steps,
            "recipe_type": i % 2,
        }
    (folder / "COIN.json").write_text(json.dumps({"database": database}), encoding="utf-8")


def write_charades_ego(rows: Sequence[Row], folder: Path) -> None:
    """Write `CharadesEgo_v1_train_only1st.csv`, the same of test, and `Charades_v1_classes.txt`."""
    names = "".join(f"c{i:03d} {name}\n" for i, name in enumerate(CLASSES))
    (folder / "Charades_v1_classes.txt").write_text(names, encoding="utf-8")
    for split in ("train", "test"):
        with (folder / f"CharadesEgo_v1_{split}_only1st.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "script", "actions", "length"])
            for i, row in enumerate(rows):
                if row.split == split:
                    actions = f"c{i % 2:03d} 0.0 {row.duration}"
                    table.writerow([row.id, row.captions[0].text, actions, row.duration])
