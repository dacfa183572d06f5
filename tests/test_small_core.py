"""What `pip install mova` does without the packages of `mova[models]`, which an import hook hides.

An index that was made elsewhere is searched, manifests are read, written and checked, scores are evaluated; whatever
needs a model says what to install.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mova.errors import PACKAGES_OF_MODELS

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"protobuf": "google", "scikit-learn": "sklearn"}
"""Package -> the module that it provides, where the names differ."""

HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
"""
RUN = "sys.argv = ['mova', *{words!r}]\nfrom mova.cli.main import run\nrun()"


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HIDDEN = sorted(MODULES.get(name, name) for name in names(PROJECT["optional-dependencies"]["models"]))


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE.format(hidden=HIDDEN) + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def mova(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return python(RUN.format(words=list(map(str, words))), folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, worlds_manifest: Path) -> Path:
    """A folder with an index that was made with all packages, a table, and a score matrix."""
    from mova.search.index import Index

    folder = tmp_path_factory.mktemp("small")
    index = Index(folder / "films.mova", "mova-worlds-tiny")
    index.add(sorted(worlds_manifest.parent.glob("*.mp4"))[:2])
    np.save(folder / "scores.npy", np.random.default_rng(0).normal(size=(20, 20)) + 3 * np.eye(20))
    (folder / "own.csv").write_text("video,caption\na.mp4,A dog runs.\n", encoding="utf-8")
    return folder


def test_hidden_packages_are_those_that_have_a_message() -> None:
    without_message = {"google"}  # imported by transformers alone
    assert set(HIDDEN) - without_message == set(PACKAGES_OF_MODELS)


def test_core_and_models_share_no_package_and_every_floor_is_stated() -> None:
    core, models = PROJECT["dependencies"], PROJECT["optional-dependencies"]["models"]
    assert names(core).isdisjoint(names(models))
    assert all(">=" in requirement for requirement in core + models)


@pytest.mark.parametrize(
    "words",
    [
        ("data", "worlds", "made", "--videos", 1, "--seconds", 10, "--size", 48),
        ("data", "check", "MANIFEST"),
        ("data", "contrast", "MANIFEST", "negatives.jsonl"),
        ("data", "convert", "folder", "own.csv", "own.jsonl"),
        ("data", "export", "fiftyone", "MANIFEST", "fiftyone"),
        ("data", "export", "datasets", "MANIFEST", "hub"),
        ("data", "export", "clip-retrieval", "films.mova", "vectors"),
        ("eval", "matrix", "scores.npy"),
        ("status", "--index", "films.mova"),
        ("list", "--index", "films.mova"),
        ("search", "a red star", "--index", "films.mova"),
        ("search", "A red star. Then it stops.", "--index", "films.mova", "--order", "no"),
        ("models",),
    ],
    ids=lambda words: "-".join(map(str, words[:3])).replace(" ", "_"),
)
def test_works_without_the_packages_of_models(work: Path, worlds_manifest: Path, words: tuple[object, ...]) -> None:
    done = mova(work, *(worlds_manifest if word == "MANIFEST" else word for word in words))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout


def test_a_search_gives_the_answer_of_the_full_installation(work: Path) -> None:
    from mova.search.index import Index

    found = json.loads(mova(work, "search", "a red star", "--index", "films.mova", "--json").stdout)["results"]
    expected = Index(work / "films.mova").search("a red star")
    assert [(row["video"], row["start"]) for row in found] == [(m.video, round(m.start, 3)) for m in expected]


@pytest.mark.parametrize(
    "words",
    [
        ("index", "VIDEO", "--index", "new.mova", "--model", "mova-worlds-tiny"),
        ("align", "VIDEO", "--text", "A red star.", "--model", "mova-worlds-tiny"),
        ("score", "VIDEO", "A red star.", "--model", "mova-worlds-tiny"),
        ("search", "A red star. Then it stops.", "--index", "films.mova"),
        ("eval", "retrieval", "--manifest", "MANIFEST", "--model", "mova-worlds-tiny"),
        ("train", "activitynet", "--data.manifest", "MANIFEST"),
        ("forget", "VIDEO", "--index", "films.mova"),
    ],
    ids=lambda words: "-".join(map(str, words[:2])),
)
def test_what_needs_a_model_says_what_to_install(work: Path, worlds_manifest: Path, words: tuple[object, ...]) -> None:
    values = {"VIDEO": next(worlds_manifest.parent.glob("*.mp4")), "MANIFEST": worlds_manifest}
    done = mova(work, *(values.get(str(word), word) for word in words))
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^mova: this needs [\w-]+, which is not installed; pip install 'mova\[models\]'$", done.stderr, re.M
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "mova.load('mova-worlds-tiny')",
        "mova.Index('new.mova', 'mova-worlds-tiny').add('.')",
        "mova.Index('films.mova').search('A red star. Then it stops.')",
        "mova.Timeline('', 1.0, __import__('numpy').zeros(1), (), ()).plot()",
    ],
)
def test_python_says_it_too(work: Path, code: str) -> None:
    done = python(
        f"import mova\ntry:\n    {code}\nexcept mova.MovaError as error:\n    print(type(error).__name__, error)", work
    )
    assert done.stdout.startswith("NotInstalledError this needs"), done.stderr


def test_python_reads_manifests_and_reports(work: Path, worlds_manifest: Path) -> None:
    code = (
        "import mova\n"
        f"rows = mova.read_manifest({str(worlds_manifest)!r})\n"
        "print(len(rows), mova.Index('films.mova').search('a red star', k=1)[0]._repr_html_()[:5])"
    )
    done = python(code, work)
    assert done.stdout.split() == ["10", "<div>"], done.stderr
