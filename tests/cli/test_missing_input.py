"""Every command finds a missing file before torch is imported. All run in one fresh process, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mova.cli.main import COMMANDS

CASES = {
    "index": ["index", "none"],
    "search": ["search", "a dog", "--index", "none"],
    "search (file)": ["search", "--text-file", "none.txt"],
    "search (page)": ["search", "a dog", "--html", "none/page.html"],
    "highlights": ["highlights", "--index", "none"],
    "align": ["align", "none.mp4", "--text", "a dog"],
    "align (file)": ["align", "film.mp4", "--text-file", "none.txt"],
    "score": ["score", "none.mp4", "a dog"],
    "explain": ["explain", "none.mp4", "--text", "a dog", "--plot", "x.png"],
    "judge": ["judge", "none.mp4", "a dog"],
    "judge (prompts)": ["judge", "--prompts", "none.csv"],
    "status": ["status", "--index", "none"],
    "list": ["list", "--index", "none"],
    "update": ["update", "--index", "none"],
    "watch": ["watch", "--index", "none"],
    "forget": ["forget", "none", "--index", "none"],
    "versions": ["versions", "--index", "none"],
    "train": ["train", "none"],
    "train (file)": ["train", "none.yaml"],
    "train (manifest)": ["train", "own", "--data.manifest", "none.jsonl"],
    "train (no manifest)": ["train", "own"],
    "train (earlier stage)": ["train", "gexia-images", "--data.manifest", "m.jsonl"],
    "train (quarantine)": ["train", "own", "--data.manifest", "m.jsonl", "--data.quarantine", "none.jsonl"],
    "models (check)": ["models", "check", "none"],
    "models (export)": ["models", "export", "a", "out", "--video", "none.mp4"],
    "fit": ["fit", "none", "out"],
    "reproduce": ["reproduce", "none"],
    "reproduce (data)": ["reproduce", "activitynet", "--data", "none"],
    "reproduce (nothing published)": ["reproduce", "own"],
    "demo": ["demo", "--videos", "none"],
    "bench": ["bench", "none"],
    "data convert": ["data", "convert", "msvd", "none", "out"],
    "data check": ["data", "check", "none"],
    "data check (manifest)": ["data", "check", "none.jsonl"],
    "data shards": ["data", "shards", "none.jsonl", "out"],
    "data table": ["data", "table", "none.jsonl", "out.arrow"],
    "data export": ["data", "export", "datasets", "none.jsonl", "out"],
    "data export (index)": ["data", "export", "clip-retrieval", "none", "out"],
    "data features": ["data", "features", "none.jsonl", "out"],
    "data expand": ["data", "expand", "none.jsonl", "out"],
    "data contrast": ["data", "contrast", "none.jsonl", "out.jsonl"],
    "data synthesize": ["data", "synthesize", "none.jsonl", "out", "--model", "a"],
    "data weights": ["data", "weights", "none.jsonl", "out", "--vqa", "a"],
    "eval retrieval": ["eval", "retrieval", "--manifest", "none.jsonl"],
    "eval retrieval (features)": ["eval", "retrieval", "--manifest", "m.jsonl", "--features", "none"],
    "eval retrieval (quarantine)": ["eval", "retrieval", "--manifest", "m.jsonl", "--quarantine", "none.jsonl"],
    "eval moments": ["eval", "moments", "--manifest", "none.jsonl"],
    "eval classify": ["eval", "classify", "--manifest", "none.jsonl"],
    "eval choice": ["eval", "choice", "--manifest", "none.jsonl"],
    "eval entailment": ["eval", "entailment", "--manifest", "none.jsonl"],
    "eval synvita": ["eval", "synvita", "--data", "none"],
    "eval generation": ["eval", "generation", "none.json"],
    "eval long": ["eval", "long", "--manifest", "none.jsonl"],
    "eval relations": ["eval", "relations", "none.csv"],
    "eval rerank": ["eval", "rerank", "--manifest", "none.jsonl", "--rerank", "mova-worlds-tiny"],
    "eval rerank (index)": ["eval", "rerank", "--manifest", "m.jsonl", "--rerank", "mova-worlds-tiny"],
    "eval summaries": ["eval", "summaries", "none.jsonl", "--candidates", "a=none.jsonl"],
    "eval matrix": ["eval", "matrix", "none.npy", "--protocol", "msrvtt-1ka"],
    "eval compare": ["eval", "compare", "none.json", "none2.json"],
}
Answers = dict[str, tuple[int, list[str], str, str]]
WITHOUT_FILES = {"models", "config", "serve", "data worlds", "eval worlds"}
"""Commands that read no file that has to exist (`serve` begins with an empty index)."""

RUN = """
import contextlib, io, json, sys
from mova.cli.main import run
answers = {}
for name, words in json.loads(sys.argv[1]).items():
    sys.argv = ["mova", *words]
    out, err = io.StringIO(), io.StringIO()
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
    answers[name] = [code, [m for m in ("torch", "transformers", "lancedb") if m in sys.modules]]
    answers[name] += [out.getvalue(), err.getvalue()]
    if answers[name][1]:
        break
print("@@" + json.dumps(answers))
"""


def test_every_command_has_a_case() -> None:
    named = {f"{command.group} {command.name}".strip() for command in COMMANDS}
    assert named == {name.partition(" (")[0] for name in CASES} | WITHOUT_FILES


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Exit code, heavy packages that are loaded by then, stdout and stderr of each case."""
    folder = tmp_path_factory.mktemp("missing")
    for name in ("film.mp4", "m.jsonl"):
        (folder / name).write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(CASES)], capture_output=True, text=True, cwd=folder, check=False
    )
    assert "@@" in done.stdout, done.stderr
    return json.loads(done.stdout.partition("@@")[2])


def test_a_missing_file_is_reported_before_torch_is_imported(
    answers: dict[str, tuple[int, list[str], str, str]],
) -> None:
    assert {name: heavy for name, (_, heavy, _, _) in answers.items() if heavy} == {}
    assert {name: code for name, (code, *_) in answers.items() if code not in (1, 2)} == {}
    assert set(answers) == set(CASES)


def test_the_message_names_what_is_missing(answers: Answers) -> None:
    for name, (_, _, out, err) in answers.items():
        assert out == "", name
        assert "Traceback" not in err, name
    for name in ("train", "train (manifest)", "reproduce (data)", "eval retrieval", "fit", "index"):
        assert "none" in answers[name][3], name
