"""Prompts in, answers out: an instruct model through transformers, or a server that speaks OpenAI's chat completions.

Answers are greedy, so they can be had again.
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
from typing import Any, Protocol

from mova.errors import ModelError

log = logging.getLogger(__name__)

TIMEOUT = 120.0
"""Seconds to wait for one answer of a server."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts at most."""
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP states after which another attempt may succeed."""


class Generator(Protocol):
    """Answers prompts."""

    def __call__(self, prompts: Sequence[str], /) -> list[str]:
        """One answer a prompt, in order."""


@dataclass
class LanguageModel:
    """An instruct model of transformers; loaded at the first prompt.

    Attributes:
        model: name on the hub, or a folder.
        max_tokens: of an answer.
        batch: prompts at once.
        device: as torch names it.
    """

    model: str
    max_tokens: int = 256
    batch: int = 8
    device: str = "cpu"

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """See `Generator`. What is longer than the model reads has an empty answer, and a warning in the log.

        Raises:
            ModelError: the model cannot be loaded, or a batch does not fit into memory.
        """
        starts = range(0, len(prompts), self.batch)
        return [answer for start in starts for answer in self._answers(prompts[start : start + self.batch])]

    def _answers(self, prompts: Sequence[str]) -> list[str]:
        import torch

        tokenizer, _ = self._loaded
        chat = getattr(tokenizer, "chat_template", None) is not None
        texts = [_as_chat(tokenizer, prompt) if chat else f"{prompt}\n" for prompt in prompts]
        fit = [text for text in texts if self._fits(text, not chat)]
        try:
            answers = iter(self._generated(fit, not chat) if fit else ())
        except torch.OutOfMemoryError as error:
            raise ModelError(f"{self.model}: {len(fit)} prompts at once do not fit into memory: {error}") from error
        return [next(answers) if text in fit else "" for text in texts]

    def _fits(self, text: str, special: bool) -> bool:
        """Whether the model reads a prompt to its end and has room for an answer."""
        tokenizer, model = self._loaded
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is None:
            return True
        room = limit if model.config.is_encoder_decoder else limit - self.max_tokens
        if (count := len(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])) > room:
            log.warning("%s: a prompt of %d tokens is left out; the model reads %d", self.model, count, room)
        return count <= room

    def _generated(self, texts: Sequence[str], special: bool) -> list[str]:
        import torch

        tokenizer, model = self._loaded
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=special).to(self.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            found = model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        if not model.config.is_encoder_decoder:
            found = found[:, inputs["input_ids"].shape[1] :]
        return list(tokenizer.batch_decode(found, skip_special_tokens=True))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
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


def _as_chat(tokenizer: Any, prompt: str) -> str:
    """The prompt as a chat; templates of models that may think first are told not to, others do not look at that."""
    turn = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False))


@dataclass
class Endpoint:
    """A server that speaks OpenAI's chat completions.

    Attributes:
        url: up to and with the version, such as `http://localhost:8000/v1`.
        model: name on the server.
        max_tokens: of an answer.
        key: name of the environment variable that holds the key; none is sent where it is not set. Never logged.
        parallel: requests at once.
        retries: further attempts after a state of `PASSING` or a broken connection.
        sleep: waits so many seconds.

    Raises:
        ModelError: the address is none.
    """

    url: str
    model: str
    max_tokens: int = 256
    key: str = "OPENAI_API_KEY"
    parallel: int = 4
    retries: int = 5
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ModelError(f"{self.url}: an endpoint begins with http:// or https://")

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """See `Generator`.

        Raises:
            ModelError: the server refuses, or does not answer after all attempts.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, prompts))

    def _ask(self, prompt: str) -> str:
        turns = [{"role": "user", "content": prompt}]
        body = {"model": self.model, "messages": turns, "max_tokens": self.max_tokens, "temperature": 0}
        cause = ""
        for attempt in range(self.retries + 1):
            wait = min(LONGEST_WAIT, 2.0**attempt)
            try:
                return self._answer(json.dumps(body).encode())
            except urllib.error.HTTPError as error:
                cause = self._clean(f"{error.code} {error.reason}: {error.read(400).decode(errors='replace')}")
                told = error.headers.get("Retry-After", "")
                wait = min(LONGEST_WAIT, float(told)) if told.isdigit() else wait
                if error.code not in PASSING:
                    raise ModelError(f"{self.url}: refuses {self.model!r}: {cause}") from None
            except (OSError, http.client.HTTPException) as error:
                cause = self._clean(str(getattr(error, "reason", None) or error))
            if attempt < self.retries:
                log.info("%s: %s; attempt %d of %d", self.url, cause, attempt + 2, self.retries + 1)
                self.sleep(wait)
        raise ModelError(f"{self.url}: no answer after {self.retries + 1} attempts: {cause}")

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
