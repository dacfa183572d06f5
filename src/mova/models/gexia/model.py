"""GEXIA: dense features of any two-tower backbone, approximated by as many rounds as a video or a text needs.

Wang et al. 2024 (arXiv 2412.07704, section 3.2). Patches of all frames and states of all tokens enter one Iterative
Approximation Module per modality unpooled (`models/gexia/approximation.py`); the mean of its N vectors is the vector of
the video or text. To find sentences in a video, single frames are approximated alone.

Memory for a long video: frames are decoded and encoded in chunks. Dense features are kept for at most twice as many
frames as the vector is made of (`models/gexia/frame_reservoir.py`), 9.8 MB for CLIP ViT-B/32 regardless of length, plus
one vector per frame.

Shape legend: V videos, N texts, T frames, n real frames of a batch, P dense vectors per frame (patches and class
token), L tokens, C width of dense features, d width of vectors, Y classes.
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
from mova.data.row_texts import NOUN, class_text
from mova.errors import UsageError, VideoError
from mova.models.backbone_wrapper import BackboneWrapper, backbone_settings, random_backbone, require_backbone
from mova.models.checkpoint import read_calibration, write_calibration
from mova.models.embeddings import DenseVideo, Source, display_name, wholes_of
from mova.models.encoder import DualEncoder, TextEmbedding, VideoEmbedding
from mova.models.gexia.approximation import IterativeApproximation
from mova.models.gexia.config import TEMPERATURE, GexiaConfig
from mova.models.gexia.flops import measure_costs
from mova.models.gexia.frame_reservoir import FrameReservoir
from mova.models.inputs.texts import as_texts
from mova.models.model_card import write_gexia_card
from mova.models.precision import hash_weights
from mova.models.two_tower.text_processor import TextRule
from mova.types import Frames

logger = logging.getLogger(__name__)

TEXT_BATCH = 256
FROZEN = ("none", "encoders", "vision", "text")
"""Encoders that can be frozen (Table 5)."""


class Gexia(BackboneWrapper):
    """A dual encoder by iterative approximation. Create one with `from_backbone`, load one with `mova.load`.

    Args:
        config: configuration of backbone and approximation.
        backbone: the backbone; default: one with random weights, from the configuration.

    Raises:
        UsageError: an unsupported backbone, or settings that do not fit its width.

    >>> import mova
    >>> model = Gexia.from_backbone(mova.load("mova-worlds-tiny"))
    >>> model.encode_video("film.mp4").whole.shape
    torch.Size([192])
    """

    config_class = GexiaConfig
    family = "GEXIA"
    scoring_form = "global"

    def __init__(self, config: GexiaConfig, backbone: Any = None) -> None:
        super().__init__(config)
        has_weights = backbone is not None
        self.backbone: Any = backbone if has_weights else random_backbone(config.backbone, "GEXIA goes")
        width = config.width or self.backbone.embedding_dim
        if width % config.heads:
            raise UsageError(f"heads {config.heads} must divide the width {width}")
        image, text = self.backbone.dense_widths
        self.video_iam = IterativeApproximation(image, width, config.bases, config.heads)
        self.text_iam = IterativeApproximation(text, width, config.bases, config.heads)
        taus = len(GRANULARITIES) if config.temperatures == "granularity" else 1
        self.log_scale = nn.Parameter(torch.full((taus,), math.log(1 / TEMPERATURE)))
        self.head = nn.Linear(width, len(config.labels)) if config.labels else None
        self._complete(has_weights)
        read_calibration(self)
        self._hash: tuple[Any, str] | None = None

    @classmethod
    def from_backbone(cls, backbone: DualEncoder, **settings: Any) -> Self:
        """Put approximation modules around a backbone, which is not copied.

        Args:
            backbone: a `TwoTower` or a `WorldsTiny`, as `mova.load` returns them.
            settings: settings of `GexiaConfig`.

        Raises:
            UsageError: an unknown or impossible setting, or an unsupported backbone.
        """
        require_backbone(backbone, "GEXIA goes", windows=False)
        config = GexiaConfig.from_settings({"backbone": backbone_settings(backbone), **settings}, named=settings)
        model = cls(config, backbone)
        model._freeze_pooling()
        return model.to(model.device).eval()

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """See `BackboneWrapper.prepare`; loading makes all weights trainable, so unused ones are frozen again."""
        self._freeze_pooling()
        return super().prepare(precision, device)

    @property
    def embedding_dim(self) -> int:
        """Width d of the vectors."""
        return self.video_iam.base.shape[1]

    @property
    def longest_text(self) -> int:
        """Maximum number of tokens per text of the backbone."""
        return self.backbone.tokenizer.model_max_length if self._rule is None else self._rule.length

    @property
    def labels(self) -> list[str]:
        """Classes of the head, in the order of its outputs."""
        return self.config.labels

    def scale(self, granularity: int | Tensor = 0) -> Tensor:
        """Return the factor on cosines, `1 / tau`, a scalar.

        `granularity`, an index into `GRANULARITIES`, selects one of several.
        """
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
        """Encode a batch; gradients flow.

        Args:
            images: the backbone's input for the n real frames, video by video.
            frame_mask: bool, (V, T), true where a frame is real.
            video_rounds: int64, (V,), `#iter`.
            input_ids, attention_mask: (N, L); None if there are no texts.
            text_rounds: int64, (N,).
            granularity: see `scale`.

        Returns:
            `videos` (V, d) and `scale`; `texts` (N, d) if there are texts, `logits` (V, Y) if there is a head.
        """
        dense = self.dense_of(images)
        videos = self.video_vectors(dense, frame_mask, video_rounds)
        outputs = {"videos": videos, "scale": self.scale(granularity)}
        if input_ids is not None and attention_mask is not None and text_rounds is not None:
            states = self.backbone.dense_texts(input_ids, attention_mask.bool())
            outputs["texts"] = self.text_iam(states, attention_mask.bool(), text_rounds).mean(dim=1)
        if self.head is not None:
            outputs["logits"] = self.head(videos)
        return outputs

    def dense_of(self, images: Tensor) -> Tensor:
        """Encode the backbone's input for T frames to (T, P, C), without the class token unless configured."""
        dense = self.backbone.dense_images(images)
        return dense if self.config.class_token or not self.backbone.has_class_token else dense[:, 1:]

    def video_vectors(self, dense: Tensor, frame_mask: Tensor, rounds: Tensor) -> Tensor:
        """Return the vectors of videos.

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
        """Encode consecutive sampled frames to (T, P, C), float32; ends are repeated if context > 0."""
        parts = [self.dense_of(images) for images in self.backbone.image_batches(frames)]
        if not parts:
            raise VideoError("frames", "no frames to encode")
        return torch.cat(parts)

    @torch.no_grad()
    def frame_vectors(self, dense: Tensor, rounds: int) -> Tensor:
        """Approximate features (T, P, C) to (T, d), each frame as a video of its own."""
        alone = torch.ones(len(dense), 1, dtype=torch.bool, device=dense.device)
        return self.video_vectors(dense, alone, torch.full((len(dense),), rounds))

    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames, each on its own by `frame_rounds`: (T, d), float32; see `encode_video` for whole videos."""
        if not len(frames):
            return torch.empty(0, self.embedding_dim, device=self.device)
        return self.frame_vectors(self.dense_frames(frames), self.config.frame_rounds)

    def _encode_source(self, video: Source, fps: float | None, start: float, end: float | None) -> VideoEmbedding:
        """Encode the frames of a video, and as `whole` at most `frames` evenly spaced frames of its size.

        The size follows from the duration (one frame is an image), unless `video_rounds` is set: then it is the size
        with as many rounds.

        Args, Raises: see `DualEncoder.encode_video`.
        """
        vectors: list[Tensor] = []

        def encode(dense: Tensor) -> None:
            vectors.append(self.frame_vectors(dense, self.config.frame_rounds))

        features = self._read(video, fps, start, end, encode)
        whole = self._whole(features.dense, features.rounds)
        step = None if isinstance(video, Frames) else 1 / self.sampling_rate(fps)
        return VideoEmbedding(torch.cat(vectors), features.times, features.duration, whole, step)

    def dense_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> DenseVideo:
        """Return the features of a whole video's vector; arguments and errors as for `encode_video`."""
        return self._read(video, fps, start, end, lambda dense: None)

    def _read(
        self, video: Source, fps: float | None, start: float, end: float | None, visit: Callable[[Tensor], None]
    ) -> DenseVideo:
        """Read a video; `visit` gets the dense features of all its frames, chunk by chunk."""
        chunks, last = self.open_video(video, fps, start, end)
        times = []
        reservoir = FrameReservoir(max(self.config.frames.values()))
        for chunk_times, dense in self.encode_stream(chunks, self.dense_frames):
            times.append(chunk_times)
            visit(dense)
            reservoir.add(dense)
        if not times:
            raise VideoError(display_name(video), "no frames to encode")
        begin = float(times[0][0]) if isinstance(video, Frames) else start  # frames may be of a clip of their file
        rounds, most = self._plan(last - begin, reservoir.seen)
        return DenseVideo(reservoir.evenly(most), reservoir.chosen(most), np.concatenate(times), last, rounds)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts by their `#iter`, and each token as the output of a base vector for it alone.

        Texts beyond the backbone's maximum length are cut, with a warning.

        Raises:
            UsageError: no texts.
        """
        batch = as_texts(texts)
        ids, mask, dropped = self.backbone.token_ids(batch)
        if self._rule is None and dropped.any():
            logger.warning("%d words beyond the first %d of a text were dropped", dropped.sum(), ids.shape[1])
        rounds = torch.tensor([self._text_rounds(text) for text in batch])
        cut = self._rule is None or not self._rule.fixed  # padding stays if attention includes it
        pooled = torch.empty(len(batch), self.embedding_dim, device=ids.device)
        tokens = torch.zeros(*ids.shape, self.embedding_dim, device=ids.device)
        for rows in mask.sum(dim=1).argsort(stable=True).split(TEXT_BATCH):
            width = int(mask[rows].any(dim=0).nonzero().max()) + 1 if cut else ids.shape[1]
            states, real = self.backbone.dense_texts(ids[rows, :width], mask[rows, :width]), mask[rows, :width]
            pooled[rows] = self.text_iam(states, real, rounds[rows.cpu()]).mean(dim=1)
            tokens[rows, :width] = self.text_iam.shared.values_of(states).float()
        return TextEmbedding(pooled, tokens, mask, dropped)

    def report(self, size: str = "long") -> dict[str, Any]:
        """Count parameters, and billions of multiply-additions per frame, video of a size, and text.

        See `models/gexia/flops.py`, which also has the paper's figure.
        """
        return measure_costs(self, size).to_json()

    def pool(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Return the vectors of whole videos.

        Raises:
            UsageError: a video has vectors of frames alone, as in a feature store or an index.
        """
        wholes_of(videos, self.name)
        return super().pool(videos)

    def zero_shot(self, videos: Sequence[VideoEmbedding], labels: Sequence[str], template: str = NOUN) -> Tensor:
        """Return the cosines of videos (or images) with class names in a template (App. F): float32, (V, Y)."""
        return self.similarity(videos, self.encode_text([class_text(label, template) for label in labels]))

    @torch.no_grad()
    def classify(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Return the logits of the linear head, float32, (V, Y), in the order of `labels`.

        Raises:
            UsageError: the model has no head, or a video has no vector as a whole.
        """
        if self.head is None:
            raise UsageError(f"{self.name}: has no classification head; train one (recipe gexia-classify)")
        return self.head(torch.stack(wholes_of(videos, self.name)).to(self.head.weight.device)).float()

    def make_head(self, labels: Sequence[str], multiple: bool = False) -> None:
        """Put a linear head on the video branch, and freeze the text branch (section 4.3).

        A head with exactly these labels stays as it is.

        Raises:
            UsageError: fewer than two labels, or duplicates.
        """
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise UsageError(f"a head needs at least two labels, all different, not {len(labels)}")
        self.freeze("text", modules=[self.text_iam])
        self.log_scale.requires_grad_(False)
        same = self.head is not None and self.labels == list(labels)
        self.config.labels, self.config.multiple_labels = list(labels), multiple
        if not same:
            self.head = nn.Linear(self.embedding_dim, len(labels)).to(self.device)

    def freeze(self, encoders: str, modules: Sequence[nn.Module] = ()) -> Self:
        """Freeze encoders during training: "none", "vision", "text" or both "encoders" (Table 5).

        Args:
            encoders: one of these names.
            modules: other modules to freeze.

        Raises:
            UsageError: an unknown name.
        """
        if encoders not in FROZEN:
            raise UsageError(f"freeze {encoders!r} is unknown; choose from {', '.join(FROZEN)}")
        images, texts = self.backbone.towers
        chosen = {"none": [], "vision": [images], "text": [texts], "encoders": [images, texts]}[encoders]
        return self._freeze([*chosen, *modules], True)

    def randomize_encoders(self) -> None:
        """Give the encoders random weights and keep their architecture ("scratch" in Table 5)."""
        fresh = random_backbone(backbone_settings(self.backbone), "GEXIA goes")
        self.backbone.load_state_dict(fresh.state_dict())

    def fingerprint(self) -> str:
        """Return a hash of all weights and of the settings that decide how often they are applied."""
        config = self.config
        deciding = (config.rounds, config.frames, config.video_rounds, config.text_rounds, config.frame_rounds)
        settings = repr((*deciding, config.long_seconds, config.long_words, config.class_token, config.heads))
        key = (self.weights_version(), settings)
        if self._hash is None or self._hash[0] != key:
            added = {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}
            content = f"{settings} {self.backbone.fingerprint()} {hash_weights(added)}"
            self._hash = (key, hashlib.sha256(content.encode()).hexdigest()[:32])
        return self._hash[1]

    def _freeze_pooling(self) -> None:
        """Freeze weights of the backbone that dense features do not pass, since they get no gradient."""
        inside = {id(weight) for tower in self.backbone.towers for weight in tower.parameters()}
        for weight in self.backbone.parameters():
            if id(weight) not in inside:
                weight.requires_grad_(False)
        for module in self.backbone.pooling_modules:
            module.requires_grad_(False)

    def _plan(self, seconds: float, frames: int) -> tuple[int, int]:
        """Return `#iter` of a video, and the maximum number of frames of its vector."""
        config = self.config
        size = config.lengths.video(seconds, frames)
        rounds = config.rounds[size] if config.video_rounds is None else config.video_rounds
        return rounds, config.frames[config.frame_size(size)]

    def _text_rounds(self, text: str) -> int:
        """Return `#iter` of a text."""
        fixed = self.config.text_rounds
        return self.config.rounds[self.config.lengths.text(text)] if fixed is None else fixed

    @property
    def _rule(self) -> TextRule | None:
        """The backbone's text preprocessing; None for one that reads whole words."""
        return getattr(self.backbone, "text_rule", None)

    @torch.no_grad()
    def _whole(self, dense: Tensor, rounds: int) -> Tensor:
        """Approximate the features (T, P, C) of a video's chosen frames to (d,)."""
        real = torch.ones(1, len(dense), dtype=torch.bool, device=dense.device)
        return self.video_vectors(dense, real, torch.tensor([rounds]))[0].float()

    def _update_config(self) -> None:
        write_calibration(self)

    def _write_card(self, folder: Path) -> None:
        write_gexia_card(folder, self.config, *self.count_parameters(), self.embedding_dim)
