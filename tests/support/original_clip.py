"""CLIP as its first release computes it, written after its description: the oracle of the conversion.

Residual attention blocks around `nn.MultiheadAttention`, QuickGELU, a class token, and the text's vector at the token
with the highest id.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """One residual attention block."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.quick = quick
        self.attn = nn.MultiheadAttention(width, max(1, width // 64), batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        inner = self.ln_1(x)
        x = x + self.attn(inner, inner, inner, need_weights=False, attn_mask=mask)[0]
        hidden = self.mlp["c_fc"](self.ln_2(x))
        active = hidden * torch.sigmoid(1.702 * hidden) if self.quick else nn.functional.gelu(hidden)
        return x + self.mlp["c_proj"](active)


class Blocks(nn.Module):
    """A stack of blocks."""

    def __init__(self, width: int, layers: int, quick: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, quick) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    """The image tower."""

    def __init__(self, width: int, patch: int, side: int, shared: int, quick: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.1)
        self.positional_embedding = nn.Parameter(torch.randn((side // patch) ** 2 + 1, width) * 0.1)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks(width, 2, quick)
        self.proj = nn.Parameter(torch.randn(width, shared) * 0.1)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class OriginalClip(nn.Module):
    """Both towers; names of weights as in the first release."""

    def __init__(self, tokens: int, *, quick: bool = True, positions: int = 77) -> None:
        super().__init__()
        self.visual = Visual(128, 8, 32, 48, quick)
        self.transformer = Blocks(64, 2, quick)
        self.token_embedding = nn.Embedding(tokens, 64)
        self.positional_embedding = nn.Parameter(torch.randn(positions, 64) * 0.1)
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.randn(64, 48) * 0.1)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def encode_text(self, ids: Tensor) -> Tensor:
        """Encode ids (N, positions), padded with 0: (N, d)."""
        length = ids.shape[1]
        mask = torch.full((length, length), -torch.inf).triu(1)
        x = self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding[:length], mask))
        return x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ self.text_projection


class Holder(nn.Module):
    """A module in a module, without code that CLIP needs: its script is an archive with tensors."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.visual = _only_weights(inner.get_submodule("visual"))
        for name, child in inner.named_children():
            if name != "visual":
                setattr(self, name, _only_weights(child))
        for name, weight in inner.named_parameters(recurse=False):
            setattr(self, name, weight)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Weights(nn.Module):
    """Weights and modules of another module, without its computation."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _only_weights(module: nn.Module) -> nn.Module:
    copy = Weights()
    for name, weight in module.named_parameters(recurse=False):
        copy.register_parameter(name, weight)
    for name, child in module.named_children():
        copy.add_module(name, _only_weights(child))
    return copy
