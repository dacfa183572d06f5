"""What all models share: streaming, videos, timelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

import mova
from mova.errors import ModelError, UsageError, VideoError
from mova.models.background_captions import relevance_threshold
from mova.models.encoder import DualEncoder, TextEmbedding, VideoEmbedding
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.false_alarm import probability_shown
from mova.scoring.spans import noise_floor
from mova.text.units import UnitRule, split_units
from mova.types import Frames, Span

COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class ColourEncoder(DualEncoder):
    """Frames are their mean colour (averaged over `context` neighbours), texts the colours that they name."""

    name = "colours"
    frame_rate = 2.0

    def __init__(self, context: int = 0) -> None:
        self.context = context
        self.calls = 0

    @property
    def embedding_dim(self) -> int:
        return 3

    def fingerprint(self) -> str:
        return "colours"

    def encode_frames(self, frames: Frames) -> Tensor:
        means = torch.from_numpy(frames.pixels.astype(np.float32)).mean(dim=(1, 2)) / 255
        padded = torch.cat([means[:1]] * self.context + [means] + [means[-1:]] * self.context)
        return padded.unfold(0, 2 * self.context + 1, 1).mean(dim=-1)

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        self.calls += 1
        batch = [texts] if isinstance(texts, str) else list(texts)
        rows = [[float(colour in text) for colour in COLOURS] for text in batch]
        pooled = torch.tensor(rows) + 0.01
        mask = torch.ones(len(batch), 1, dtype=torch.bool)
        return TextEmbedding(pooled, pooled.unsqueeze(1), mask, np.zeros(len(batch), dtype=np.int64))


def noise(count: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames(rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8), np.arange(count) / 2)


def coloured(colours: Sequence[str]) -> Frames:
    pixels = np.stack([np.full((8, 8, 3), COLOURS[colour], dtype=np.uint8) for colour in colours])
    return Frames(pixels, np.arange(len(colours)) / 2)


@given(st.integers(1, 30), st.integers(0, 3), st.lists(st.integers(0, 7), max_size=12))
def test_any_chunking_gives_the_vectors_of_one_pass(count: int, context: int, sizes: list[int]) -> None:
    frames = noise(count)
    edges = [0, *(min(count, edge) for edge in np.cumsum(sizes).tolist()), count]
    chunks = [frames[a:b] for a, b in pairwise(edges)]
    encoder = ColourEncoder(context)
    parts = list(encoder.encode_stream(chunks))
    assert np.array_equal(np.concatenate([times for times, _ in parts]), frames.pts)
    assert all(len(times) == len(vectors) > 0 for times, vectors in parts)
    torch.testing.assert_close(torch.cat([vectors for _, vectors in parts]), encoder.encode_frames(frames))


def test_a_stream_is_encoded_while_it_comes() -> None:
    encoder = ColourEncoder(1)
    encoded_counts = []

    def chunks() -> Any:
        for i in range(4):
            encoded_counts.append(i)
            yield Frames(noise(4).pixels, np.arange(4) + 4.0 * i)

    stream = encoder.encode_stream(chunks())
    next(stream)
    assert encoded_counts == [0]


def test_empty_input_gives_empty_output() -> None:
    assert list(ColourEncoder(1).encode_stream([])) == []
    assert list(ColourEncoder(1).encode_stream([noise(0), noise(0)])) == []


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds: two of red, two of blue, two of red."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for i in range(60):
            picture = np.full((48, 64, 3), COLOURS["blue" if 20 <= i < 40 else "red"], dtype=np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    return path


def test_a_file_is_sampled_at_the_rate(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova.models.inputs.reading.DECODE_CHUNK", 5)
    encoder = ColourEncoder(1)
    video = encoder.encode_video(film)
    assert video.times == pytest.approx(np.arange(12) / 2, abs=0.06)
    assert video.duration == pytest.approx(6.0, abs=0.05)
    assert video.frames.shape == (12, 3)
    assert len(encoder.encode_video(film, fps=5).times) == 30


def test_frames_in_memory_are_a_video_too() -> None:
    video = ColourEncoder().encode_video(coloured(["red", "blue"]))
    assert video.times.tolist() == [0.0, 0.5]
    assert video.duration == 1.0
    with pytest.raises(VideoError, match="no frame"):
        ColourEncoder().encode_video(noise(0))


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_invalid_rates_are_rejected(fps: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        ColourEncoder().encode_video("unread.mp4", fps=fps)


def test_another_rate_is_refused_where_motion_depends_on_it() -> None:
    encoder = ColourEncoder(1)
    encoder.fixed_frame_rate = True
    assert encoder.sampling_rate(2.0) == 2.0
    with pytest.raises(UsageError, match="2 frames per second, not 4"):
        encoder.encode_video("unread.mp4", fps=4)


def test_similarity_is_the_cosine_of_pooled_vectors() -> None:
    encoder = ColourEncoder()
    videos = [encoder.encode_video(coloured(c)) for c in (["red", "red", "blue"], ["green"])]
    similarity = encoder.similarity(videos, encoder.encode_text(["red", "green", "blue"]))
    assert similarity.shape == (2, 3)
    unit = videos[0].frames / videos[0].frames.norm(dim=1, keepdim=True)
    mean = unit.mean(dim=0)
    text = encoder.encode_text("red").pooled[0]
    assert similarity[0, 0].item() == pytest.approx((mean @ text / mean.norm() / text.norm()).item(), abs=1e-6)
    assert similarity.argmax(dim=1).tolist() == [0, 1]


def test_align_finds_the_seconds_that_each_sentence_covers(film: Path) -> None:
    encoder = ColourEncoder()
    encoder.relevance_threshold = 0.8
    line = encoder.align(film, "It is blue. Then all is green. A red wall stands.")
    assert line.video == str(film)
    assert [row.text for row in line.sentences] == ["It is blue.", "Then all is green.", "A red wall stands."]
    blue, green, red = line.sentences
    assert len(blue.spans) == 1
    assert blue.spans[0].span.start == pytest.approx(2.0, abs=0.06)
    assert blue.spans[0].span.end == pytest.approx(4.0, abs=0.06)
    assert green.spans == ()
    assert [(scored.span.start, scored.span.end) for scored in red.spans] == [(pytest.approx(4.0, abs=0.06), 6.0)]
    assert line.order is not None
    assert line.order.choice == "ordered", "red before blue would be out of order"
    assert green.shown is not None
    assert green.shown < 0.2 < 0.9 < min(blue.shown or 0, red.shown or 0)
    assert [(s.start, s.end) for s in line.irrelevant] == [(0.0, pytest.approx(2.0, abs=0.06))]
    both = encoder.align(film, "A red wall stands. It is blue. A red wall stands.")
    assert both.irrelevant == ()
    only = encoder.align(film, "It is blue.")
    assert sum(span.duration for span in only.irrelevant) == pytest.approx(4.0, abs=0.1)
    assert line.to_json()["sentences"][0]["relevance"][5] > 0.9


def test_align_takes_a_video_already_encoded(film: Path) -> None:
    encoder = ColourEncoder()
    encoder.relevance_threshold = 0.8
    stored = encoder.encode_video(film)
    line = encoder.align(stored, "It is blue.", name="film")
    direct = encoder.align(film, "It is blue.")
    assert line.video == "film"
    assert line.sentences[0].spans == direct.sentences[0].spans
    assert line.irrelevant == direct.irrelevant


def test_without_a_measured_threshold_background_sentences_decide() -> None:
    encoder = ColourEncoder()
    video = encoder.encode_video(coloured(["red"] * 6 + ["blue"] * 2))
    with pytest.raises(ModelError, match="background"):
        relevance_threshold(encoder, video)
    encoder.background = ["something green", "nothing at all"]
    expected = noise_floor(encoder.relevance(encoder.encode_text(encoder.background), video).numpy())
    encoder.calls = 0
    assert relevance_threshold(encoder, video) == expected
    assert relevance_threshold(encoder, video) == expected
    assert encoder.calls == 1, "background sentences are encoded once"
    encoder.background = ["something blue"]
    assert relevance_threshold(encoder, video) != expected
    line = encoder.align(video, "something blue and green")
    assert isinstance(line.irrelevant, tuple)
    encoder.background = ["something green", "nothing at all"]
    spans = encoder.align(video, "It turns blue.").sentences[0].spans
    assert [scored.span for scored in spans] == [Span(3.0, 4.0)]


def test_an_empty_caption_is_rejected() -> None:
    with pytest.raises(UsageError, match="no words"):
        ColourEncoder().align(coloured(["red"]), " ...")


def test_a_video_embedding_checks_itself() -> None:
    with pytest.raises(ValueError, match="at least one"):
        VideoEmbedding(torch.zeros(0, 3), np.zeros(0), 1.0)
    with pytest.raises(ValueError, match="as many times"):
        VideoEmbedding(torch.zeros(2, 3), np.zeros(3), 1.0)
    assert VideoEmbedding(torch.ones(2, 3), np.zeros(2), 1.0).pooled.norm().item() == pytest.approx(1.0)


def test_whole_captions_are_scored_by_the_rule_over_the_models_units() -> None:
    encoder = ColourEncoder()
    films = [encoder.encode_video(coloured(c)) for c in (["red", "blue", "green"], ["blue", "red", "red"], ["green"])]
    texts = ["It is red. Then blue.", "green", "It is blue. Then red. At last green."]
    scores = encoder.score(films, texts)
    assert scores.shape == (3, 3)
    for v, film in enumerate(films):
        for n, text in enumerate(texts):
            vectors = encoder.encode_text(text.split(". ")).pooled
            assert scores[v, n].item() == pytest.approx(EvidenceRule().score([film.frames], [vectors]).item(), abs=1e-6)
    encoder.rule = EvidenceRule(g=0.5, theta=0.1, beta=1.0, global_share=0.1)
    ruled = encoder.score(films, texts)
    assert not torch.allclose(ruled, scores)
    assert ruled[0, 0] > ruled[1, 0], "red comes before blue in the first film only"
    assert encoder.score(films, "green").tolist() == ruled[:, 1:2].tolist()
    assert encoder.score(films, []).shape == (3, 0)
    with pytest.raises(UsageError, match="no words"):
        encoder.score(films, ["red", "..."])


def test_units_are_encoded_together_and_by_the_models_own_rule() -> None:
    encoder = ColourEncoder()
    long = "a red wall stands beside a green one and then a blue one comes in and stays"
    assert [len(v) for v in encoder.encode_units([long, f"{long}.", "red"])] == [len(split_units(long)), 1, 1]
    assert encoder.calls == 1
    encoder.units = UnitRule(keep_sentences=False)
    assert [len(v) for v in encoder.encode_units([f"{long}."])] == [len(split_units(long))]
    encoder.units = UnitRule(longest=20)
    assert [len(v) for v in encoder.encode_units([long])] == [1]


def test_units_beyond_a_batch_keep_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ColourEncoder()
    texts = ["red. green. blue.", "blue", "green. green.", "red"]
    units = encoder.encode_units(texts)
    monkeypatch.setattr("mova.models.encoder.TEXT_CHUNK", 2)
    for a, b in zip(encoder.encode_units(texts), units, strict=True):
        assert torch.equal(a, b)


def test_irrelevance_finds_the_frames_that_no_unit_describes() -> None:
    """Frames of a described event near its unit, filler near nothing: noise in 32 dimensions."""
    generator = torch.Generator().manual_seed(0)
    units = torch.randn(3, 32, generator=generator)
    described = torch.arange(60) % 2 == 0
    frame_vectors = units[torch.arange(60) % 3] * described[:, None]
    frames = frame_vectors + 0.8 * torch.randn(60, 32, generator=generator)
    irrelevance = ColourEncoder().irrelevance(frames, units)
    assert irrelevance.shape == (60,)
    assert roc_auc_score(~described, irrelevance.numpy()) > 0.98
    baseline = 1 - torch.nn.functional.cosine_similarity(frames, units.mean(dim=0, keepdim=True))
    assert roc_auc_score(~described, irrelevance.numpy()) > roc_auc_score(~described, baseline.numpy())
    video = VideoEmbedding(frames, np.arange(60.0), 60.0)
    assert torch.equal(ColourEncoder().irrelevance(video, units), irrelevance)


def test_align_splits_long_text_without_punctuation_into_windows() -> None:
    encoder = ColourEncoder()
    encoder.relevance_threshold = 0.9
    film = coloured(["red"] * 4 + ["blue"] * 4)
    long = "here stands one wall and it is red for a while and after it there is one that is blue"
    line = encoder.align(film, long)
    assert [row.text for row in line.sentences] == split_units(long)
    assert line.sentences[0].spans[0].span == Span(0.0, 2.0)
    assert line.sentences[-1].spans[0].span == Span(2.0, 4.0)
    assert [row.text for row in encoder.align(film, f"{long}.").sentences] == [f"{long}."]


def test_without_calibrated_weights_the_false_alarm_rate_decides_what_is_shown(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mova.load("mova-worlds-tiny")
    text = "Two black discs shrink. Three big golden stars fly over the sea."
    monkeypatch.setattr(model, "alignment", None)
    rows = model.align(film, text).sentences
    for row in rows:
        assert row.false_alarm is not None
        assert row.shown == probability_shown(row.false_alarm)
        assert row.posterior is not None
        assert row.posterior.max() <= row.shown + 1e-6
        assert bool(row.spans) == (row.shown >= 0.5) == (row.likely is None)


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_caption_that_is_known_to_describe_the_video_has_a_place_for_every_sentence(
    film: Path, monkeypatch: pytest.MonkeyPatch, calibrated: bool
) -> None:
    model = mova.load("mova-worlds-tiny")
    text = "Two black discs shrink. Three big golden stars fly over the sea."
    if not calibrated:
        monkeypatch.setattr(model, "alignment", None)
    usual, known = (model.align(film, text, all_shown=all_shown).sentences for all_shown in (False, True))
    assert not all(row.spans for row in usual)
    assert [row.shown for row in known] == [1.0, 1.0]
    assert [row.false_alarm for row in known] == [row.false_alarm for row in usual]
    for row, before in zip(known, usual, strict=True):
        assert row.likely is None
        assert row.spans
        if calibrated:
            assert row.spans == (before.spans or (replace(before.likely, posterior=row.spans[0].posterior),))
