"""Train a small MoVA on a manifest, and evaluate it on videos it has not seen.

Offline, about a minute on two cores: the backbone is mova-worlds-tiny, the data are rendered Worlds. Ten steps show the
procedure, not a gain. For your own data, see docs/guides/train.md.

    python examples/train_tiny.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mova
from mova.data.manifest import read_manifest
from mova.models.encoder import DualEncoder
from mova.train.recipe import load_recipe
from mova.train.run import train
from mova.worlds.writer import write_worlds

SETTINGS = {
    "model.source": "mova-worlds-tiny",
    "model.text_length": "null",
    "data.frames": "16",
    "data.fps": "2",
    "training.max_steps": "10",
    "training.per_device_train_batch_size": "4",
    "training.dataloader_num_workers": "0",
    "training.save_steps": "10",
    "training.gradient_checkpointing": "false",
    "training.cache_chunk": "0",
}


def main(folder: Path) -> float:
    """Train, load the result from its folder, and return the share of unseen captions whose video is ranked first."""
    manifest = write_worlds(folder / "worlds", 20, 12, "flat", seed=0, size=64)
    train(load_recipe("activitynet", {**SETTINGS, "data.manifest": str(manifest)}), folder / "run")
    model = mova.load(str(folder / "run"))
    assert isinstance(model, DualEncoder)
    rows = [row for row in read_manifest(manifest) if row.split == "test"]
    videos = [model.encode_video(manifest.parent / row.video) for row in rows]
    scores = model.score(videos, [row.captions[0].text for row in rows])  # one row per video, one column per text
    first = (scores.argmax(0).numpy() == range(len(rows))).mean()
    print(f"{len(rows)} unseen videos: {first:.0%} of captions rank their video first")
    return float(first)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
