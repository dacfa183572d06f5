"""MoVA: any two-tower backbone with mask networks between its frames and its texts.

The backbone computes all vectors, so everything that works with a dual encoder (index, search, align) works unchanged.
The masks act on single pairs: in training (`masks`, `unit_similarity`) and when the best results of a search are
re-ranked (`modular_similarity`). Presets name the published form and ours; `control` has no masks.

Shape legend: V videos, N texts, T frames, L tokens, K units of a text, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args

import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.backbone_wrapper import BackboneWrapper, backbone_settings, random_backbone, require_backbone
from mova.models.encoder import DualEncoder, TextEmbedding, VideoEmbedding
from mova.models.layers.frame_transformer import FrameTransformer, spread
from mova.models.model_card import write_mova_card
from mova.models.mova.config import MovaConfig
from mova.models.mova.masks import (
    ConceptMaskNetwork,
    ModularMasks,
    TemporalMaskNetwork,
    TextMemory,
    check_heads,
    straight_through,
)
from mova.models.mova.segmenter import UnitSegmenter, encode_learned_units, learned_units, state_width
from mova.models.mova.unit_masks import UnitMaskNetwork, UnitScore, unit_score
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.masked import ModularScore, modular_score
from mova.scoring.pooling import pad_rows, within_cells
from mova.scoring.similarity import full, unit
from mova.text.units import UnitRule
from mova.types import Frames

READ_POSITIONS = 2**14
"""Positions that pass a mask network at once when scoring: 34 MB per layer at a width of 512."""
SCORED_CELLS = 2**21
"""Frame-unit pairs that are scored at once: 8 MB per tensor, with about ten tensors alive."""


class Added(NamedTuple):
    """Size of all that is around the backbone: number of parameters, and its ratio to the backbone's."""

    parameters: int
    share: float


