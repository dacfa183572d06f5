"""MoVA's two mask networks: the dimensions of a text that a frame shows, and those of a frame that the text describes.

The paper (arXiv 2607.00858) masks twice. The Temporal Mask Network turns a frame and the caption's tokens
into a mask `m_t` over the caption's vector; the Concept Mask Network turns the masked text and the frame into a mask
`m_v` over the frame's vector. Both are returned here as probabilities; `straight_through` makes them hard.

A mask is a function of the frame, so it can encode the frame, and the published objective can be solved without
using whether text and frame match. Two options make that harder: `last_residual=False` (the mask consists of text
alone, weighted by the frame) and `inputs="text"` (the concept mask does not see the frame). They reduce the leak but do
not close it.

Shape legend: V videos with one text each, T frames, B texts, F frames of a text (of one video or of many: they never
see each other), L tokens, H heads, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mova.errors import UsageError
from mova.models.layers.attention import AttentionPool, Block
from mova.scoring.similarity import full

Form = Literal["cross", "joint"]
ConceptInputs = Literal["text_and_frame", "text", "frame"]
MAX_DEPTH = 8
"""The paper reports no greater depth, and no gain from 3 on."""
OPEN_BIAS = 1.0
"""Bias of every mask logit at the start: about 96 % of the dimensions are on, so training begins near plain CLIP."""


def straight_through(probabilities: Tensor) -> Tensor:
    """Return hard masks with the gradient of soft ones (Bengio et al. 2013, arXiv 1308.3432).

    Args:
        probabilities: any shape, in [0, 1].

    Returns:
        Exactly 1 where a probability is above 0.5, exactly 0 elsewhere (0.5 gives 0); the gradient passes unchanged.
        NaN stays NaN.

    >>> straight_through(torch.tensor([0.2, 0.5, 0.9]))
    tensor([0., 0., 1.])
    """
    hard = (probabilities > 0.5).to(probabilities.dtype)
    return hard + (probabilities - probabilities.detach())


@dataclass(frozen=True, eq=False)
class TextMemory:
    """The text's side of the Temporal Mask Network, computed once and read by any number of frames.

    Attributes:
        mask: bool, (B, L), true where a token is real.
        states: (B, L, d), tokens as they enter the blocks (form `joint`; empty in form `cross`).
        layers: keys and values (B, H, L, d / H) for every block (form `cross`; empty in form `joint`).
    """

    mask: Tensor
    states: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, eq=False)
class ModularMasks:
    """Masks of V videos, each with one text, for the losses. Padded frames have zero masks.

    Attributes:
        frames, text: (V, T, d) and (V, d), the vectors that the masks belong to; detached from the backbone's graph if
            the configuration has `detached`, so that a loss on them trains the masks alone.
        p_t, p_v: (V, T, d), probabilities of the temporal and the concept masks.
        m_t, m_v: (V, T, d), the masks: 0 and 1 if the configuration has `hard`, else the probabilities.
    """

    frames: Tensor
    text: Tensor
    p_t: Tensor
    p_v: Tensor
    m_t: Tensor
    m_v: Tensor


class MaskHead(nn.Module):
    """Layer norm and a linear map to one probability per dimension, mostly on at the start.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, width)
        nn.init.constant_(self.logits.bias, OPEN_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d) to probabilities (..., d), at least float32."""
        return full(self.logits(self.norm(x))).sigmoid()


class TemporalMaskNetwork(nn.Module):
    """TMN: selects the dimensions of a caption's vector that describe a frame, from the frame and all tokens.

    Form `joint` is the paper's: frame and tokens attend to each other in one sequence, so a caption of L tokens costs
    L + 1 positions per frame (the first block's attention among the tokens is shared, see `Block.join`). Form `cross`:
    the tokens attend to each other once, then every frame queries them; a frame costs one position.

    Args:
        width: d.
        depth: number of blocks, 1 to 8.
        heads: divides d.
        form: "cross" or "joint".
        last_residual: false: in the last block the frame only weights the tokens (see `Block.read`).

    Raises:
        UsageError: an unknown form, a depth outside 1 to 8, heads that do not divide the width.
    """

    def __init__(
        self, width: int, depth: int = 2, heads: int = 8, form: Form = "cross", last_residual: bool = True
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise UsageError(f"form {form!r} is unknown; choose from {', '.join(get_args(Form))}")
        if not 1 <= depth <= MAX_DEPTH:
            raise UsageError(f"depth {depth}: must be from 1 to {MAX_DEPTH} blocks")
        check_heads(width, heads)
        self.form, self.last_residual = form, last_residual
        self.gradient_checkpointing = False  # transformers sets it; form `joint` keeps L + 1 positions per frame
        self.enter_frame, self.enter_token = nn.LayerNorm(width), nn.LayerNorm(width)
        self.reader = Block(width, heads) if form == "cross" else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.head = MaskHead(width)

    def read(self, tokens: Tensor, token_mask: Tensor) -> TextMemory:
        """Compute the part of a text that does not depend on frames.

        Args:
            tokens: (B, L, d), projected token states.
            token_mask: bool, (B, L), true where a token is real.

        Raises:
            ValueError: a text without a real token.
        """
        if not bool(token_mask.any(dim=1).all()):
            raise ValueError("TemporalMaskNetwork: a text has only padding tokens")
        states = self.enter_token(tokens.masked_fill(~token_mask.unsqueeze(-1), 0.0))
        if self.reader is None:
            return TextMemory(token_mask, states, ())
        states = self.reader(states, token_mask)
        layers = tuple(block.keys_values(states) for block in self._blocks())
        return TextMemory(token_mask, states[:, :0], layers)

    def forward(self, frames: Tensor, memory: TextMemory) -> Tensor:
        """Return the probability that a dimension of the text describes a frame.

        Args:
            frames: (B, F, d).
            memory: the B texts, from `read`.

        Returns:
            (B, F, d), at least float32.
        """
        x = self.enter_frame(frames)
        *first, last = self._blocks()
        if self.reader is None:
            tokens = memory.states.unsqueeze(1)
            for block in first:
                if self.gradient_checkpointing and self.training:
                    x, tokens = checkpoint(block.join, x, tokens, memory.mask, use_reentrant=False)
                else:
                    x, tokens = block.join(x, tokens, memory.mask)
            x = last.join_last(x, tokens, memory.mask, residual=self.last_residual)
        else:
            for block, (keys, values) in zip(first, memory.layers, strict=False):
                x = block.read(x, keys, values, memory.mask)
            x = last.read(x, *memory.layers[-1], memory.mask, residual=self.last_residual)
        return self.head(x)

    def _blocks(self) -> list[Block]:
        """Return the blocks with their type, which a `ModuleList` loses."""
        return [block for block in self.blocks if isinstance(block, Block)]


class ConceptMaskNetwork(nn.Module):
    """CMN: selects the dimensions of a frame's vector that its masked text describes.

    One transformer block over the sequence [masked text; frame] (or one of the two alone) and attention pooling.

    Args:
        width: d.
        heads: divides d.
        inputs: "text_and_frame" (the paper), "text" or "frame".

    Raises:
        UsageError: unknown inputs, heads that do not divide the width.
    """

    def __init__(self, width: int, heads: int = 8, inputs: ConceptInputs = "text_and_frame") -> None:
        super().__init__()
        if inputs not in get_args(ConceptInputs):
            raise UsageError(f"inputs {inputs!r} are unknown; choose from {', '.join(get_args(ConceptInputs))}")
        check_heads(width, heads)
        self.inputs = inputs
        self.enter_text = nn.LayerNorm(width) if inputs != "frame" else None
        self.enter_frame = nn.LayerNorm(width) if inputs != "text" else None
        self.block = Block(width, heads)
        self.pool = AttentionPool(width, heads)
        self.head = MaskHead(width)

    def forward(self, masked_text: Tensor, frames: Tensor) -> Tensor:
        """Return the probability that a dimension of a frame is described by its masked text.

        Args:
            masked_text: (B, F, d), `text * m_t`; ignored if `inputs` is "frame".
            frames: (B, F, d); ignored if `inputs` is "text".

        Returns:
            (B, F, d), at least float32.
        """
        entries = ((self.enter_text, masked_text), (self.enter_frame, frames))
        states = [enter(vectors) for enter, vectors in entries if enter is not None]
        sequence = torch.stack(states, dim=-2).flatten(0, 1)
        return self.head(self.pool(self.block(sequence))).view(masked_text.shape)


def check_heads(width: int, heads: int) -> None:
    """Raise `UsageError` unless attention heads divide a width evenly."""
    if heads < 1 or width % heads:
        raise UsageError(f"{heads} attention heads do not divide the width {width}; choose a divisor of it")
