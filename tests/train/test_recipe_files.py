"""Files and earlier stages that a recipe needs, before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova.errors import UsageError
from mova.train.recipe_files import require_files

DATA = {"data.manifest": "m.jsonl"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a manifest and no runs."""
    monkeypatch.chdir(tmp_path)
    Path("m.jsonl").write_text("")


@pytest.mark.parametrize("recipe", ["gexia-finetune", "gexia-images", "gexia-msrvtt", "gexia-coin"])
def test_a_missing_stage_is_named_with_the_command_that_makes_it(recipe: str) -> None:
    expected = f"recipe {recipe}: starts from the earlier stage runs/gexia-pretrain, .* run `mova train gexia-pretrain`"
    with pytest.raises(UsageError, match=expected):
        require_files(recipe, DATA)
    with pytest.raises(UsageError, match="earlier stage runs/mine, and there is no such folder; run its recipe first"):
        require_files(recipe, {**DATA, "model.source": "runs/mine"})
    require_files(recipe, {**DATA, "model.source": "openai/clip-vit-base-patch32"})


def test_an_unfinished_stage_is_continued_first() -> None:
    folder = Path("runs/gexia-pretrain")
    (folder / "checkpoint-10").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not finished; continue it with `mova train gexia-pretrain --resume`"):
        require_files("gexia-msrvtt", DATA)
    (folder / "config.json").write_text("{}")
    require_files("gexia-msrvtt", DATA)
    require_files("gexia-msrvtt", {**DATA, "model.source": "runs/gexia-pretrain/checkpoint-10"})
