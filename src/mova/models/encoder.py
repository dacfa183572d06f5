"""The contract that all models share: frames and texts in, comparable vectors out.

A model turns sampled frames into one vector each and texts into a pooled vector and token states, all in one
space of width d. Everything downstream (index, search, align, eval) uses only what stands here.

Shape legend: T frames, H height, W width, C channels, h w model input pixels, V videos, N texts, L tokens, S
sentences, K units of a text, B background sentences, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova.data.concat import VideoConcat
from mova.errors import UsageError, VideoError
from mova.models.background_captions import relevance_threshold
from mova.models.embeddings import Source, TextEmbedding, VideoEmbedding, VideoFingerprint, display_name
from mova.scoring.alignment import align_curves
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.similarity import cosine
from mova.scoring.similarity import irrelevance as frame_irrelevance
from mova.scoring.similarity import relevance as frame_relevance
from mova.text.units import UnitRule, sentences_or_windows
from mova.types import Frames, SentenceTimeline, Timeline
from mova.utils.prefetch import prefetch
from mova.video.probe import probe
from mova.video.reader import stream
from mova.video.windows import encode_windows

DECODE_CHUNK = 32
"""Frames decoded at a time: 200 MB of 1080p pixels, so that memory stays bounded however long a video is."""
TEXT_CHUNK = 256
"""Units encoded at a time where only their vectors are wanted: token states are far greater."""


class DualEncoder(ABC):
    """Mixin of every model (beside `transformers.PreTrainedModel`).

    A model sets these on the class or the instance.

    Attributes:
        name: how people refer to it (hub name, folder, or registry name).
        frame_rate: frames per second that it is meant to see.
        context: neighbouring sampled frames on either side that a frame's vector depends on (0: none).
        scoring_form: how whole texts are scored in evaluation where nobody says (`eval/tasks/scoring_forms.py`): by the
            evidence rule, or "global" where a model has a vector of its own for a whole video.
        fixed_frame_rate: true where another rate than `frame_rate` would be wrong (motion from neighbours).
        relevance_threshold: cosine above which a sentence is said to be shown, measured on validation data;
            None where it has not been measured (then it comes from background sentences, see `background`).
        background: sentences that say nothing of a video in particular; their scores are the noise floor.
        units: how a caption is cut into units where it is scored as a whole: as in training.
        rule: how the units of a caption make one score, chosen on validation data; plain late interaction until then.
    """

    name: str = "unnamed"
    frame_rate: float = 1.0
    context: int = 0
    scoring_form: str = "rule"
    fixed_frame_rate: bool = False
    relevance_threshold: float | None = None
    background: Sequence[str] = ()
    units: UnitRule = UnitRule()
    rule: EvidenceRule = EvidenceRule()

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """Width d of the shared space."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights, architecture and preprocessing: equal fingerprints give equal vectors."""

    def video_fingerprint(self) -> VideoFingerprint:
        """Hashes of what frame vectors depend on, text side left out where the model can tell it apart.

        A model whose fingerprint is that of its `backbone` has the backbone's frame vectors.
        """
        inner = self._same_inside()
        return VideoFingerprint(self.fingerprint(), "in the weights") if inner is None else inner.video_fingerprint()

    def video_parameters(self) -> list[nn.Parameter]:
        """The weights that frame vectors depend on.

        Raises:
            UsageError: the model does not tell them from others.
        """
        inner = self._same_inside()
        if inner is None:
            raise UsageError(f"{self.name}: does not tell its video tower from the rest, so it trains on pixels only")
        return inner.video_parameters()

    def _same_inside(self) -> DualEncoder | None:
        """The backbone, if it is a dual encoder that gives the very same vectors."""
        inner = getattr(self, "backbone", None)
        return inner if isinstance(inner, DualEncoder) and inner.fingerprint() == self.fingerprint() else None

    @abstractmethod
    def encode_frames(self, frames: Frames) -> Tensor:
        """(T, d) float32 vectors of consecutive sampled frames. Where context > 0, ends are repeated."""

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Pooled vectors and token states of one or many texts."""

    def encode_stream(
        self, chunks: Iterable[Frames], encode: Callable[[Frames], Tensor] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.float64], Tensor]]:
        """Encode a video chunk by chunk, with the vectors that one pass over the whole would give.

        The last `2 * context` frames are kept between chunks: half of them still wait for frames to their
        right, the other half stands to their left. Where the size of pictures changes, as between files that are
        shown one after the other, there is no such neighbour: a new window begins.

        Args:
            chunks: consecutive stretches of one video; empty ones are allowed.
            encode: frames -> (T, ...), whose row of a frame depends on `context` neighbours; `encode_frames` if left
                out.

        Yields:
            Times (n,) in seconds and vectors (n, d), every frame exactly once, in order.
        """
        return encode_windows(chunks, encode or self.encode_frames, self.context)

    def sampling_rate(self, fps: float | None = None) -> float:
        """Frames a second to look at: `fps`, or the model's own rate if left out.

        Raises:
            UsageError: another rate than the only one that the model understands, or one that is not above 0.
        """
        if fps is None:
            return self.frame_rate
        if not (np.isfinite(fps) and fps > 0):
            raise UsageError(f"frames a second must be above 0, not {fps}")
        if self.fixed_frame_rate and fps != self.frame_rate:
            raise UsageError(
                f"{self.name} reads motion from neighbouring frames and only understands "
                f"{self.frame_rate:g} frames a second, not {fps:g}; leave the rate out"
            )
        return fps

    def check_rate(self, fps: float | None) -> None:
        """See that a model of one rate is fed at it, where frames may also be chosen by a rule without any rate (None).

        Raises:
            UsageError: it is not.
        """
        if fps is not None:
            self.sampling_rate(fps)
        elif self.fixed_frame_rate:
            raise UsageError(f"data: {self.name} needs its own rate; say fps: {self.frame_rate:g} and leave rule out")

    def open_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> tuple[Iterable[Frames], float]:
        """Stretches of a video at the rate to look at, decoded ahead of their use, and the second at which it ends.

        Args:
            video, fps, start, end: see `encode_video`.
        """
        rate = self.sampling_rate(fps)
        if isinstance(video, Frames):
            return [video], float(video.pts[-1]) + 1 / rate if len(video) else 0.0
        if isinstance(video, VideoConcat):
            return prefetch(video.stream(rate, DECODE_CHUNK)), video.end
        duration = probe(video).duration
        duration = duration if end is None else min(end, duration)
        if start and start >= duration:
            raise VideoError(video, f"lasts {duration:.2f} s, so it has no clip from {start:.2f} s on")
        return prefetch(stream(video, fps=rate, start=start, end=end, chunk=DECODE_CHUNK)), duration

    def encode_video(
        self, video: Source, fps: float | None = None, start: float = 0.0, end: float | None = None
    ) -> VideoEmbedding:
        """Frame vectors of a video; decoding runs beside encoding, memory does not grow with pixels.

        Args:
            video: a file, several segments of files, or frames already sampled (then `fps` only says how long the last
                one lasts).
            fps: frames a second to look at; the model's own rate if left out.
            start, end: seconds of a file to look at, `[start, end)`; all of it if left out. Times stay the file's.

        Raises:
            VideoError: the file cannot be read, or holds no frame there.
            UsageError: see `sampling_rate`.
        """
        chunks, duration = self.open_video(video, fps, start, end)
        parts = list(self.encode_stream(chunks))
        if not parts:
            raise VideoError(display_name(video), "there is no frame to encode")
        times = np.concatenate([times for times, _ in parts])
        return VideoEmbedding(torch.cat([vectors for _, vectors in parts]), times, duration)

    def similarity(self, videos: Sequence[VideoEmbedding], texts: TextEmbedding) -> Tensor:
        """(V, N) cosine of pooled videos with pooled texts."""
        pooled = torch.stack([video.pooled for video in videos])
        return cosine(pooled, texts.pooled.to(pooled.device))

    def encode_units(self, texts: Sequence[str]) -> list[Tensor]:
        """Vectors (K, d) of each text's units (`mova.text.units`); all units of all texts go in batches together.

        Raises:
            UsageError: a text holds no words.
        """
        units = [self.units.split(text) for text in texts]
        flat = [unit for own in units for unit in own]
        parts = [self.encode_text(flat[i : i + TEXT_CHUNK]).pooled for i in range(0, len(flat), TEXT_CHUNK)]
        return list(torch.cat(parts).split([len(own) for own in units])) if parts else []

    def score(self, videos: Sequence[VideoEmbedding], texts: str | Sequence[str]) -> Tensor:
        """How well each video shows each whole text, unit by unit, by the model's evidence rule.

        Returns:
            float32, (V, N). They rank videos for a text and texts for a video; only under the plain rule are they
            cosines.

        Raises:
            UsageError: a text holds no words.
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

    def modular_similarity(self, videos: Sequence[VideoEmbedding], texts: Any) -> Tensor:
        """Return scores through the masks of every pair: float32, (V, N).

        Args:
            videos: the candidates.
            texts: captions, or their encoding: by `encode_units` if `selects_units`, else by `encode_text`.

        Raises:
            UsageError: the model has no masks of frames.
        """
        raise UsageError(f"{self.name}: has no masks of frames to score with; use `similarity`")

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
        """How much each frame shows each sentence.

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
        """How little each frame has to do with a whole text: one minus its highest cosine with any unit of it.

        Args:
            frames: a video, or its frame vectors (T, d).
            units: the text's units (`encode_units`), or its sentences: (K, d) vectors, or as encoded.

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
    ) -> Timeline:
        """Say which sentence of a caption belongs to which seconds of a video, and which seconds to none.

        A long stretch without punctuation is told in overlapping windows of words.

        Args:
            video: a file, frames, or a video already encoded (stored vectors of an index, say).
            caption: one or more sentences.
            fps: see `encode_video`; unused for an encoded video.
            name: what the timeline calls the video; the path if left out.

        Raises:
            UsageError: the caption holds no words.
            VideoError: the file cannot be read.
        """
        sentences = sentences_or_windows(caption)
        if name is None:
            name = str(video) if isinstance(video, str | Path) else ""
        seen = video if isinstance(video, VideoEmbedding) else self.encode_video(video, fps)
        vectors = self.encode_text(sentences).pooled
        result = align_curves(vectors, seen.frames, seen.times, seen.duration, relevance_threshold(self, seen))
        rows = tuple(map(SentenceTimeline, sentences, result.relevance, result.spans))
        return Timeline(name, seen.duration, seen.times, rows, result.irrelevant)

    def weights_version(self) -> int:
        """A number that changes whenever a weight is written to (training, loading)."""
        parameters = getattr(self, "parameters", None)
        return 0 if parameters is None else sum(weight._version for weight in parameters())
