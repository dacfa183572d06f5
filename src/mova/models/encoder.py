"""The contract of all dual encoders: frames and texts in, comparable vectors out.

A model encodes each sampled frame to a vector, and each text to a pooled vector and token states, all in one space of
width d. Everything downstream (index, search, align, eval) uses only this interface.

Shape legend: T frames, H height, W width, C channels, h w model input pixels, V videos, N texts, L tokens, S
sentences, K units of a text, B background sentences, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mova.errors import UsageError
from mova.models.background_captions import encode_background, false_alarm_rates, relevance_threshold
from mova.models.embeddings import TextEmbedding, VideoEmbedding, VideoFingerprint
from mova.models.inputs.encode import Encoding, Vectors, encode, pooled_rows, score
from mova.models.inputs.sources import name_of
from mova.models.inputs.texts import as_texts
from mova.models.relations.comparing import Comparing
from mova.scoring.alignment import align_jointly, align_present
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.false_alarm import probability_shown
from mova.scoring.similarity import cosine
from mova.scoring.similarity import irrelevance as frame_irrelevance
from mova.scoring.similarity import relevance as frame_relevance
from mova.scoring.timeline_decoder import Order
from mova.text.units import UnitRule, sentences_or_windows, windows_overlap
from mova.types import Timeline

TEXT_CHUNK = 256
"""Units encoded at once if only their vectors are needed: token states are much larger."""


class DualEncoder(Comparing, Encoding, ABC):
    """Mixin of every dual encoder (with `transformers.PreTrainedModel`).

    A model sets these attributes on the class or the instance.

    Attributes:
        name: display name (name on the Hub, folder, or name in the registry).
        frame_rate: frames per second that the model is made for.
        context: number of neighboring sampled frames on either side that a frame's vector depends on (0: none).
        scoring_form: default scoring form for evaluation (`eval/tasks/scoring_forms.py`): that of the objective which
            trained the model. Without training, "rule" for the evidence rule, or "global" if the model has one vector
            for a whole video.
        window: sampled frames that a vector sees, and the stride from one vector to the next; one frame and one frame
            for encoders of pictures. Others are `mova.models.inputs.windows.WindowReading`, too.
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
    [Span(start=3.0, end=6.5), Span(start=6.5, end=9.5)]
    >>> wrong, right = model.score("film.mp4", ["Three white stars.", "Two black discs shrink. A crescent bounces."])
    >>> bool(right > wrong)
    True
    >>> from pathlib import Path
    >>> model.encode(["two black discs", Path("film.mp4")]).shape
    (2, 192)
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

    def similarity(
        self,
        videos: Vectors,
        texts: Vectors,
        *,
        by: str | Sequence[str] | None = None,
    ) -> Tensor:
        """Return the cosines (V, N) of pooled videos with pooled texts, or of any two sets of vectors.

        Args:
            videos: V videos or texts: embeddings, or the vectors (V, d) of `encode`; one vector (d,) is one row.
            texts: N texts or videos, likewise.
            by: compare in one respect alone, such as "the place" (see `respect`).

        Raises:
            UsageError: an unknown concept, or values that are no such vectors, or of different widths.

        >>> import mova
        >>> model = mova.load("mova-worlds-tiny")
        >>> clips = [model.encode_video("film.mp4", start=start, end=start + 3) for start in (3.0, 6.5)]
        >>> model.similarity(clips, clips, by="color").shape
        torch.Size([2, 2])
        """
        pooled, others = pooled_rows(self.pool, videos, texts)
        return cosine(pooled, others) if by is None else self.respect(by).similarity(pooled, others)

    def pool(self, videos: Sequence[VideoEmbedding]) -> Tensor:
        """Return the vectors (V, d) of whole videos, as `similarity` compares them."""
        return torch.stack([video.pooled for video in videos])

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts that the model reads whole (`mova.text.parts`); default: one part."""
        inner = getattr(self, "backbone", None)
        return inner.text_parts(text) if isinstance(inner, DualEncoder) else [text]

    def encode_sentences(self, sentences: str | Sequence[str]) -> TextEmbedding:
        """Encode texts of any length. Of a text that is longer than the model reads, no word is dropped.

        It is split into parts, and its vector is the mean of their unit vectors (`TextEmbedding.merge_parts`).

        Raises:
            UsageError: no text at all.
        """
        batch = as_texts(sentences)
        parts = [self.text_parts(text) for text in batch]
        encoded = self.encode_text([part for text in parts for part in text])
        return encoded if len(encoded.pooled) == len(batch) else encoded.merge_parts([len(text) for text in parts])

    def encode_units(self, texts: Sequence[str]) -> list[Tensor]:
        """Encode the units (K, d) of each text (`mova.text.units`), in batches over all texts, equal units once.

        Raises:
            UsageError: a text has no words.
        """
        return self.encode_unit_lists([self.units.split(text) for text in texts])

    def encode_unit_lists(self, units: Sequence[Sequence[str]]) -> list[Tensor]:
        """Encode texts that are already split into units, (K, d) each, in batches over all texts, equal units once."""
        flat = list(dict.fromkeys(unit for text_units in units for unit in text_units))
        if not flat:
            return []
        vectors = torch.cat(
            [self.encode_sentences(flat[i : i + TEXT_CHUNK]).pooled for i in range(0, len(flat), TEXT_CHUNK)]
        )
        row = {unit: i for i, unit in enumerate(flat)}
        return [vectors[[row[unit] for unit in text_units]] for text_units in units]

    def encode(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        normalize: bool = True,
        normalize_embeddings: bool | None = None,
        show_progress_bar: bool | None = None,
        convert_to_tensor: bool = False,
        fps: float | None = None,
    ) -> npt.NDArray[np.float32] | Tensor:
        """Encode texts and videos of any kind to one vector each, as sentence-transformers does.

        Args:
            inputs: a text or a video, or a list of them, mixed or not. A string is a text; a file is a `pathlib.Path`.
                Frames, arrays, pictures and open files are videos (see `encode_video`); in a list, each picture is one.
            batch_size: texts, or pictures of one size, that are encoded at once.
            normalize: divide vectors of texts by their lengths, so that products are cosines. Those of videos always
                are unit vectors.
            normalize_embeddings: another name of `normalize`.
            show_progress_bar: show how many inputs are encoded.
            convert_to_tensor: return a tensor on the model's device instead of an array.
            fps: see `encode_video`; it does not change vectors of frames in memory.

        Returns:
            float32, (d,) for one input, (N, d) for a list, in its order.

        Raises:
            UsageError: an empty list or text, a string that names a video file, or see `encode_video`.
            VideoError: a file cannot be read.
        """
        chosen = normalize if normalize_embeddings is None else normalize_embeddings
        with torch.no_grad():
            vectors = encode(self, inputs, batch_size, fps, normalize=chosen, show_progress=bool(show_progress_bar))
        return vectors if convert_to_tensor else vectors.cpu().numpy()

    def score(
        self, videos: Any, texts: str | Sequence[str], *, fps: float | None = None, pairs: bool = False
    ) -> Tensor:
        """Score how well each video shows each whole text, unit by unit, by the model's evidence rule.

        Args:
            videos: a video or a list of them: anything that `encode_video` takes, or embeddings. In a list, each
                picture is a video.
            texts: a text, or a list of texts.
            fps: see `encode_video`; not used for embeddings.
            pairs: score the first video with the first text, the second with the second, and so on. One video is
                paired with every text, and one text with every video.

        Returns:
            float32, (V, N). A single video, not in a list, has no first dimension: (N,) with a list of texts, and one
            number () with a single text. With `pairs`, (V,). The scores rank videos for a text and texts for a video;
            they are cosines only under the plain rule.

        Raises:
            UsageError: a text has no words, pairs of different numbers, or see `encode_video`.
            VideoError: a file cannot be read.
        """
        return score(self, videos, texts, fps, pairs=pairs)

    @property
    def modular_scores(self) -> tuple[str, ...]:
        """Names of the scores of `modular_similarity`, the model's own first; empty without masks of frames."""
        return ()

    @property
    def scores_modular(self) -> bool:
        """Whether the model has masks of frames, so that `modular_similarity` works."""
        return len(self.modular_scores) > 0

    @property
    def selects_units(self) -> bool:
        """Whether its masks select units of a caption, so that `unit_weights` works."""
        return False

    def modular_similarity(self, videos: Sequence[VideoEmbedding], texts: Any, score: Any = None) -> Tensor:
        """Return scores through the masks of every pair: float32, (V, N).

        Args:
            videos: the candidates.
            texts: captions, or their encoding: by `encode_units` if `selects_units`, else by `encode_text`.
            score: one of `modular_scores` (default: the first).

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
        video: Any,
        caption: str,
        *,
        fps: float | None = None,
        times: npt.ArrayLike | None = None,
        name: str | None = None,
        order: Order = "auto",
        all_shown: bool = False,
    ) -> Timeline:
        """Map each sentence of a caption to the seconds of a video that it describes, and find seconds without any.

        All sentences are decided on together (`mova.scoring.alignment.align_jointly`). A long passage without
        punctuation is split into overlapping windows of words. Without calibrated weights (`alignment`), the alignment
        finds a place for nearly every sentence; whether it is shown is then decided by its false-alarm rate, and
        sentences that are hardly shown take no time from the others.

        Args:
            video: anything that `encode_video` takes, or a video already encoded (such as stored vectors of an index).
            caption: one or more sentences.
            fps, times: see `encode_video`; unused for an encoded video.
            name: name of the video in the timeline; default: the path.
            order: whether the sentences are in temporal order: "yes", "no", or "auto" by the evidence (windows of
                words are not).
            all_shown: the caption is known to describe this video: every sentence gets its most probable place.

        Raises:
            UsageError: the caption has no words.
            VideoError: the file cannot be read.
        """
        sentences = sentences_or_windows(caption)
        name = name_of(video) if name is None else name
        seen = video if isinstance(video, VideoEmbedding) else self.encode_video(video, fps, times=times)
        vectors = self.encode_sentences(sentences).pooled
        if order == "auto" and windows_overlap(caption, sentences):
            order = "no"
        background = encode_background(self) if self.background else relevance_threshold(self, seen)
        place = (vectors, seen.frames, seen.times, seen.duration, self.alignment)
        options: dict[str, Any] = {"background": background, "sentences": sentences, "order": order, "step": seen.step}
        rates = false_alarm_rates(self, self.relevance(vectors, seen.frames).amax(dim=1).tolist(), seen)
        if all_shown or rates is None or (self.alignment is not None and self.alignment.calibrated):
            result = align_jointly(*place, **options)
            if all_shown:
                result = result.with_shown([1.0] * len(sentences), seen.times, seen.duration, seen.step)
        else:
            result = align_present(*place, shown=[*map(probability_shown, rates)], **options)
        return result.timeline(name, sentences, seen.times, seen.duration, seen.step, rates)

    def weights_version(self) -> int:
        """Return a number that changes whenever a weight is written to (training, loading)."""
        parameters = getattr(self, "parameters", None)
        return 0 if parameters is None else sum(weight._version for weight in parameters())
