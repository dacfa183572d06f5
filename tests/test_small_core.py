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
RUN = """
import contextlib, io, json, traceback
from mova.cli.main import run
answers = []
for words in json.loads({commands!r}):
    sys.argv = ["mova", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run()
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
    answers.append([code, out.getvalue(), err.getvalue()])
print("@@" + json.dumps(answers))
"""


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HIDDEN = sorted(MODULES.get(name, name) for name in names(PROJECT["optional-dependencies"]["models"]))


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE.format(hidden=HIDDEN) + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


Words = tuple[object, ...]
Answers = dict[Words, tuple[int, str, str]]
WORKS: list[Words] = [
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
]
NEEDS_A_MODEL: list[Words] = [
    ("index", "VIDEO", "--index", "new.mova", "--model", "mova-worlds-tiny"),
    ("align", "VIDEO", "--text", "A red star.", "--model", "mova-worlds-tiny"),
    ("score", "VIDEO", "A red star.", "--model", "mova-worlds-tiny"),
    ("search", "A red star. Then it stops.", "--index", "films.mova"),
    ("eval", "retrieval", "--manifest", "MANIFEST", "--model", "mova-worlds-tiny"),
    ("train", "activitynet", "--data.manifest", "MANIFEST"),
    ("forget", "VIDEO", "--index", "films.mova"),
]
AS_JSON: Words = ("search", "a red star", "--index", "films.mova", "--json")


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


@pytest.fixture(scope="module")
def answers(work: Path, worlds_manifest: Path) -> Answers:
    """Exit code, stdout and stderr of each command; all run in one process, one after the other."""
    values = {"VIDEO": str(next(worlds_manifest.parent.glob("*.mp4"))), "MANIFEST": str(worlds_manifest)}
    cases = [*WORKS, AS_JSON, *NEEDS_A_MODEL]
    commands = [[values.get(str(word), str(word)) for word in words] for words in cases]
    done = python(RUN.format(commands=json.dumps(commands)), work)
    assert "@@" in done.stdout, done.stderr
    found = json.loads(done.stdout.partition("@@")[2])
    return {words: tuple(answer) for words, answer in zip(cases, found, strict=True)}


def test_hidden_packages_are_those_that_have_a_message() -> None:
    without_message = {"google"}  # imported by transformers alone
    assert set(HIDDEN) - without_message == set(PACKAGES_OF_MODELS)


def test_core_and_models_share_no_package_and_every_floor_is_stated() -> None:
    core, models = PROJECT["dependencies"], PROJECT["optional-dependencies"]["models"]
    assert names(core).isdisjoint(names(models))
    assert all(">=" in requirement for requirement in core + models)


@pytest.mark.parametrize("words", WORKS, ids=lambda words: "-".join(map(str, words[:3])).replace(" ", "_"))
def test_works_without_the_packages_of_models(words: Words, answers: Answers) -> None:
    code, out, err = answers[words]
    assert (code, "Traceback" in err) == (0, False), err
    assert out


def test_a_search_gives_the_answer_of_the_full_installation(work: Path, answers: Answers) -> None:
    from mova.search.index import Index

    found = json.loads(answers[AS_JSON][1])["results"]
    expected = Index(work / "films.mova").search("a red star")
    assert [(row["video"], row["start"]) for row in found] == [(m.video, round(m.start, 3)) for m in expected]


@pytest.mark.parametrize("words", NEEDS_A_MODEL, ids=lambda words: "-".join(map(str, words[:2])))
def test_what_needs_a_model_says_what_to_install(words: Words, answers: Answers) -> None:
    code, _, err = answers[words]
    assert code == 1, err
    assert re.search(r"^mova: this needs [\w-]+, which is not installed; pip install 'mova\[models\]'$", err, re.M)
    assert "Traceback" not in err


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
