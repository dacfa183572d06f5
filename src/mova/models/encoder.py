"""The contract of all dual encoders: frames and texts in, comparable vectors out.

A model encodes each sampled frame to a vector, and each text to a pooled vector and token states, all in one space of
width d. Everything downstream (index, search, align, eval) uses only this interface.

Shape legend: T frames, H height, W width, C channels, h w model input pixels, V videos, N texts, L tokens, S
sentences, K units of a text, B background sentences, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova.data.concat import VideoConcat
from mova.errors import UsageError, VideoError
from mova.models.background_captions import encode_background, false_alarm_rates, relevance_threshold
from mova.models.embeddings import Source, TextEmbedding, VideoEmbedding, VideoFingerprint, display_name
from mova.models.relations.basis import Relations, respect_of
from mova.scoring.alignment import align_jointly
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.respects import Respect
from mova.scoring.similarity import cosine
from mova.scoring.similarity import irrelevance as frame_irrelevance
from mova.scoring.similarity import relevance as frame_relevance
from mova.scoring.timeline_decoder import Order
from mova.text.units import UnitRule, sentences_or_windows, windows_overlap
from mova.types import Frames, Timeline
from mova.utils.prefetch import prefetch
from mova.video.isolated import Decoding
from mova.video.probe import probe
from mova.video.reader import stream
from mova.video.windows import encode_windows

DECODE_CHUNK = 32
"""Frames decoded at once: 200 MB of 1080p pixels, so that memory is bounded regardless of the video's length."""
DECODE_SHORT_SIDE = 2160
"""Pixels of the shorter side to which larger frames are scaled when they are decoded: 8K becomes 4K."""
TEXT_CHUNK = 256
"""Units encoded at once if only their vectors are needed: token states are much larger."""


