"""A small video LLM: a Llama decoder over frame vectors and words that answers yes or no at its last position.

    [frames 1..T] [words of the caption, a full stop after each sentence] <ask>

It is `LlamaForCausalLM` of transformers plus a projection of frame vectors. Word embeddings start from the vectors of
the warm text tower, which share a space with those of frames. The score is that of `models/video_llm/yes_no.py`.
Padding follows `<ask>`, and positions count all tokens, masked or not, so masking a word does not move the others
(SynViTA, Zanella et al. 2025, footnote 2).

Shape legend: n rows, V videos per row, S captions per row, T frames, d width of frame vectors, L tokens per prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mova.models.video_llm.yes_no import Answers, yes_no_log_odds
from mova.models.worlds_tiny.model import WorldsTiny
from mova.models.worlds_tiny.towers import word_tokenizer
from mova.text.common_subsequence import common_subsequence_mask
from mova.worlds.batches import vocabulary
from mova.worlds.captions import VOCABULARY as WORDS
from mova.worlds.captions import words

ASK = "ask"
STOP = "stop"
VOCABULARY = [*vocabulary(), STOP, ASK, "yes", "no"]
LAYERS, HEADS = 2, 4
LONGEST = 96


class Words:
    """Tokenizer of captions for the decoder."""

    def __init__(self) -> None:
        self.tokenizer: PreTrainedTokenizerFast = word_tokenizer(VOCABULARY, LONGEST)
        self.answers = Answers.of(self.tokenizer)

    def prompt(self, sentences: Sequence[str]) -> list[int]:
        """Return the ids of a caption followed by the question."""
        tokens = [word for sentence in sentences for word in (*words(sentence), STOP)]
        ids: list[int] = self.tokenizer.convert_tokens_to_ids([*tokens, ASK])
        return ids


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return ids (len(rows), L), right-padded with 0."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def common_masks(first: Sequence[int], second: Sequence[int], length: int) -> Tensor:
    """Return the tokens that two prompts share, bool (2, length); padding is false."""
    kept = torch.zeros(2, length, dtype=torch.bool)
    for row, mask in zip(kept, common_subsequence_mask(first, second), strict=True):
        row[: len(mask)] = torch.from_numpy(np.ascontiguousarray(mask))
    return kept


@torch.no_grad()
def word_vectors(model: WorldsTiny) -> Tensor:
    """Encode each word of `VOCABULARY` with the warm text tower, (words, d); unknown words are noise."""
    vectors = torch.randn(len(VOCABULARY), model.config.embedding_dim)
    word_ids = [i for i, word in enumerate(VOCABULARY) if word in WORDS]
    vectors[word_ids] = model.encode_text([VOCABULARY[i] for i in word_ids]).pooled
    return vectors


class Decoder(nn.Module):
    """The decoder described above.

    Args:
        word_vectors: (words, d), initial embeddings in the space of the frames.
        answers: ids of yes and no.
        layers: number of blocks.
    """

    def __init__(self, word_vectors: Tensor, answers: Answers, layers: int = LAYERS) -> None:
        super().__init__()
        count, width = word_vectors.shape
        config = LlamaConfig(
            vocab_size=count,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=2 * LONGEST,
            initializer_range=width**-0.5 / 2,
            pad_token_id=0,
            tie_word_embeddings=True,
            use_cache=False,
        )
        self.answers = answers
        self.enter = nn.Linear(width, width)
        self.llm = LlamaForCausalLM(config)
        with torch.no_grad():
            nn.init.eye_(self.enter.weight)
            nn.init.zeros_(self.enter.bias)
            self.llm.model.embed_tokens.weight.copy_(F.normalize(word_vectors, dim=-1))

    def forward(self, frames: Tensor, ids: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return `log P(Yes) - log P(No)` of every video of a row with every caption of the row.

        Args:
            frames: (n, V, T, d).
            ids: int64 (n, S, L), prompts padded with 0.
            keep: bool (n, S, L), tokens that attention sees (default: all but padding).

        Returns:
            (n, V, S) float32.
        """
        ids = ids[..., : _longest(ids)]
        keep = None if keep is None else keep[..., : ids.shape[-1]]
        rows, videos, captions = len(frames), frames.shape[1], ids.shape[1]
        repeated = frames[:, :, None].expand(-1, -1, captions, -1, -1).flatten(0, 2)
        prompts = ids[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        mask = prompts > 0 if keep is None else keep[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        states = self._states(repeated, prompts, mask)
        return self._odds(states, prompts, frames.shape[2]).view(rows, videos, captions)

    def warm_up(self, frames: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the outputs for training without hard negatives, from videos (n, T, d) and their prompts (n, L).

        Returns:
            Mean cross-entropy of each caption word given the video and the previous words, and log odds (n, 1, 2) of
            every video with its own caption and with that of the next row.
        """
        ids = ids[:, : _longest(ids)]
        samples, pairs = frames.shape[1], torch.cat([ids, ids.roll(1, dims=0)])
        states = self._states(frames.repeat(2, 1, 1), pairs, pairs > 0)
        words = self.llm.lm_head(states[: len(ids), samples - 1 : -1])
        loss = F.cross_entropy(words.flatten(0, 1), ids.flatten(), ignore_index=0)
        return loss, self._odds(states, pairs, samples).view(2, 1, -1).permute(2, 1, 0)

    def _odds(self, states: Tensor, ids: Tensor, samples: int) -> Tensor:
        """Return the log odds of yes after the last token of prompts (n, L) that follow `samples` frames, (n,)."""
        last = samples + (ids > 0).sum(dim=1) - 1
        logits = self.llm.lm_head(states[torch.arange(len(states)), last])
        return yes_no_log_odds(logits, self.answers.yes, self.answers.no)

    def _states(self, frames: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last layer's states (n, T + L, width) for frames (n, T, d) and ids (n, L)."""
        inputs = torch.cat([self.enter(F.normalize(frames, dim=-1)), self.llm.model.embed_tokens(ids)], dim=1)
        attention = torch.cat([mask.new_ones(len(mask), frames.shape[1]), mask], dim=1)
        positions = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
        outputs = self.llm.model(inputs_embeds=inputs, attention_mask=attention.long(), position_ids=positions)
        return outputs.last_hidden_state


def _longest(ids: Tensor) -> int:
    """Return the number of tokens of the longest prompt; everything beyond is padding."""
    return int((ids > 0).sum(dim=-1).max())
