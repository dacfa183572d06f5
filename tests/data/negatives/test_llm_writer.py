"""Negatives written by a language model: prompts, answers, a local endpoint, a tiny transformers model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mova.data.manifest import Caption, Row
from mova.data.negatives.checks import rejection_reason
from mova.data.negatives.generate import generate_negatives
from mova.data.negatives.kinds import KINDS
from mova.data.negatives.llm_writer import EXAMPLES, LanguageModelWriter, build_prompt, parse_answer
from mova.errors import ModelError
from mova.text.llm import Endpoint, LanguageModel
from mova.text.nli import NLIModel

ROWS = [Row("v", "v.mp4", None, "train", (Caption("A big cat sits on a bed."),))]


class Server:
    """A server that replies with a sequence of status codes and records its requests."""

    def __init__(self, states: Sequence[int], answer: str) -> None:
        self.states, self.asked, self.keys = list(states), [], []  # type: ignore[var-annotated]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body["messages"][0]["content"])
                outer.keys.append(self.headers.get("Authorization"))
                state = outer.states.pop(0) if outer.states else 200
                reply: dict[str, Any] = {"choices": [{"message": {"content": answer}}]}
                if state != 200:
                    reply = {"error": f"no, {self.headers.get('Authorization')}"}
                content = json.dumps(reply).encode()
                self.send_response(state)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Any]:
    started: list[Server] = []

    def start(states: Sequence[int] = (), answer: str = "A big dog sits on a bed.") -> Server:
        started.append(Server(states, answer))
        return started[-1]

    yield start
    for server in started:
        server.http.shutdown()
        server.http.server_close()


def test_the_examples_of_the_prompt_pass_the_checks() -> None:
    assert set(EXAMPLES) == set(KINDS)
    for kind, (old, new) in EXAMPLES.items():
        assert rejection_reason(old, new, kind) is None, kind
        prompt = build_prompt("A cat {sits}.", kind)
        assert "A cat {sits}." in prompt
        assert new in prompt


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('\n "A dog sits." \nBecause', "A dog sits."),
        ("NONE.", ""),
        ("", ""),
        ("“A b.”", "A b."),
        ("A 'b' c.", "A 'b' c."),
    ],
)
def test_the_answer_is_its_first_line(answer: str, text: str) -> None:
    assert parse_answer(answer) == text


def test_answers_of_a_language_model_pass_the_same_checks() -> None:
    answers = {"object": "A big dog sits on a bed.", "attribute": "A large cat sits on a bed.", "action": "NONE"}

    def generate(prompts: Sequence[str]) -> list[str]:
        return [answers[kind] for prompt in prompts for kind in answers if EXAMPLES[kind][1] in prompt]  # type: ignore[index]

    triplets, report = generate_negatives(ROWS, tuple(answers), writer=LanguageModelWriter(generate))
    assert [(t.negative.text, t.negative.kind) for t in triplets] == [("A big dog sits on a bed.", "object")]
    assert report.reasons == {"no change": 1}
    assert report.impossible["action"] == report.refused["attribute"] == 1


def test_an_endpoint_is_retried_and_its_key_is_not_shown(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    waits: list[float] = []
    server = serve((503, 429))
    answers = Endpoint(server.url, "m", sleep=waits.append)(["one"])
    assert answers == ["A big dog sits on a bed."]
    assert waits == [1.0, 2.0]
    assert server.keys == ["Bearer secret-key"] * 3
    with pytest.raises(ModelError, match="401") as refused:
        Endpoint(serve((401,)).url, "m", sleep=waits.append)(["one"])
    assert "secret-key" not in str(refused.value)
    with pytest.raises(ModelError, match="after 2 attempts"):
        Endpoint(serve((500, 500)).url, "m", retries=1, sleep=waits.append)(["one"])
    with pytest.raises(ModelError, match="http://"):
        Endpoint("localhost", "m")


def test_the_command_asks_an_endpoint(serve: Any, call: Any, tmp_path: Path) -> None:
    from mova.data.manifest import write_manifest

    server = serve()
    manifest = write_manifest(tmp_path / "in.jsonl", ROWS)
    asking = ("--llm", "m", "--endpoint", server.url, "--kinds", "object", "--json")
    code, out, _ = call("data", "contrast", manifest, tmp_path / "out", *asking)
    assert code == 0
    assert json.loads(out)["made"] == {"object": 1}
    assert len(server.asked) == 1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights and a word tokenizer, and a classifier of the same shape."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llm")
    words = ["<pad>", "<unk>", "</s>", *["a", "big", "cat", "sits", "on", "bed", ".", "dog", "the", "none"]]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    shape = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = LlamaConfig(**shape, num_attention_heads=2, pad_token_id=0, eos_token_id=2)
    LlamaForCausalLM(config).save_pretrained(folder / "lm")
    labels = {0: "CONTRADICTION", 1: "ENTAILMENT", 2: "NEUTRAL"}
    judge = LlamaConfig(**shape, num_attention_heads=2, pad_token_id=0, num_labels=3, id2label=labels)
    LlamaForSequenceClassification(judge).save_pretrained(folder / "nli")
    for name in ("lm", "nli"):
        tokenizer.save_pretrained(folder / name)
    return folder


def test_a_model_of_transformers_answers_alike_in_any_batch(tiny: Path) -> None:
    prompts = ["a big cat sits", "dog", "the cat on a bed ."]
    together = LanguageModel(str(tiny / "lm"), max_tokens=5)(prompts)
    assert len(together) == 3
    assert together == LanguageModel(str(tiny / "lm"), max_tokens=5, batch=1)(prompts)
    with pytest.raises(ModelError, match="cannot be loaded"):
        LanguageModel(str(tiny / "nothing"))(["a"])


def test_inference_models_give_the_probability_of_their_label(tiny: Path) -> None:
    pairs = [("a big cat sits", "a cat sits"), ("a dog", "the dog on a bed"), ("a", "cat")]
    probabilities = NLIModel(str(tiny / "nli"), batch=2)(pairs)
    alone = [NLIModel(str(tiny / "nli"))([pair])[0] for pair in pairs]
    assert probabilities == pytest.approx(alone, abs=1e-5)
    assert all(0 < p < 1 for p in probabilities)
    with pytest.raises(ModelError, match="cannot be loaded"):
        NLIModel(str(tiny / "nothing"))(pairs)
    with pytest.raises(ModelError, match="entailment"):
        NLIModel(str(tiny / "lm"))(pairs)
