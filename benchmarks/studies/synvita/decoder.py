"""A video LLM in small: a Llama decoder over frame vectors and words that says yes or no at its last position.

    [frames 1..T] [words of the caption, a full stop after each sentence] <ask>

It is transformers' own `LlamaForCausalLM`; only the projection of frame vectors is added. Words begin as the warm text
tower's vectors, which share a space with those of frames. The score is that of `models/video_llm/yes_no.py`. Padding
stands behind `<ask>`, and positions count tokens whether attention sees them or not, so a masked word moves none of the
others (papers/synvita.txt, footnote 2).

Shape legend: n rows, V videos a row, S captions a row, T frames, d width of frame vectors, L tokens of a prompt.
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
    """Captions as tokens of the decoder."""

    def __init__(self) -> None:
        self.tokenizer: PreTrainedTokenizerFast = word_tokenizer(VOCABULARY, LONGEST)
        self.answers = Answers.of(self.tokenizer)

    def prompt(self, sentences: Sequence[str]) -> list[int]:
        """Ids of a caption and of the question behind it."""
        said = [word for sentence in sentences for word in (*words(sentence), STOP)]
        ids: list[int] = self.tokenizer.convert_tokens_to_ids([*said, ASK])
        return ids


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Ids (len(rows), L), padded behind with 0."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def common_masks(one: Sequence[int], other: Sequence[int], length: int) -> Tensor:
    """Bool (2, length): the tokens that two prompts share, padding false."""
    kept = torch.zeros(2, length, dtype=torch.bool)
    for row, mask in zip(kept, common_subsequence_mask(one, other), strict=True):
        row[: len(mask)] = torch.from_numpy(np.ascontiguousarray(mask))
    return kept


@torch.no_grad()
def word_vectors(model: WorldsTiny) -> Tensor:
    """(words, d): each word of `VOCABULARY` as the warm text tower sees it alone; those that it lacks are noise."""
    vectors = torch.randn(len(VOCABULARY), model.config.embedding_dim)
    known = [i for i, word in enumerate(VOCABULARY) if word in WORDS]
    vectors[known] = model.encode_text([VOCABULARY[i] for i in known]).pooled
    return vectors


class Decoder(nn.Module):
    """See the module.

    Args:
        word_vectors: (words, d), first embeddings, in the space of the frames; new words get noise.
        answers: ids of yes and no.
        layers: blocks.
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
        """Log odds of yes, `log P(Yes) - log P(No)`, of every video of a row with every caption of it.

        Args:
            frames: (n, V, T, d).
            ids: int64 (n, S, L), prompts, 0 where padded.
            keep: bool (n, S, L), the tokens that attention sees; all but padding if left out.

        Returns:
            (n, V, S) float32.
        """
        ids = ids[..., : _longest(ids)]
        keep = None if keep is None else keep[..., : ids.shape[-1]]
        rows, videos, captions = len(frames), frames.shape[1], ids.shape[1]
        seen = frames[:, :, None].expand(-1, -1, captions, -1, -1).flatten(0, 2)
        prompts = ids[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        mask = prompts > 0 if keep is None else keep[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        states = self._states(seen, prompts, mask)
        return self._odds(states, prompts, frames.shape[2]).view(rows, videos, captions)

    def beginning(self, frames: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What there is to learn without hard negatives, of videos (n, T, d) and their prompts (n, L).

        Returns:
            Mean cross-entropy of each word of a caption given the video and the words before it, and log odds (n, 1, 2)
            of every video with its own caption and with the next row's.
        """
        ids = ids[:, : _longest(ids)]
        samples, both = frames.shape[1], torch.cat([ids, ids.roll(1, dims=0)])
        states = self._states(frames.repeat(2, 1, 1), both, both > 0)
        words = self.llm.lm_head(states[: len(ids), samples - 1 : -1])
        loss = F.cross_entropy(words.flatten(0, 1), ids.flatten(), ignore_index=0)
        return loss, self._odds(states, both, samples).view(2, 1, -1).permute(2, 1, 0)

    def _odds(self, states: Tensor, ids: Tensor, samples: int) -> Tensor:
        """(n,): log odds of yes behind the last token of prompts (n, L) that follow so many samples."""
        last = samples + (ids > 0).sum(dim=1) - 1
        logits = self.llm.lm_head(states[torch.arange(len(states)), last])
        return yes_no_log_odds(logits, self.answers.yes, self.answers.no)

    def _states(self, frames: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, T + L, width) of the last layer; frames (n, T, d) and ids (n, L)."""
        inputs = torch.cat([self.enter(F.normalize(frames, dim=-1)), self.llm.model.embed_tokens(ids)], dim=1)
        attention = torch.cat([mask.new_ones(len(mask), frames.shape[1]), mask], dim=1)
        places = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
        found = self.llm.model(inputs_embeds=inputs, attention_mask=attention.long(), position_ids=places)
        return found.last_hidden_state


def _longest(ids: Tensor) -> int:
    """Tokens of the longest prompt; what lies beyond is padding."""
    return int((ids > 0).sum(dim=-1).max())