class Mova(BackboneWrapper):
    """A dual encoder with masks. Create one with `from_backbone`, load one with `from_pretrained` or `mova.load`.

    Args:
        config: configuration of backbone and masks.
        backbone: the backbone; default: one with random weights, from the configuration.

    Raises:
        UsageError: an unsupported backbone, or settings that do not fit its width.

    >>> import mova
    >>> model = Mova.from_backbone(mova.load("mova-worlds-tiny"))
    >>> video = model.encode_video("film.mp4")
    >>> model.added_parameters().share < 1, model.modular_similarity([video], ["Two black discs shrink."]).shape
    (True, torch.Size([1, 1]))
    """

    config_class = MovaConfig
    family = "MoVA"

    def __init__(self, config: MovaConfig, backbone: Any = None) -> None:
        super().__init__(config)
        has_weights = backbone is not None
        self.backbone: Any = backbone if has_weights else random_backbone(config.backbone, "masks go")
        width, heads = self.backbone.embedding_dim, config.heads
        self.temporal: TemporalMaskNetwork | None = None
        self.concept: ConceptMaskNetwork | None = None
        self.selector: UnitMaskNetwork | None = None
        if config.masks in ("dimensions", "caption"):
            self.temporal = TemporalMaskNetwork(width, config.depth, heads, config.form, config.last_residual)
        if config.masks in ("dimensions", "concept"):
            self.concept = ConceptMaskNetwork(width, heads, config.concept_inputs)
        elif config.masks == "units":
            self.selector = UnitMaskNetwork(width, heads, config.unit_concepts)
        self.sequence: FrameTransformer | None = None
        if config.temporal_blocks:
            check_heads(width, heads)
            self.sequence = FrameTransformer(width, config.temporal_blocks, heads, config.positions)
        if config.units == "learned" and not self.backbone.has_token_states:
            raise UsageError(f"{self.backbone.name}: has no states of tokens to split texts by; use model.units rule")
        self.segmenter = UnitSegmenter(state_width(self.backbone)) if config.units == "learned" else None
        self._complete(has_weights)

    @classmethod
    def from_backbone(cls, backbone: DualEncoder, preset: str = "subsets", **settings: Any) -> Self:
        """Put masks around a backbone, which is not copied.

        Args:
            backbone: any backbone that `mova.load` returns: all encoders but `mova-natural` and fitted ones.
            preset: "paper", "repaired", "subsets" or "control", see `PRESETS`.
            settings: settings of `MovaConfig`; they override those of the preset.

        Raises:
            UsageError: an unknown preset or setting, or an unsupported backbone.
        """
        require_backbone(backbone, "masks go")
        config = MovaConfig.from_preset(preset, backbone_settings(backbone), **settings)
        model = cls(config, backbone)
        return model.to(model.device).eval()

    @property
    def relevance_threshold(self) -> float | None:
        """The backbone's, see `DualEncoder`; so are `units` and `rule`."""
        return self.backbone.relevance_threshold

    @relevance_threshold.setter
    def relevance_threshold(self, value: float | None) -> None:
        self.backbone.relevance_threshold = value

    @property
    def units(self) -> UnitRule:
        """The backbone's rule for units."""
        return self.backbone.units

    @units.setter
    def units(self, value: UnitRule) -> None:
        self.backbone.units = value

    @property
    def rule(self) -> EvidenceRule:
        """The backbone's evidence rule."""
        return self.backbone.rule

    @rule.setter
    def rule(self, value: EvidenceRule) -> None:
        self.backbone.rule = value

    def _update_config(self) -> None:
        self.config.scoring_form = self.scoring_form

    def _write_card(self, folder: Path) -> None:
        write_mova_card(folder, self.config, self.count_parameters()[0], self.added_parameters(), self.embedding_dim)

    def freeze_backbone(self, frozen: bool = True) -> Self:
        """Freeze the backbone's weights and running statistics during training, or let them train again."""
        return self._freeze([self.backbone], frozen)

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return self.backbone.embedding_dim

    def fingerprint(self) -> str:
        """Return the backbone's fingerprint: masks change no vector, so one index serves every MoVA around it."""
        return self.backbone.fingerprint()

    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames with the backbone: (T, d), float32."""
        return self.backbone.encode_frames(frames)

    def in_sequence(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames and mask whose mean is the vector of a video: after the temporal transformer, if there is one.

        Args:
            frames: (V, T, d).
            frame_mask: bool, (V, T), true where a frame is real.
        """
        if self.sequence is None:
            return frames, frame_mask
        most = self.config.positions
        if int(frame_mask.sum(dim=1).max()) > most:
            rows = [video[real] for video, real in zip(frames, frame_mask, strict=True)]
            frames, frame_mask = pad_rows([row[spread(len(row), most).to(row.device)] for row in rows])
        with torch.autocast(frames.device.type, enabled=False):
            frames = unit(full(frames).masked_fill(~frame_mask.unsqueeze(-1), 0.0))
            return self.sequence(frames, frame_mask), frame_mask

    def _encode_source(self, *args: Any) -> VideoEmbedding:
        return self._with_whole(super()._encode_source(*args))

    @torch.no_grad()
    def _with_whole(self, video: VideoEmbedding) -> VideoEmbedding:
        """Return a video with its vector by the temporal transformer, if there is one."""
        if self.sequence is None or video.whole is not None:
            return video
        real = torch.ones(1, len(video.frames), dtype=torch.bool, device=video.frames.device)
        return replace(video, whole=self.in_sequence(video.frames[None], real)[0][0].mean(dim=0))

    def pool(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Return the vectors of whole videos, see `in_sequence`."""
        return super().pool([self._with_whole(video) for video in videos])

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts with the backbone."""
        return self.backbone.encode_text(texts)

    @property
    def comparison_weight(self) -> float:
        """Weight of what two moments share; 0 with a learned segmenter, whose units are no sentences."""
        return super().comparison_weight if self.segmenter is None else 0.0

    def encode_units(self, texts: Sequence[str]) -> list[Tensor]:
        """Encode the units (K, d) of each text, split by rule or by the learned segmenter."""
        if self.segmenter is None:
            return super().encode_units(texts)
        return encode_learned_units(self.backbone, self.segmenter, texts)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the backbone's forward: `frames`, `texts`, `tokens`, `scale` and its other outputs; gradients flow.

        With learned units, pass arguments by name. Units by rule are then ignored, and `units` (N, M, d) are returned
        with `unit_mask` (N, M).
        """
        if self.segmenter is None:
            return self.backbone(*args, **kwargs)
        options = {name: value for name, value in kwargs.items() if name not in ("unit_ids", "unit_mask")}
        outputs = self.backbone(*args, **options)
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"].bool()
        units, unit_mask = learned_units(self.backbone, self.segmenter, ids, mask, outputs["tokens"])
        return {**outputs, "units": units, "unit_mask": unit_mask}

    def masks(
        self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor, text: Tensor
    ) -> ModularMasks:
        """Compute masks of video i with text i (for other pairs, index both sides first); gradients flow.

        Args:
            frames: (V, T, d).
            frame_mask: bool, (V, T), true where a frame is real.
            tokens: (V, L, d), token states.
            token_mask: bool, (V, L), true where a token is real.
            text: (V, d), pooled texts.

        Raises:
            UsageError: this model has no masks over dimensions.
            ValueError: a text without a real token, or different numbers of videos and texts.
        """
        if not len(frames) == len(frame_mask) == len(tokens) == len(token_mask) == len(text):
            raise ValueError(f"masks need one text per video, not {len(text)} texts for {len(frames)} videos")
        if self.concept is None:
            raise UsageError(f"{self.name}: its masks are {self.config.masks!r}, not over dimensions")
        if self.config.detached:
            frames, tokens, text = frames.detach(), tokens.detach(), text.detach()
        frames = frames.masked_fill(~frame_mask.unsqueeze(-1), 0.0)
        memory = None if self.temporal is None else self.temporal.read(tokens, token_mask)
        p_t, p_v = self._probabilities(frames, memory, text)
        p_t, p_v = (p.masked_fill(~frame_mask.unsqueeze(-1), 0.0) for p in (p_t, p_v))
        return ModularMasks(frames, text, p_t, p_v, self._decide(p_t), self._decide(p_v))

    def unit_similarity(
        self, frames: Tensor, frame_mask: Tensor, units: Tensor, unit_mask: Tensor, score: UnitScore = "sub"
    ) -> Tensor:
        """Score all videos with all texts by the subset form, in one product; gradients flow.

        Args:
            frames: (V, T, d).
            frame_mask: bool, (V, T), true where a frame is real; at least one per video.
            units: (N, K, d), units encoded alone.
            unit_mask: bool, (N, K), true where a unit is real; at least one per text.
            score: "sub" or "subc", see `unit_masks`.

        Returns:
            (V, N).

        Raises:
            UsageError: this model does not select units, or an unknown score.
            ValueError: a text without units, or a video without frames.
        """
        if self.selector is None:
            raise UsageError(f"{self.name}: its masks are {self.config.masks!r}, so it selects no units")
        if self.config.detached:
            frames, units = frames.detach(), units.detach()
        selection = self.selector(frames, frame_mask, self.selector.read(units, unit_mask))
        return unit_score(selection, unit_mask, frame_mask, score)

    @property
    def modular_scores(self) -> tuple[str, ...]:
        """Names of the scores through the masks of a pair, see `modular_similarity`."""
        if self.selector is not None:
            return get_args(UnitScore)
        if self.concept is None:
            return ()
        ours = ("agg", *(name for name in get_args(ModularScore) if name != "agg"))
        return ours if self.temporal is not None else tuple(name for name in ours if not name.startswith("tv"))

    @property
    def selects_units(self) -> bool:
        """Whether there are masks over units."""
        return self.selector is not None

    @torch.no_grad()
    def unit_weights(self, frames: Tensor, units: Tensor) -> Tensor:
        """Return the weights (T, K + 1) that frames (T, d) give to units (K, d) and to none of them."""
        if self.selector is None:
            return super().unit_weights(frames, units)
        return self.selector.weights(frames, units).float()

    @torch.no_grad()
    def modular_similarity(
        self,
        videos: Sequence[VideoEmbedding],
        texts: str | Sequence[str] | TextEmbedding | Sequence[Tensor],
        score: ModularScore | UnitScore | None = None,
    ) -> Tensor:
        """Score videos with texts through the masks of every pair, to re-rank the best results of a search.

        The part that depends on a text alone is computed once; then all frames of all videos pass in batches.

        Args:
            videos: the candidates.
            texts: captions, or their encoding by `encode_text` (masks over dimensions) or `encode_units`.
            score: for masks over dimensions "agg" (default), "mod", "tv" or another `ModularScore` of
                `scoring/masked.py`; for masks over units "sub" (default) or "subc", see `unit_masks.py`.

        Returns:
            float32, (V, N).

        Raises:
            UsageError: a model without masks, an unknown score, no video or text, or texts encoded for other masks.
        """
        if not self.scores_modular:
            return super().modular_similarity(videos, texts)
        if score is not None and score not in self.modular_scores:
            raise UsageError(f"{self.name}: has no score {score!r}; choose from {', '.join(self.modular_scores)}")
        if not videos:
            raise UsageError("no videos to score")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, TextEmbedding) and not len(texts):
            raise UsageError("no texts to score")
        frames = [video.frames for video in videos]
        if self.selector is None:
            encoded = texts if isinstance(texts, TextEmbedding) else self.encode_text(_strings(texts))
            return self._score_dimensions(frames, encoded, score or "agg")
        if isinstance(texts, TextEmbedding):
            raise UsageError(f"{self.name}: selects units; pass captions, or their units from `encode_units`")
        vectors = [text for text in texts if isinstance(text, Tensor)]
        if len(vectors) < len(texts):
            vectors = self.encode_units(_strings(texts))
        return self._score_units(frames, vectors, score or "sub")

    def _score_units(self, videos: Sequence[Tensor], texts: Sequence[Tensor], score: Any) -> Tensor:
        """Score by the subset form, (V, N), in groups of videos."""
        units, unit_mask = pad_rows([text.to(videos[0].device) for text in texts])
        rows = []
        for group in within_cells(videos, SCORED_CELLS // unit_mask.numel()):
            frames, frame_mask = pad_rows(group)
            rows.append(self.unit_similarity(frames, frame_mask, units, unit_mask, score))
        return torch.cat(rows)

    def _score_dimensions(self, videos: Sequence[Tensor], texts: TextEmbedding, score: Any) -> Tensor:
        """Score by the masks of every pair, (V, N), text by text."""
        joint = self.temporal is not None and self.config.form == "joint"
        frames, lengths = torch.cat(list(videos)), [len(video) for video in videos]
        columns = []
        for pooled, tokens, mask in zip(texts.pooled, texts.tokens, texts.mask, strict=True):
            text, states = pooled[None].to(frames.device), tokens[mask][None].to(frames.device)
            real = torch.ones(states.shape[:2], dtype=torch.bool, device=frames.device)
            memory = None if self.temporal is None else self.temporal.read(states, real)
            step = max(1, READ_POSITIONS // (1 + states.shape[1] if joint else 1))
            parts = [self._probabilities(chunk[None], memory, text) for chunk in frames.split(step)]
            m_t, m_v = (self._decide(torch.cat(side, dim=1)[0]).split(lengths) for side in zip(*parts, strict=True))
            column = [
                modular_score(z[None], text, t[None], v[None], torch.ones_like(z[None, :, 0], dtype=torch.bool), score)
                for z, t, v in zip(frames.split(lengths), m_t, m_v, strict=True)
            ]
            columns.append(torch.cat(column))
        return torch.stack(columns, dim=1)

    def _probabilities(self, frames: Tensor, memory: TextMemory | None, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities (B, F, d) of both masks for frames (B, F, d) with texts (B, d)."""
        assert self.concept is not None
        if self.temporal is None or memory is None:
            p_t = torch.ones_like(frames, dtype=torch.promote_types(frames.dtype, torch.float32))
        else:
            p_t = self.temporal(frames, memory)
        return p_t, self.concept(text.unsqueeze(1) * self._decide(p_t), frames)

    def _decide(self, probabilities: Tensor) -> Tensor:
        """Return masks from probabilities, hard or soft as configured."""
        return straight_through(probabilities) if self.config.hard else probabilities

    def added_parameters(self) -> Added:
        """Return the number of all parameters around the backbone, and its ratio to the backbone's."""
        total, inside = self.count_parameters()
        return Added(total - inside, (total - inside) / inside)


def _strings(texts: Sequence[Any]) -> list[str]:
    """Return captions as a list, or raise if they are encodings of another kind."""
    if not all(isinstance(text, str) for text in texts):
        raise UsageError("modular_similarity: pass captions, or their encoding by this model")
    return list(texts)