class DualEncoder(Decoding, ABC):
    """Mixin of every dual encoder (with `transformers.PreTrainedModel`).

    A model sets these attributes on the class or the instance.

    Attributes:
        name: display name (name on the Hub, folder, or name in the registry).
        frame_rate: frames per second that the model is made for.
        context: number of neighboring sampled frames on either side that a frame's vector depends on (0: none).
        scoring_form: default scoring form for evaluation (`eval/tasks/scoring_forms.py`): that of the objective which
            trained the model. Without training, "rule" for the evidence rule, or "global" if the model has one vector
            for a whole video.
        fixed_frame_rate: whether `frame_rate` is the only valid rate (the model reads motion from neighbors).
        relevance_threshold: cosine above which a frame shows a sentence, measured on validation data; None if it has
            not been measured (it is then estimated from background sentences, see `background`).
        background: sentences that describe no video in particular; their scores are the noise floor.
        unlikely: sentences that hardly any video shows, for false-alarm rates; default: `background`.
        units: rule that splits a caption into units when it is scored as a whole, as in training.
        rule: evidence rule that combines the units of a caption into one score, chosen on validation data; default:
            plain late interaction.
        alignment: weights of the evidence in `align`, calibrated on videos with known spans; default: None,
            chosen for each video (`mova.scoring.adaptive_weights`).
        relations: basis trained for `respect`, if any.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> video = model.encode_video("film.mp4")
    >>> video.times[:3], video.frames.shape
    (array([0. , 0.5, 1. ]), torch.Size([20, 192]))
    >>> texts = model.encode_text(["Two black discs shrink.", "A small orange crescent is seen bouncing indoors."])
    >>> model.relevance(texts, video)[:, [8, 18]].argmax(dim=1)  # at 4 s and 9 s
    tensor([0, 1])
    >>> timeline = model.align("film.mp4", "Two black discs shrink. A small orange crescent bounces indoors.")
    >>> [sentence.spans[0].span for sentence in timeline.sentences]
    [Span(start=3.0, end=6.5), Span(start=6.5, end=10.0)]
    >>> wrong, right = model.score([video], ["Three white stars.", "Two black discs shrink. A crescent bounces."])[0]
    >>> bool(right > wrong)
    True
    """

    name: str = "unnamed"
    frame_rate: float = 1.0
    context: int = 0
    scoring_form: str = "rule"
    fixed_frame_rate: bool = False
    relevance_threshold: float | None = None
    background: Sequence[str] = ()
    unlikely: Sequence[str] = ()
    units: UnitRule = UnitRule()
    rule: EvidenceRule = EvidenceRule()
    alignment: AlignmentWeights | None = None
    relations: Relations | None = None

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """Width d of the shared space."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of weights, architecture and preprocessing: equal fingerprints mean equal vectors."""

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of all that frame vectors depend on, without the text side if the model can separate it.

        A model with the fingerprint of its `backbone` has the backbone's frame vectors.
        """
        inner = self._same_inside()
        return VideoFingerprint(self.fingerprint(), "in the weights") if inner is None else inner.video_fingerprint()

    def video_parameters(self) -> list[nn.Parameter]:
        """Return the weights that frame vectors depend on.

        Raises:
            UsageError: the model cannot separate them from others.
        """
        inner = self._same_inside()
        if inner is None:
            raise UsageError(
                f"{self.name}: cannot separate its video tower from the rest, so it can only be trained on pixels"
            )
        return inner.video_parameters()

    def _same_inside(self) -> DualEncoder | None:
        """Return the backbone if it is a dual encoder with the same vectors, else None."""
        inner = getattr(self, "backbone", None)
        return inner if isinstance(inner, DualEncoder) and inner.fingerprint() == self.fingerprint() else None

    @abstractmethod
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode consecutive sampled frames: (T, d), float32. If context > 0, ends are repeated."""

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode one or many texts: pooled vectors and token states."""

    def encode_stream(
        self, chunks: Iterable[Frames], encode: Callable[[Frames], Tensor] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float64], Tensor]]:
        """Encode a video chunk by chunk, with the same vectors as in one pass over the whole.

        The last `2 * context` frames are kept between chunks: half of them still wait for their right neighbors, the
        other half are left neighbors of these. If the frame size changes, as between concatenated files, there are no
        such neighbors, and a new window begins.

        Args:
            chunks: consecutive parts of one video; empty ones are allowed.
            encode: frames -> (T, ...), where the row of a frame depends on `context` neighbors; default:
                `encode_frames`.

        Yields:
            Times (n,) in seconds and vectors (n, d), every frame exactly once, in order.
        """
        return encode_windows(chunks, encode or self.encode_frames, self.context)

    def sampling_rate(self, fps: float | None = None) -> float:
        """Return the frames per second to sample: `fps`; default: the model's own rate.

        Raises:
            UsageError: a rate that is not above 0, or not the fixed rate of the model.
        """
        if fps is None:
            return self.frame_rate
        if not (np.isfinite(fps) and fps > 0):
            raise UsageError(f"frames per second must be above 0, not {fps}")
        if self.fixed_frame_rate and fps != self.frame_rate:
            raise UsageError(
                f"{self.name} reads motion from neighboring frames and only supports "
                f"{self.frame_rate:g} frames per second, not {fps:g}; omit fps"
            )
        return fps

    def check_rate(self, fps: float | None) -> None:
        """Raise if the model requires a fixed frame rate and `fps` does not match it (None: a rule without a rate).

        Raises:
            UsageError: `fps` does not match.
        """
        if fps is not None:
            self.sampling_rate(fps)
        elif self.fixed_frame_rate:
            raise UsageError(f"data: {self.name} needs its own rate; set fps: {self.frame_rate:g} and omit rule")

    def open_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> tuple[Iterable[Frames], float]:
        """Return chunks of a video at the sampling rate, decoded ahead of their use, and its end in seconds.

        Args:
            video, fps, start, end: see `encode_video`.
        """
        rate = self.sampling_rate(fps)
        if isinstance(video, Frames):
            return [video], float(video.pts[-1]) + 1 / rate if len(video) else 0.0
        if isinstance(video, VideoConcat):
            return prefetch(video.stream(rate, DECODE_CHUNK, self.decoder)), video.end
        duration = (probe if self.decoder is None else self.decoder.probe)(video).duration
        duration = duration if end is None else min(end, duration)
        if start and start >= duration:
            raise VideoError(video, f"is only {duration:.2f} s long, so it has no clip from {start:.2f} s on")
        read = stream if self.decoder is None else self.decoder.stream
        chunks = read(video, fps=rate, start=start, end=end, short_side=DECODE_SHORT_SIDE, chunk=DECODE_CHUNK)
        return prefetch(chunks), duration

    def encode_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> VideoEmbedding:
        """Encode the frames of a video. Decoding runs in parallel, and memory is bounded.

        Args:
            video: a file, several segments of files, or frames already sampled (`fps` then only defines the duration of
                the last frame).
            fps: frames per second to sample; default: the model's own rate.
            start, end: seconds of a file to encode, `[start, end)`; default: all of it. Times count from the start of
                the file.

        Raises:
            VideoError: the file cannot be read, or has no frame there.
            UsageError: see `sampling_rate`.
        """
        chunks, duration = self.open_video(video, fps, start, end)
        parts = list(self.encode_stream(chunks))
        if not parts:
            raise VideoError(display_name(video), "no frames to encode")
        times = np.concatenate([times for times, _ in parts])
        step = None if isinstance(video, Frames) else 1 / self.sampling_rate(fps)
        return VideoEmbedding(torch.cat([vectors for _, vectors in parts]), times, duration, step=step)

    def similarity(self, videos: Sequence[VideoEmbedding], texts: TextEmbedding) -> Tensor:
        """Return the cosines (V, N) of pooled videos with pooled texts."""
        pooled = torch.stack([video.pooled for video in videos])
        return cosine(pooled, texts.pooled.to(pooled.device))

    def respect(self, by: str | Sequence[str], center: Tensor | None = None) -> Respect:
        """Return a respect in which moments can be compared, such as "the place" (`mova.models.relations.basis`).

        Args:
            by: name of a concept, or a list of its values, as words or sentences.
            center: (d,), mean unit vector of the frames to be compared; only used without a trained basis.

        Raises:
            UsageError: an unknown concept, or fewer than two values.
        """
        relations = (self._same_inside() or self).relations
        if relations is not None and relations.fingerprint != self.fingerprint():  # trained further: words only
            relations = replace(relations, trained=())
        with torch.no_grad():
            return respect_of(by, lambda texts: self.encode_text(texts).pooled, relations, center)

    def encode_units(self, texts: Sequence[str]) -> list[Tensor]:
        """Encode the units (K, d) of each text (`mova.text.units`), in batches over all texts.

        Raises:
            UsageError: a text has no words.
        """
        units = [self.units.split(text) for text in texts]
        flat = [unit for text_units in units for unit in text_units]
        parts = [self.encode_text(flat[i : i + TEXT_CHUNK]).pooled for i in range(0, len(flat), TEXT_CHUNK)]
        return list(torch.cat(parts).split([len(text_units) for text_units in units])) if parts else []

    def score(self, videos: Sequence[VideoEmbedding], texts: str | Sequence[str]) -> Tensor:
        """Score how well each video shows each whole text, unit by unit, by the model's evidence rule.

        Returns:
            float32, (V, N). The scores rank videos for a text and texts for a video; they are cosines only under the
            plain rule.

        Raises:
            UsageError: a text has no words.
        """
        vectors = self.encode_units([texts] if isinstance(texts, str) else texts)
        return self.rule.score([video.frames for video in videos], vectors)

    @property
    def scores_modular(self) -> bool:
        """Whether the model has masks of frames, so that `modular_similarity` works."""
        return False

    @property
    def selects_units(self) -> bool:
        """Whether its masks select units of a caption, so that `unit_weights` works."""
        return False

    def modular_similarity(self, videos: Sequence[VideoEmbedding], texts: Any, score: Any = None) -> Tensor:
        """Return scores through the masks of every pair: float32, (V, N).

        Args:
            videos: the candidates.
            texts: captions, or their encoding: by `encode_units` if `selects_units`, else by `encode_text`.
            score: name of the score, see the model's class (default: the model's own).

        Raises:
            UsageError: the model has no masks of frames.
        """
        raise UsageError(f"{self.name}: has no frame masks to score with; use `similarity`")

    def unit_weights(self, frames: Tensor, units: Tensor) -> Tensor:
        """Return the weight that every frame gives to every unit of a caption, and to none of them.

        Args:
            frames: (T, d).
            units: (K, d).

        Returns:
            float32, (T, K + 1), rows sum to 1; the last column is "none of the caption".

        Raises:
            UsageError: the model does not select units.
        """
        raise UsageError(f"{self.name}: selects no units of captions")

    def relevance(self, sentences: TextEmbedding | Tensor, frames: VideoEmbedding | Tensor) -> Tensor:
        """Return how much each frame shows each sentence.

        Args:
            sentences: S texts, or their pooled vectors (S, d).
            frames: a video, or its frame vectors (T, d).

        Returns:
            float32, (S, T) cosines, on the frames' device.
        """
        rows = sentences.pooled if isinstance(sentences, TextEmbedding) else sentences
        columns = frames.frames if isinstance(frames, VideoEmbedding) else frames
        return frame_relevance(rows.to(columns.device), columns)

    def irrelevance(self, frames: VideoEmbedding | Tensor, units: TextEmbedding | Tensor) -> Tensor:
        """Return how unrelated each frame is to a whole text: one minus its highest cosine with any unit of it.

        Args:
            frames: a video, or its frame vectors (T, d).
            units: the text's units (`encode_units`), or its sentences: vectors (K, d), or an embedding.

        Returns:
            float32, (T,), on the frames' device.
        """
        return frame_irrelevance(self.relevance(units, frames))

    def align(
        self,
        video: str | Path | Frames | VideoEmbedding,
        caption: str,
        *,
        fps: float | None = None,
        name: str | None = None,
        order: Order = "auto",
    ) -> Timeline:
        """Map each sentence of a caption to the seconds of a video that it describes, and find seconds without any.

        All sentences are decided on together (`mova.scoring.alignment.align_jointly`). A long passage without
        punctuation is split into overlapping windows of words.

        Args:
            video: a file, frames, or a video already encoded (such as stored vectors of an index).
            caption: one or more sentences.
            fps: see `encode_video`; unused for an encoded video.
            name: name of the video in the timeline; default: the path.
            order: whether the sentences are in temporal order: "yes", "no", or "auto" by the evidence (windows of
                words are not).

        Raises:
            UsageError: the caption has no words.
            VideoError: the file cannot be read.
        """
        sentences = sentences_or_windows(caption)
        if name is None:
            name = str(video) if isinstance(video, str | Path) else ""
        seen = video if isinstance(video, VideoEmbedding) else self.encode_video(video, fps)
        vectors = self.encode_text(sentences).pooled
        if order == "auto" and windows_overlap(caption, sentences):
            order = "no"
        background = encode_background(self) if self.background else relevance_threshold(self, seen)
        result = align_jointly(
            vectors,
            seen.frames,
            seen.times,
            seen.duration,
            self.alignment,
            background=background,
            sentences=sentences,
            order=order,
            step=seen.step,
        )
        rates = false_alarm_rates(self, result.relevance.max(axis=1).tolist(), seen)
        return result.timeline(name, sentences, seen.times, seen.duration, seen.step, rates)

    def weights_version(self) -> int:
        """Return a number that changes whenever a weight is written to (training, loading)."""
        parameters = getattr(self, "parameters", None)
        return 0 if parameters is None else sum(weight._version for weight in parameters())
