"""Summaries: the extractive summarizer against explicit arithmetic, language models with small real models."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.errors import ModelError
from mova.text import summarize
from mova.text.llm import LanguageModel, _as_chat
from mova.text.summarize import Extractive, Summary, count_words, first_words
from mova.text.summarize_llm import PROMPT, LLMSummarizer, clean_answer, endpoint_summarizer, model_summarizer
from mova.text.units import word_spans

TEXT = ("A man throws a red ball.", "A dog runs after the red ball.", "It rains.", "The dog brings the ball back.")


def written_out(text: tuple[str, ...]) -> list[float]:
    """Centralities by plain loops in float64."""
    words = [[word.strip(".,!").lower() for word in sentence.split()] for sentence in text]
    among = Counter(word for sentence in words for word in set(sentence))
    idf = {word: math.log((1 + len(text)) / (1 + n)) + 1 for word, n in among.items()}
    vectors = []
    for sentence in words:
        vector = {word: n * idf[word] for word, n in Counter(sentence).items()}
        length = math.sqrt(sum(x * x for x in vector.values()))
        vectors.append({word: x / length for word, x in vector.items()})
    centroid = {word: sum(v.get(word, 0.0) for v in vectors) for word in among}
    length = math.sqrt(sum(x * x for x in centroid.values()))
    return [sum(x * centroid[word] for word, x in v.items()) / length for v in vectors]


def test_centralities_equal_explicit_arithmetic_in_any_batch() -> None:
    others = [("A cat.", "The red dog runs."), ("One.",)]
    words = [[summarize._words(s) for s in text] for text in (others[0], TEXT, others[1])]
    centralities = summarize._centralities(words)
    assert centralities[2:6] == pytest.approx(written_out(TEXT), abs=1e-12)
    assert centralities[2:6].tolist() == summarize._centralities(words[1:2]).tolist()
    assert centralities[6] == pytest.approx(1.0)


def test_the_most_central_sentences_that_fit_are_kept_in_order() -> None:
    order = sorted(range(4), key=lambda n: -written_out(TEXT)[n])
    for budget in (6, 9, 13, 40):
        remaining, expected = budget, []
        for n in order:
            if len(TEXT[n].split()) <= remaining:
                remaining -= len(TEXT[n].split())
                expected.append(n)
        (result,) = Extractive(budget).summarize([TEXT])
        assert result.kept == tuple(sorted(expected))
        assert result.text == " ".join(TEXT[n] for n in result.kept)
        assert count_words(result.text) <= budget


def test_repetitions_are_kept_once_and_long_sentences_truncated() -> None:
    assert Extractive(9).summarize([("A dog runs.", "a dog runs", "A dog runs!")]) == [Summary("A dog runs.", (0,))]
    assert Extractive(3).summarize([("One, two, three, four.",)]) == [Summary("One, two, three")]
    assert Extractive(4).summarize([("!!", "?")])[0].text == "!!"
    assert Extractive(5).summarize([]) == []
    assert first_words("我们在这里打篮球", 2) == "我们在这"


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_the_fast_path_for_ascii_counts_the_same_words(text: str) -> None:
    spans = word_spans(text)
    assert count_words(text) == len(spans)
    letters = ["".join(c for c in text[a:b].lower() if c.isalnum()) for a, b in spans]
    assert summarize._words(text) == letters


@pytest.fixture(scope="module")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from tests.support.tiny_models import clip_tokenizer

    folder = tmp_path_factory.mktemp("language")
    base = clip_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=base.backend_tokenizer, eos_token=base.eos_token, pad_token=base.eos_token
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}answer:"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_language_model_answers_the_same_alone_and_in_a_batch(tiny_language_model: Path) -> None:
    model = model_summarizer(str(tiny_language_model), words=4, batch=3)
    texts = [TEXT, TEXT[:1], TEXT[2:]]
    together = model.summarize(texts)
    assert together == [model.summarize([text])[0] for text in texts]
    assert all("user:" not in summary.text and not summary.kept for summary in together)
    assert str(tiny_language_model) in model.name
    with pytest.raises(ModelError, match="cannot be loaded"):
        model_summarizer(str(tiny_language_model / "no"), words=4).summarize([TEXT])


def test_a_prompt_beyond_the_context_has_an_empty_answer(tiny_language_model: Path) -> None:
    model = model_summarizer(str(tiny_language_model), words=4)
    generator = model.generator
    assert isinstance(generator, LanguageModel)
    expected = model.summarize([TEXT[:1]])
    tokenizer, loaded = generator._loaded
    chat = _as_chat(tokenizer, PROMPT.format(words=4, text=TEXT[0]))
    loaded.config.max_position_embeddings = len(tokenizer(chat)["input_ids"]) + generator.max_tokens
    assert model.summarize([TEXT * 9, TEXT[:1], TEXT * 9]) == [Summary(""), *expected, Summary("")]
    assert model.summarize([TEXT * 9]) == [Summary("")]


class Server(HTTPServer):
    """Answer with the given status codes, then with the words of the request in capitals."""

    states: list[int]
    asked: list[dict]
    keys: list[str | None]


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        state = self.server.states.pop(0) if self.server.states else 200
        text = body["messages"][0]["content"].split("\n\n", 1)[1].upper()
        answer = {"choices": [{"message": {"content": f'"{text}"\n'}}]}
        content = json.dumps(answer).encode() if state == 200 else f"no: {self.headers.get('Authorization')}".encode()
        if state == 299:
            state, content = 200, b'{"choices": []}'
        self.send_response(state)
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    http_server = Server(("127.0.0.1", 0), Answer)
    http_server.states, http_server.asked, http_server.keys = [], [], []
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield http_server
    http_server.shutdown()
    thread.join()
    http_server.server_close()


def endpoint(server: Server, waits: list[float], **changes: object) -> LLMSummarizer:
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    return endpoint_summarizer(url, "m", 5, **{"key": "MOVA_TEST_KEY", "parallel": 2, "sleep": waits.append, **changes})


def test_requests_are_retried_until_the_endpoint_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVA_TEST_KEY", "sk-secret")
    waits: list[float] = []
    server.states = [503, 429]
    result = endpoint(server, waits, parallel=1).summarize([("a dog", "runs"), ("it rains",)])
    assert result == [Summary("A DOG RUNS"), Summary("IT RAINS")]
    assert waits == [7.0, 7.0]
    assert set(server.keys) == {"Bearer sk-secret"}
    assert server.asked[0]["model"] == "m"
    assert server.asked[0]["temperature"] == 0
    many = [(f"text {n}",) for n in range(20)]
    assert [s.text for s in endpoint(server, waits).summarize(many)] == [f"TEXT {n}" for n in range(20)]


def test_endpoint_failures_are_reported_without_the_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOVA_TEST_KEY", "sk-secret")
    waits: list[float] = []
    server.states = [401]
    with pytest.raises(ModelError, match=r"rejected the request for 'm': 401.*\*\*\*") as caught:
        endpoint(server, waits).summarize([("a",)])
    assert "sk-secret" not in str(caught.value)
    server.states = [500] * 9
    with pytest.raises(ModelError, match="no answer after 3 attempts: 500"):
        endpoint(server, waits, retries=2).summarize([("a",)])
    server.states = [299]
    with pytest.raises(ModelError, match="not a chat completion"):
        endpoint(server, waits).summarize([("a",)])
    with pytest.raises(ModelError, match="no answer after 2 attempts"):
        endpoint_summarizer("http://127.0.0.1:9/v1", "m", 5, retries=1, sleep=waits.append).summarize([("a",)])
    with pytest.raises(ModelError, match="must begin with http"):
        endpoint_summarizer("ftp://x", "m", 5)


def test_quotes_and_line_breaks_are_removed_from_answers() -> None:
    assert clean_answer(' "A dog\nruns." ') == "A dog runs."
    assert clean_answer('He says "no"') == 'He says "no"'
    assert clean_answer('"') == '"'
    assert clean_answer('"No," he says, "never."') == '"No," he says, "never."'
    assert clean_answer('<think>\nA "dog"?\n</think>\n\n"A dog runs."') == "A dog runs."
    assert clean_answer("so a dog.</think> A dog runs.") == "A dog runs."
    assert clean_answer("<think> the text is about") == ""
