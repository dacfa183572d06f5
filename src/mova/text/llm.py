"""Answer prompts with an instruction-tuned transformers model, or with a server of OpenAI's chat completions API.

Decoding is greedy, so answers are reproducible.
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

from mova.errors import ModelError, refuse_code

log = logging.getLogger(__name__)

TIMEOUT = 120.0
"""Seconds to wait for an answer from a server."""
LONGEST_WAIT = 60.0
"""Maximum number of seconds between two attempts."""
RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP status codes after which another attempt may succeed."""


class Generator(Protocol):
    """Answers prompts."""

    def __call__(self, prompts: Sequence[str], /) -> list[str]:
        """Return one answer per prompt, in order."""


@dataclass
class LanguageModel:
    """An instruction-tuned transformers model, loaded at the first prompt.

    Attributes:
        model: Hub name or folder.
        max_tokens: maximum length of an answer.
        batch: prompts per batch.
        device: torch device.
    """

    model: str
    max_tokens: int = 256
    batch: int = 8
    device: str = "cpu"

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """Answer prompts. A prompt longer than the model's context gets an empty answer and a warning in the log.

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
            raise ModelError(
                f"{self.model}: a batch of {len(fit)} prompts does not fit into memory: {error}"
            ) from error
        return [next(answers) if text in fit else "" for text in texts]

    def _fits(self, text: str, special: bool) -> bool:
        """Return whether a prompt and an answer fit into the context of the model."""
        tokenizer, model = self._loaded
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is None:
            return True
        available = limit if model.config.is_encoder_decoder else limit - self.max_tokens
        if (count := len(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])) > available:
            log.warning("%s: skipped a prompt of %d tokens; the model accepts at most %d", self.model, count, available)
        return count <= available

    def _generated(self, texts: Sequence[str], special: bool) -> list[str]:
        import torch

        tokenizer, model = self._loaded
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=special).to(self.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        if not model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        return list(tokenizer.batch_decode(tokens, skip_special_tokens=True))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        try:
            with refuse_code(self.model):
                config = AutoConfig.from_pretrained(self.model, trust_remote_code=False)
                kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
                tokenizer = AutoTokenizer.from_pretrained(self.model, padding_side="left", trust_remote_code=False)
                model = kind.from_pretrained(self.model, dtype="auto", trust_remote_code=False)
            model = model.to(self.device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.model}: cannot be loaded as a language model: {error}") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer, model


def _as_chat(tokenizer: Any, prompt: str) -> str:
    """Format a prompt as a chat. `enable_thinking` turns off reasoning; templates without that option ignore it."""
    turn = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False))


@dataclass
class Endpoint:
    """A server of OpenAI's chat completions API.

    Attributes:
        url: base URL including the version, such as `http://localhost:8000/v1`.
        model: name of the model on the server.
        max_tokens: maximum length of an answer.
        key: environment variable that contains the API key, if any. The key is never logged.
        parallel: number of concurrent requests.
        retries: further attempts after a status in `RETRYABLE` or a broken connection.
        sleep: function that waits for a number of seconds.

    Raises:
        ModelError: the URL is not an HTTP URL.
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
            raise ModelError(f"{self.url}: the URL of an endpoint must begin with http:// or https://")

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """Answer prompts.

        Raises:
            ModelError: the server rejects a request, or does not answer after all attempts.
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
                retry_after = error.headers.get("Retry-After", "")
                wait = min(LONGEST_WAIT, float(retry_after)) if retry_after.isdigit() else wait
                if error.code not in RETRYABLE:
                    raise ModelError(f"{self.url}: rejected the request for {self.model!r}: {cause}") from None
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
            excerpt = self._clean(content[:200].decode(errors="replace"))
            raise ModelError(f"{self.url}: the answer is not a chat completion: {excerpt}") from error

    def _clean(self, text: str) -> str:
        """Remove the key from a message of the server."""
        secret = os.environ.get(self.key)
        return text.replace(secret, "***") if secret else text
