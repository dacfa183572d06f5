"""A video LLM in small: a Llama decoder over frame vectors and words that says yes or no at its last position.

    [frames 1..T] [words of the caption, a full stop after each sentence] <ask>

It is transformers' own `LlamaForCausalLM`; only the projection of frame vectors is added. The score is that of
`models/videollm_score.py`. Padding stands behind `<ask>`, and positions count tokens whether attention sees them or not,
so a masked word moves none of the others (SynViTA, papers/synvita.txt, footnote 2).

Shape legend: n rows, V videos a row, S captions a row, T frames, d width of frame vectors, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mova.data.common_subsequence import common_subsequence_mask
from mova.data.worlds_batches import vocabulary
from mova.data.worlds_captions import words
from mova.models.videollm_score import Answers, yes_no_log_odds
from mova.models.worlds_tiny_towers import word_tokenizer

ASK = "ask"
STOP = "stop"
VOCABULARY = [*vocabulary(), STOP, ASK, "yes", "no"]
WIDTH, LAYERS, HEADS = 96, 2, 4
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


class Decoder(nn.Module):
    """See the module."""

    def __init__(self, frame_width: int, answers: Answers, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        config = LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=2 * LONGEST,
            pad_token_id=0,
            tie_word_embeddings=True,
            use_cache=False,
        )
        self.answers = answers
        self.enter = nn.Sequential(nn.LayerNorm(frame_width), nn.Linear(frame_width, width))
        self.llm = LlamaForCausalLM(config)
        with torch.no_grad():
            self.enter[1].weight.mul_(0.1)  # frames start as loud as words do

    def forward(self, frames: Tensor, ids: Tensor, keep: Tensor | None = None) -> Tensor:
        """Log odds of yes, `log P(Yes) - log P(No)`, of every video of a row with every caption of it.

        Args:
            frames: (n, V, T, d).
            ids: int64 (n, S, L), prompts, 0 where padded.
            keep: bool (n, S, L), the tokens that attention sees; all but padding if left out.

        Returns:
            (n, V, S) float32.
        """
        rows, videos, captions = len(frames), frames.shape[1], ids.shape[1]
        seen = frames[:, :, None].expand(-1, -1, captions, -1, -1).flatten(0, 2)
        prompts = ids[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        mask = prompts > 0 if keep is None else keep[:, None].expand(-1, videos, -1, -1).flatten(0, 2)
        states = self._states(seen, prompts, mask)
        last = frames.shape[2] + (prompts > 0).sum(dim=1) - 1
        logits = self.llm.lm_head(states[torch.arange(len(states)), last])
        return yes_no_log_odds(logits, self.answers.yes, self.answers.no).view(rows, videos, captions)

    def caption_loss(self, frames: Tensor, ids: Tensor) -> Tensor:
        """Mean cross-entropy of each word of a caption, (n, L), given the video (n, T, d) and the words before it."""
        states = self._states(frames, ids, ids > 0)[:, frames.shape[1] - 1 : -1]
        return F.cross_entropy(self.llm.lm_head(states).flatten(0, 1), ids.flatten(), ignore_index=0)

    def _states(self, frames: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, T + L, width) of the last layer; frames (n, T, d) and ids (n, L)."""
        inputs = torch.cat([self.enter(frames), self.llm.model.embed_tokens(ids)], dim=1)
        attention = torch.cat([mask.new_ones(len(mask), frames.shape[1]), mask], dim=1)
        places = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
        found = self.llm.model(inputs_embeds=inputs, attention_mask=attention.long(), position_ids=places)
        return found.last_hidden_state
