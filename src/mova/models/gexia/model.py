"""GEXIA: dense features of any two-tower backbone, approximated by as many rounds as a video or a text needs.

Wang et al. 2024 (arXiv 2412.07704, section 3.2). Patches of all frames and states of all tokens go unpooled into one
Iterative Approximation Module a modality (`models/gexia/approximation.py`); the mean of its N vectors is the vector of
the video or text. A frame that stands for itself, where sentences are looked for in a video, is approximated alone.

Memory of a long video: frames are decoded and encoded in chunks; of dense features those of at most twice as many
frames are kept as make the vector (`models/gexia/frame_reservoir.py`), 9.8 MB for CLIP ViT-B/32 however long the video
is, and a vector a frame.

Shape legend: V videos, N texts, T frames, n real frames of a batch, P dense vectors a frame (patches and class token),
L tokens, C width of dense features, d width of vectors, Y classes.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from mova.data.granularity import GRANULARITIES
from mova.errors import UsageError, VideoError
from mova.models.backbone_wrapper import BackboneWrapper, backbone_settings, random_backbone, require_backbone
from mova.models.checkpoint import read_calibration, write_calibration
from mova.models.embeddings import DenseVideo, told, wholes_of
from mova.models.encoder import DualEncoder, Source, TextEmbedding, VideoEmbedding
from mova.models.gexia.approximation import IterativeApproximation
from mova.models.gexia.config import TEMPERATURE, GexiaConfig
from mova.models.gexia.flops import measure_costs
from mova.models.gexia.frame_reservoir import FrameReservoir
from mova.models.model_card import write_gexia_card
from mova.models.precision import hash_weights
from mova.models.two_tower.text_processor import TextRule
from mova.types import Frames

logger = logging.getLogger(__name__)

TEXT_BATCH = 256
ZERO_SHOT_TEMPLATE = "A video of a {label}."
"""What a class is called where images or videos are classified without training (App. F)."""
FROZEN = ("none", "encoders", "vision", "text")
"""Encoders that can be kept as they are (Table 5)."""


class Gexia(BackboneWrapper):
    """A dual encoder by iterative approximation. Make one with `from_backbone`, load one with `mova.load`.

    Args:
        config: backbone and approximation.
        backbone: the model itself where there is one; made with random weights from the configuration otherwise.

    Raises:
        UsageError: a backbone of another kind, or settings that do not fit its width.
    """

    config_class = GexiaConfig
    family = "GEXIA"
    scoring_form = "global"

    def __init__(self, config: GexiaConfig, backbone: Any = None) -> None:
        super().__init__(config)
        given = backbone is not None
        self.backbone: Any = backbone if given else random_backbone(config.backbone, "GEXIA goes")
        width = config.width or self.backbone.embedding_dim
        if width % config.heads:
            raise UsageError(f"heads {config.heads} do not divide the width {width}")
        image, text = self.backbone.dense_widths
        self.video_iam = IterativeApproximation(image, width, config.bases, config.heads)
        self.text_iam = IterativeApproximation(text, width, config.bases, config.heads)
        taus = len(GRANULARITIES) if config.temperatures == "granularity" else 1
        self.log_scale = nn.Parameter(torch.full((taus,), math.log(1 / TEMPERATURE)))
        self.head = nn.Linear(width, len(config.labels)) if config.labels else None
        self._complete(given)
        read_calibration(self)
        self._hash: tuple[Any, str] | None = None

    @classmethod
    def from_backbone(cls, backbone: DualEncoder, **settings: Any) -> Self:
        """Put approximation modules around a backbone (which is used as it is, not copied).

        Args:
            backbone: a `TwoTower` or a `WorldsTiny`, as `mova.load` returns them.
            settings: of `GexiaConfig`.

        Raises:
            UsageError: an unknown or impossible setting, or a backbone of another kind.
        """
        require_backbone(backbone, "GEXIA goes")
        config = GexiaConfig.from_settings({"backbone": backbone_settings(backbone), **settings}, named=settings)
        model = cls(config, backbone)
        model._leave_pooling_alone()
        return model.to(model.device).eval()

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """See `BackboneWrapper.prepare`; loading has made all weights trainable, and some are never to be trained."""
        self._leave_pooling_alone()
        return super().prepare(precision, device)

    @property
    def embedding_dim(self) -> int:
        """Width d of the vectors."""
        return self.video_iam.base.shape[1]

    @property
    def longest_text(self) -> int:
        """Most tokens of a text that the backbone reads."""
        return self.backbone.tokenizer.model_max_length if self._rule is None else self._rule.length

    @property
    def labels(self) -> list[str]:
        """Classes of the head, in the order of its outputs."""
        return self.config.labels

    def scale(self, granularity: int | Tensor = 0) -> Tensor:
        """Factor on cosines, `1 / tau`, scalar; `granularity`, an index into `GRANULARITIES`, chooses among several."""
        return self.log_scale[granularity if len(self.log_scale) > 1 else 0].exp()

    def forward(
        self,
        images: Tensor,
        frame_mask: Tensor,
        video_rounds: Tensor,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text_rounds: Tensor | None = None,
        granularity: int | Tensor = 0,
    ) -> dict[str, Tensor]:
        """Vectors of a batch; gradients flow.

        Args:
            images: what the backbone takes of the n real frames, video by video.
            frame_mask: bool, (V, T), true where a frame is real.
            video_rounds: int64, (V,), `#iter`.
            input_ids, attention_mask: (N, L); left out where there are no texts.
            text_rounds: int64, (N,).
            granularity: see `scale`.

        Returns:
            `videos` (V, d) and `scale`; `texts` (N, d) where there are texts, `logits` (V, Y) where there is a head.
        """
        dense = self.dense_of(images)
        videos = self.video_vectors(dense, frame_mask, video_rounds)
        found = {"videos": videos, "scale": self.scale(granularity)}
        if input_ids is not None and attention_mask is not None and text_rounds is not None:
            states = self.backbone.dense_texts(input_ids, attention_mask.bool())
            found["texts"] = self.text_iam(states, attention_mask.bool(), text_rounds).mean(dim=1)
        if self.head is not None:
            found["logits"] = self.head(videos)
        return found

    def dense_of(self, images: Tensor) -> Tensor:
        """What the backbone takes of T frames -> (T, P, C), without its class token where that is left out."""
        dense = self.backbone.dense_images(images)
        return dense if self.config.class_token or not self.backbone.has_class_token else dense[:, 1:]

    def video_vectors(self, dense: Tensor, frame_mask: Tensor, rounds: Tensor) -> Tensor:
        """Vectors of videos.

        Args:
            dense: (n, P, C), features of the real frames, video by video.
            frame_mask: bool, (V, T), with n true entries.
            rounds: int64, (V,).

        Returns:
            (V, d).
        """
        patches = dense.shape[1]
        spread = dense.new_zeros((*frame_mask.shape, *dense.shape[1:])).index_put((frame_mask,), dense)
        mask = frame_mask.repeat_interleave(patches, dim=1)
        return self.video_iam(spread.flatten(1, 2), mask, rounds).mean(dim=1)

    @torch.no_grad()
    def dense_frames(self, frames: Frames) -> Tensor:
        """(T, P, C) float32 features of consecutive sampled frames; ends are repeated where context > 0."""
        found = [self.dense_of(part) for part in self.backbone.image_batches(frames)]
        if not found:
            raise VideoError("frames", "there is no frame to encode")
        return torch.cat(found)

    @torch.no_grad()
    def frame_vectors(self, dense: Tensor, rounds: int) -> Tensor:
        """(T, P, C) features -> (T, d), each frame as a video of its own."""
        alone = torch.ones(len(dense), 1, dtype=torch.bool, device=dense.device)
        return self.video_vectors(dense, alone, torch.full((len(dense),), rounds))

    def encode_frames(self, frames: Frames) -> Tensor:
        """(T, d) float32 vectors of frames, each on its own by `frame_rounds`; see `encode_video` for the whole."""
        if not len(frames):
            return torch.empty(0, self.embedding_dim, device=self.device)
        return self.frame_vectors(self.dense_frames(frames), self.config.frame_rounds)

    def encode_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> VideoEmbedding:
        """Vectors of a video's frames, and `whole`, made of at most `frames` of its size, evenly chosen.

        Its size is that of its seconds (one frame is an image) unless `video_rounds` is set, which also takes the
        frames of the size with as many rounds.

        Args, Raises: see `DualEncoder.encode_video`.
        """
        vectors: list[Tensor] = []

        def each(dense: Tensor) -> None:
            vectors.append(self.frame_vectors(dense, self.config.frame_rounds))

        seen = self._read(video, fps, start, end, each)
        return VideoEmbedding(torch.cat(vectors), seen.times, seen.duration, self._whole(seen.dense, seen.rounds))

    def dense_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> DenseVideo:
        """What the vector of a whole video is made of; arguments and errors as `encode_video`."""
        return self._read(video, fps, start, end, lambda dense: None)

    def _read(
        self, video: Source, fps: float | None, start: float, end: float | None, each: Callable[[Tensor], None]
    ) -> DenseVideo:
        """Go through a video; `each` takes all its dense features, some frames at a time."""
        chunks, last = self.open_video(video, fps, start, end)
        times = []
        kept = FrameReservoir(max(self.config.frames.values()))
        for some, dense in self.encode_stream(chunks, self.dense_frames):
            times.append(some)
            each(dense)
            kept.add(dense)
        if not times:
            raise VideoError(told(video), "there is no frame to encode")
        begin = float(times[0][0]) if isinstance(video, Frames) else start  # frames may be of a clip of their file
        rounds, most = self._plan(last - begin, kept.seen)
        return DenseVideo(kept.evenly(most), kept.chosen(most), np.concatenate(times), last, rounds)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Vectors of texts by their `#iter`, and of each token what a base vector takes from it alone.

        What is longer than the backbone reads is cut, counted and said.

        Raises:
            UsageError: no text at all.
        """
        batch = [texts] if isinstance(texts, str) else list(texts)
        if not batch:
            raise UsageError("there is no text to encode")
        ids, mask, dropped = self.backbone.token_ids(batch)
        if self._rule is None and dropped.any():
            logger.warning("%d words beyond the first %d of a text were dropped", dropped.sum(), ids.shape[1])
        rounds = torch.tensor([self._text_rounds(text) for text in batch])
        cut = self._rule is None or not self._rule.fixed  # where padding takes part in attention, all of it stays
        pooled = torch.empty(len(batch), self.embedding_dim, device=ids.device)
        tokens = torch.zeros(*ids.shape, self.embedding_dim, device=ids.device)
        for rows in mask.sum(dim=1).argsort(stable=True).split(TEXT_BATCH):
            width = int(mask[rows].any(dim=0).nonzero().max()) + 1 if cut else ids.shape[1]
            states, real = self.backbone.dense_texts(ids[rows, :width], mask[rows, :width]), mask[rows, :width]
            pooled[rows] = self.text_iam(states, real, rounds[rows.cpu()]).mean(dim=1)
            tokens[rows, :width] = self.text_iam.shared.values_of(states).float()
        return TextEmbedding(pooled, tokens, mask, dropped)

    def report(self, size: str = "long") -> dict[str, Any]:
        """Parameters, and billions of multiply-additions a frame, a video of a size and a text, counted while running.

        See `models/gexia/flops.py`, which also has what the paper gives.
        """
        return measure_costs(self, size).to_json()

    def similarity(self, videos: Sequence[VideoEmbedding], texts: TextEmbedding) -> Tensor:
        """(V, N) cosine of whole videos with texts.

        Raises:
            UsageError: there are vectors of frames alone, as a feature store and an index hold them.
        """
        wholes_of(videos, self.name)
        return super().similarity(videos, texts)

    def zero_shot(
        self, videos: Sequence[VideoEmbedding], labels: Sequence[str], template: str = ZERO_SHOT_TEMPLATE
    ) -> Tensor:
        """Cosines of videos (or images) with class names put into a template: float32 (V, Y)."""
        return self.similarity(videos, self.encode_text([template.format(label=label) for label in labels]))

    @torch.no_grad()
    def classify(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Logits of the linear head, float32 (V, Y), in the order of `labels`.

        Raises:
            UsageError: the model has no head, or vectors are another model's.
        """
        if self.head is None:
            raise UsageError(f"{self.name}: has no classification head; train one (recipe gexia-classify)")
        return self.head(torch.stack(wholes_of(videos, self.name)).to(self.head.weight.device)).float()

    def make_head(self, labels: Sequence[str], multiple: bool = False) -> None:
        """Put a linear head on the video branch, and leave the text branch out of training (section 4.3).

        A head that has these very labels stays as it is.

        Raises:
            UsageError: fewer than two labels, or two alike.
        """
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise UsageError(f"a head needs two labels or more, all different, not {len(labels)}")
        self.freeze("text", modules=[self.text_iam])
        self.log_scale.requires_grad_(False)
        same = self.head is not None and self.labels == list(labels)
        self.config.labels, self.config.multiple_labels = list(labels), multiple
        if not same:
            self.head = nn.Linear(self.embedding_dim, len(labels)).to(self.device)

    def freeze(self, encoders: str, modules: Sequence[nn.Module] = ()) -> Self:
        """Keep encoders as they are in training: "none", "vision", "text" or both "encoders" (Table 5).

        Args:
            encoders: which.
            modules: others beside them.

        Raises:
            UsageError: an unknown name.
        """
        if encoders not in FROZEN:
            raise UsageError(f"freeze {encoders!r} is not known; there are {', '.join(FROZEN)}")
        images, texts = self.backbone.towers
        chosen = {"none": [], "vision": [images], "text": [texts], "encoders": [images, texts]}[encoders]
        return self._freeze([*chosen, *modules], True)

    def randomise_encoders(self) -> None:
        """Start the encoders at random, their architecture as it is ("scratch" in Table 5)."""
        fresh = random_backbone(backbone_settings(self.backbone), "GEXIA goes")
        self.backbone.load_state_dict(fresh.state_dict())

    def fingerprint(self) -> str:
        """Hash of all weights and of what decides how often they are applied."""
        config = self.config
        deciding = (config.rounds, config.frames, config.video_rounds, config.text_rounds, config.frame_rounds)
        settings = repr((*deciding, config.long_seconds, config.long_words, config.class_token, config.heads))
        key = (self.weights_version(), settings)
        if self._hash is None or self._hash[0] != key:
            own = {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}
            told = f"{settings} {self.backbone.fingerprint()} {hash_weights(own)}"
            self._hash = (key, hashlib.sha256(told.encode()).hexdigest()[:32])
        return self._hash[1]

    def _leave_pooling_alone(self) -> None:
        """Weights of the backbone that dense features do not pass get no gradient; they are not to be trained."""
        inside = {id(weight) for tower in self.backbone.towers for weight in tower.parameters()}
        for weight in self.backbone.parameters():
            if id(weight) not in inside:
                weight.requires_grad_(False)
        for module in self.backbone.pooling_modules:
            module.requires_grad_(False)

    def _plan(self, seconds: float, frames: int) -> tuple[int, int]:
        """`#iter` of a video, and of how many frames its vector is made at most."""
        config = self.config
        size = config.lengths.video(seconds, frames)
        rounds = config.rounds[size] if config.video_rounds is None else config.video_rounds
        if config.video_rounds is not None and size != "image":
            size = next((name for name in (size, "short", "long") if config.rounds[name] == rounds), size)
        return rounds, config.frames[size]

    def _text_rounds(self, text: str) -> int:
        """`#iter` of a text."""
        given = self.config.text_rounds
        return self.config.rounds[self.config.lengths.text(text)] if given is None else given

    @property
    def _rule(self) -> TextRule | None:
        """How the backbone wants its texts; None for one that reads whole words."""
        return getattr(self.backbone, "text_rule", None)

    @torch.no_grad()
    def _whole(self, dense: Tensor, rounds: int) -> Tensor:
        """(T, P, C) features of a video's chosen frames -> (d,)."""
        real = torch.ones(1, len(dense), dtype=torch.bool, device=dense.device)
        return self.video_vectors(dense, real, torch.tensor([rounds]))[0].float()

    def _remember(self) -> None:
        write_calibration(self)

    def _write_card(self, folder: Path) -> None:
        write_gexia_card(folder, self.config, *self.count_parameters(), self.embedding_dim)
