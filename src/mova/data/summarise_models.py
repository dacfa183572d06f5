"""Summaries by language models: any instruct model through transformers, or an OpenAI-compatible endpoint.

GEXIA used Vicuna 13B (Section 4.1; Appendix A compares others). Answers are greedy, so they can be had again.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mova.data.summarise import Summary
from mova.errors import ModelError

log = logging.getLogger(__name__)

PROMPT = (
    "The following sentences describe one video, in order of time. Summarise them in one sentence of at most {words} "
    "words. Answer with that sentence alone.\n\n{text}"
)
TOKENS_A_WORD = 3
"""Room for an answer; most languages need fewer."""
TIMEOUT = 120.0
"""Seconds to wait for an answer of an endpoint."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts."""
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP states after which another attempt may succeed."""


@dataclass
class LanguageModel:
    """An instruct model of transformers.

    Attributes:
        model: name on the hub, or a folder.
        words: asked of every answer.
        batch: texts at once.
        device: as torch names it.
    """

    model: str
    words: int
    batch: int = 8
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Model and budget."""
        return f"transformers,model={self.model},words={self.words}"

    def summarise(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """See `Summariser`.

        Raises:
            ModelError: the model cannot be loaded or run.
        """
        import torch

        tokenizer, model = self._loaded
        prompts = [self._prompt(tokenizer, " ".join(text)) for text in texts]
        plain = getattr(tokenizer, "chat_template", None) is None
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=plain).to(self.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            found = model.generate(**inputs, max_new_tokens=TOKENS_A_WORD * self.words, do_sample=False)
        if not model.config.is_encoder_decoder:
            found = found[:, inputs["input_ids"].shape[1] :]
        return [Summary(tidy(answer)) for answer in tokenizer.batch_decode(found, skip_special_tokens=True)]

    def _prompt(self, tokenizer: Any, text: str) -> str:
        prompt = PROMPT.format(words=self.words, text=text)
        if getattr(tokenizer, "chat_template", None) is None:
            return f"{prompt}\n\n"
        return str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(self.model)
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            tokenizer = AutoTokenizer.from_pretrained(self.model, padding_side="left")
            model = kind.from_pretrained(self.model, dtype="auto").to(self.device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.model}: cannot be loaded as a language model: {error}") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer, model


@dataclass
class Endpoint:
    """A server that speaks OpenAI's chat completions.

    Attributes:
        url: up to and with the version, such as `http://localhost:8000/v1`.
        model: name on the server.
        words: asked of every answer.
        key: name of the environment variable with the key; none is sent where it is not set. Never logged.
        parallel: requests at once.
        retries: further attempts after a state of `PASSING` or a broken connection.
        sleep: waits so many seconds.
    """

    url: str
    model: str
    words: int
    key: str = "OPENAI_API_KEY"
    parallel: int = 4
    retries: int = 5
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ModelError(
                f"{self.url}: an endpoint begins with http:// or https://, such as http://localhost:8000/v1"
            )

    @property
    def name(self) -> str:
        """Model and budget."""
        return f"endpoint,model={self.model},words={self.words}"

    @property
    def batch(self) -> int:
        """As many as keep all requests busy."""
        return 8 * self.parallel

    def summarise(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """See `Summariser`.

        Raises:
            ModelError: the server refuses, or is not there after all attempts.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return [Summary(tidy(answer)) for answer in pool.map(self._ask, (" ".join(text) for text in texts))]

    def _ask(self, text: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": PROMPT.format(words=self.words, text=text)}],
            "max_tokens": TOKENS_A_WORD * self.words,
            "temperature": 0,
        }
        for attempt in range(self.retries + 1):
            wait = min(LONGEST_WAIT, 2.0**attempt)
            try:
                return self._answer(json.dumps(body).encode())
            except urllib.error.HTTPError as error:
                cause = self._clean(f"{error.code} {error.reason}: {error.read(400).decode(errors='replace')}")
                told = error.headers.get("Retry-After", "")
                wait = min(LONGEST_WAIT, float(told)) if told.isdigit() else wait
                if error.code not in PASSING:
                    raise ModelError(f"{self.url}: the endpoint refuses {self.model!r}: {cause}") from None
            except (OSError, http.client.HTTPException) as error:
                cause = self._clean(str(getattr(error, "reason", None) or error))
            if attempt < self.retries:
                log.info("%s: %s; attempt %d of %d", self.url, cause, attempt + 2, self.retries + 1)
                self.sleep(wait)
        raise ModelError(f"{self.url}: no answer after {self.retries + 1} attempts: {cause}; what is done is kept")

    def _answer(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if secret := os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {secret}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            content = reply.read()
        try:
            return str(json.loads(content)["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            shown = self._clean(content[:200].decode(errors="replace"))
            raise ModelError(f"{self.url}: the answer is no chat completion: {shown}") from error

    def _clean(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        secret = os.environ.get(self.key)
        return text.replace(secret, "***") if secret else text


def tidy(answer: str) -> str:
    """An answer on one line, without the quotes that models like to put around it."""
    text = " ".join(answer.split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text
