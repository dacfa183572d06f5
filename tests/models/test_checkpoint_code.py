"""No Python code that a checkpoint brings is run, even where a terminal would answer that it may."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import dynamic_module_utils

import mova
from mova.errors import ModelError, refuse_code
from mova.eval.metrics.summaries import bert_embedder
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.processor import load_processor
from mova.text.llm import LanguageModel
from mova.text.nli import NLIModel
from tests.support.tiny_generators import build
from tests.support.tiny_videollms import make_tokenizer

SOURCES = sorted(Path(mova.__file__).parent.rglob("*.py"))
OWN = {
    "super()",
    "cls.config_class",
    "kind.config_class",
    "family.model_class()",
    "VideoLLM",
    "QwenReranker",
    "TextToVideo",
}
"""Receivers of `from_pretrained` that are classes of mova; what they load with is checked itself."""
WITHOUT_CODE = {
    "nn.Embedding": "a table of numbers",
    "peft.PeftModel": "has no such option",
    "diffusers.MotionAdapter": "a class of diffusers, no Auto class",
}


def loads(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Receiver and call of every `x.from_pretrained(...)`, `x.from_config(...)` and `partial` of one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        for function in (node.func, *node.args[:1]):
            if isinstance(function, ast.Attribute) and function.attr in ("from_pretrained", "from_config"):
                yield ast.unparse(function.value), node
        if isinstance(node.func, ast.Name) and node.func.id in ("pipeline", "SentenceTransformer"):
            yield node.func.id, node


def refuses(call: ast.Call) -> bool:
    """Whether a call has the literal `trust_remote_code=False`."""
    literal = [word.value for word in call.keywords if word.arg == "trust_remote_code"]
    return [value.value for value in literal if isinstance(value, ast.Constant)] == [False]


def test_every_load_of_a_library_refuses_code() -> None:
    found = [(path, receiver, call) for path in SOURCES for receiver, call in loads(path)]
    assert len(found) > 20
    wrong = [
        f"{path.relative_to(SOURCES[0].parent)}:{call.lineno}: {receiver}"
        for path, receiver, call in found
        if receiver not in OWN and receiver not in WITHOUT_CODE and not refuses(call)
    ]
    assert not wrong, "pass trust_remote_code=False to these calls"


@pytest.fixture
def answers_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal where every question is answered with y."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


def write_code(path: Path, sign: Path) -> None:
    """A module that writes a file when it is imported."""
    path.write_text(f"open({str(sign)!r}, 'w').write('ran')\n\nclass Evil: pass\n", encoding="utf-8")


@pytest.fixture
def evil(tmp_path: Path, answers_yes: None) -> Iterator[Path]:
    """A checkpoint of an unknown kind, whose code writes a file; the file must not be there afterwards."""
    folder = tmp_path / "evil"
    folder.mkdir()
    sign = tmp_path / "sign"
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    auto_map = dict.fromkeys(classes, "evil.Evil")
    settings = {"model_type": "evil", "auto_map": auto_map, "architectures": ["Evil"]}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    make_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    write_code(folder / "evil.py", sign)
    yield folder
    assert not sign.exists(), "the code of the checkpoint was run"


LOADS: dict[str, Callable[[Path], Any]] = {
    "language model": lambda folder: LanguageModel(str(folder))(["a"]),
    "inference": lambda folder: NLIModel(str(folder))([("a", "b")]),
    "embedder": lambda folder: bert_embedder(str(folder), layer=1),
}


@pytest.mark.parametrize("kind", LOADS)
def test_code_of_a_checkpoint_is_refused(kind: str, evil: Path) -> None:
    with pytest.raises(ModelError, match="needs Python code of its own"):
        LOADS[kind](evil)


@pytest.mark.parametrize("load", [mova.load, VideoLLM.from_pretrained])
def test_models_of_unknown_kinds_are_refused(load: Callable[[str], Any], evil: Path) -> None:
    with pytest.raises(ModelError, match="evil"):
        load(str(evil))


def test_contrast_does_not_ask_whether_code_may_run(evil: Path, call: Any, tmp_path: Path) -> None:
    row = {"id": "a", "video": "a.mp4", "captions": [{"text": "A dog runs."}], "duration": 2.0, "split": "train"}
    rows = tmp_path / "mm.jsonl"
    rows.write_text(json.dumps(row) + "\n", encoding="utf-8")
    code, out, err = call("data", "contrast", rows, tmp_path / "out", "--llm", evil)
    assert code == 1
    assert "needs Python code of its own" in err
    assert "[y/N]" not in out + err


def test_code_of_a_tokenizer_is_refused(evil: Path) -> None:
    path = evil / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "Evil"}
    path.write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}), "utf-8")
    (evil / "config.json").write_text('{"model_type": "evil"}', encoding="utf-8")
    (evil / "preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}', encoding="utf-8")
    with pytest.raises(ModelError, match="needs Python code of its own"):
        load_processor(evil, "llava")


def test_code_of_a_part_of_a_pipeline_is_refused(tmp_path: Path, answers_yes: None) -> None:
    diffusers = pytest.importorskip("diffusers")
    from mova.text_to_video.diffusers_pipeline import TextToVideo

    assert diffusers
    folder, sign = build("text_to_video_sd", tmp_path / "pipeline"), tmp_path / "sign"
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["unet"] = ["evil", "Evil"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    write_code(folder / "unet" / "evil.py", sign)
    with pytest.raises(ModelError, match="needs Python code of its own"):
        TextToVideo.from_pretrained(folder)
    assert not sign.exists()


def test_a_library_cannot_ask_inside_the_block(answers_yes: None) -> None:
    ask = dynamic_module_utils.resolve_trust_remote_code
    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    with refuse_code("outer"):
        with pytest.raises(ModelError, match="inner: needs Python code"), refuse_code("inner"):
            ask(None, "inner", has_local_code=False, has_remote_code=True)
        with pytest.raises(ValueError, match="trust_remote_code"):
            ask(None, "outer", has_local_code=False, has_remote_code=True)
    assert before == dynamic_module_utils.TIME_OUT_REMOTE_CODE
