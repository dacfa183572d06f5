"""Every type of input gives the vectors of the same frames; everything else is refused with what to do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mova.errors import UsageError, VideoError
from mova.models.encoder import DualEncoder, TextEmbedding
from mova.models.inputs import reading
from mova.models.registry import load
from mova.types import Frames

WORDS = ("red", "green", "blue")


class Means(DualEncoder):
    """The vector of a frame is the mean of its pixels per channel and quarter; texts are counts of color words."""

    name = "means"
    frame_rate = 2.0

    def __init__(self) -> None:
        self.text_batches: list[int] = []
        self.frame_batches: list[int] = []

    @property
    def embedding_dim(self) -> int:
        return 3

    def fingerprint(self) -> str:
        return "means"

    def encode_frames(self, frames: Frames) -> Tensor:
        self.frame_batches.append(len(frames))
        return torch.from_numpy(frames.pixels.astype(np.float32)).mean(dim=(1, 2)) / 255

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        batch = [texts] if isinstance(texts, str) else list(texts)
        self.text_batches.append(len(batch))
        pooled = torch.tensor([[0.1 + text.count(word) for word in WORDS] for text in batch])
        mask = torch.ones(len(batch), 1, dtype=torch.bool)
        return TextEmbedding(pooled, pooled[:, None], mask, np.zeros(len(batch), dtype=np.int64))


def frames(count: int = 4, height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds: red, green, blue."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for i in range(30):
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[..., i // 10] = 230
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    return path


def in_memory(array: np.ndarray) -> dict[str, Any]:
    tensor = torch.from_numpy(array)
    return {
        "array": array,
        "channels first": array.transpose(0, 3, 1, 2),
        "not contiguous": np.repeat(array, 2, axis=2)[:, :, ::2],
        "tensor": tensor,
        "tensor, channels first": tensor.permute(0, 3, 1, 2),
        "pictures": [Image.fromarray(frame) for frame in array],
        "list of arrays": list(array),
        "tuple of tensors": tuple(tensor),
        "Frames": Frames(array, np.arange(len(array)) / 4),
    }


@pytest.mark.parametrize("kind", in_memory(frames()))
def test_frames_of_every_type_give_the_same_vectors_and_times(kind: str) -> None:
    array = frames()
    video = Means().encode_video(in_memory(array)[kind], fps=4.0)
    expected = array.astype(np.float64).mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(video.frames.numpy(), expected, atol=1e-6)
    assert video.times.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert video.duration == 1.0


@pytest.mark.parametrize("picture", ["array", "pil", "grey pil", "rgba pil", "grey array", "tensor", "channels first"])
def test_one_picture_is_a_video_of_one_frame(picture: str) -> None:
    array = frames(1)[0]
    grey = np.repeat(array[..., :1], 3, axis=2)
    value, shown = {
        "array": (array, array),
        "pil": (Image.fromarray(array), array),
        "grey pil": (Image.fromarray(array[..., 0]), grey),
        "rgba pil": (Image.fromarray(np.dstack([array, np.full(array.shape[:2], 9, np.uint8)])), array),
        "grey array": (array[..., :1], grey),
        "tensor": (torch.from_numpy(array), array),
        "channels first": (array.transpose(2, 0, 1), array),
    }[picture]
    video = Means().encode_video(value)
    np.testing.assert_allclose(video.frames[0].numpy(), shown.mean(axis=(0, 1)) / 255, atol=1e-6)
    assert video.times.tolist() == [0.0]


def test_open_files_give_what_the_path_gives_wherever_they_stand(film: Path) -> None:
    model, path = Means(), str(film)
    expected = model.encode_video(path)
    memory = io.BytesIO(film.read_bytes())
    memory.seek(0, io.SEEK_END)
    end = memory.tell()
    with film.open("rb") as file, film.open("rb") as pipe:
        file.read(100)
        pipe.seekable = lambda: False  # type: ignore[method-assign]
        for source in (Path(path), memory, file, io.BufferedReader(io.BytesIO(film.read_bytes()))):  # type: ignore
            video = model.encode_video(source)
            assert torch.equal(video.frames, expected.frames)
            assert np.array_equal(video.times, expected.times)
        assert file.tell() == 100
    assert memory.tell() == end


def test_copies_of_open_files_are_deleted_and_errors_name_the_file(
    film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Means().encode_video(io.BytesIO(film.read_bytes()))
    with pytest.raises(VideoError, match=r"^the open file: .*not a video|^the open file: "):
        Means().encode_video(io.BytesIO(b"this is no video" * 100))
    with pytest.raises(VideoError, match="the open file: the open file is empty"):
        Means().encode_video(io.BytesIO())
    with film.open(encoding="latin-1") as text, pytest.raises(UsageError, match=r"film.mp4: is open as text.*'rb'"):
        Means().encode_video(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (frames().astype(np.float32), r"float32, from 0.* to 255.*; uint8 from 0 to 255 expected$"),
        (frames() / 255.0, r"float64.*\(255 \* array\).round"),
        (np.full((2, 4, 4, 3), np.nan), "not finite"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16), "tensor is float32|tensor is bfloat16"),
        (frames().astype(np.int64), "int64"),
        (np.zeros((0, 4, 4, 3), np.uint8), "empty"),
        (np.zeros((2, 0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((1, 2, 4, 4, 3), np.uint8), "several videos as a list"),
        (np.zeros((2, 4, 4, 4), np.uint8), "alpha"),
        (np.zeros((2, 4, 4, 5), np.uint8), "no axis is that of the channels"),
        (np.zeros((2, 3, 4, 3), np.uint8), "two axes may be"),
        ([], "list of pictures is empty"),
        ([frames()[0], frames(height=7)[0]], "picture 1 has 8x7 pixels and picture 0 has 8x6"),
        (["a.mp4", "b.mp4"], "item 0 of the list is a str"),
        (None, "NoneType is not a video"),
        (3.5, "float is not a video"),
        ({"video": "a.mp4"}, "dict is not a video"),
        ("https://example.org/film.mp4", r"https://example.org/film.mp4: is a URL"),
        (Path("https://example.org/film.mp4"), r"https://example.org/film.mp4: is a URL"),
        ("rtsp://camera/1", "is a URL"),
    ],
    ids=str,
)
def test_anything_else_is_refused_with_what_to_do(video: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Means().encode_video(video, fps=2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "4 frames have no times"),
        ({"times": [0, 1, 2]}, r"4 seconds, one per frame, not of the shape \(3,\)"),
        ({"times": [0, 1, float("nan"), 3]}, "finite"),
        ({"times": [0, 2, 1, 3]}, "do not decrease"),
        ({"times": "abcd"}, "must be seconds"),
        ({"fps": 0.0}, "above 0"),
        ({"fps": float("nan")}, "above 0"),
        ({"fps": 2.0, "start": 9.0}, "no frame is between 9 s and the end"),
    ],
    ids=str,
)
def test_times_of_frames_in_memory_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Means().encode_video(frames(), **options)


def test_times_and_bounds_of_frames_in_memory_count() -> None:
    model = Means()
    assert model.encode_video(frames(), times=[1.0, 1.5, 4.0, 9.0]).times.tolist() == [1.0, 1.5, 4.0, 9.0]
    assert model.encode_video(frames(), fps=2.0, start=0.5, end=1.5).times.tolist() == [0.5, 1.0]
    with pytest.raises(UsageError, match="have their own"):
        model.encode_video("film.mp4", times=[0.0])
    model.fixed_frame_rate = True
    with pytest.raises(UsageError, match="needs 2 frames per second, not 25"):
        model.encode_video(frames(), fps=25.0)


def test_encode_takes_mixed_lists_in_order_and_in_batches(film: Path) -> None:
    model = Means()
    pictures = [Image.fromarray(frame) for frame in frames(5)]
    inputs = ["a red one", film, *pictures, "green", frames(), "blue"]
    vectors = model.encode(inputs, batch_size=2)
    assert vectors.shape == (len(inputs), 3)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert model.text_batches == [2, 1]
    assert sorted(model.frame_batches) == [1, 2, 2, 4, 6]
    for row, item in zip(vectors, inputs, strict=True):
        np.testing.assert_allclose(model.encode(item), row, atol=1e-6)
    assert model.encode("a red one").argmax() == 0
    np.testing.assert_allclose(vectors[1], model.encode_video(film).pooled, atol=1e-6)
    assert isinstance(model.encode("red", convert_to_tensor=True), Tensor)
    np.testing.assert_allclose(model.encode(["red", "red red"], normalize=False)[:, 0], [1.1, 2.1], rtol=1e-6)
    assert model.encode(np.array(["red", "blue"])).shape == (2, 3)
    assert model.encode(text for text in ("red", "blue")).shape == (2, 3)


def test_encode_has_the_names_of_sentence_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    model = load("mova-worlds-tiny")
    texts = ["a red star", "a blue disc", "a ring"]
    plain = model.encode(texts, normalize=False)
    assert np.array_equal(model.encode(texts, normalize_embeddings=False), plain)
    assert np.allclose(np.linalg.norm(model.encode(texts, normalize_embeddings=True), axis=1), 1, atol=1e-5)
    assert capsys.readouterr().err == ""
    model.encode(texts, batch_size=2, show_progress_bar=True)
    assert "3/3" in capsys.readouterr().err


def test_similarity_takes_the_vectors_of_encode(film: Path) -> None:
    model = load("mova-worlds-tiny")
    texts = ["a red star", "a blue disc"]
    video, vectors = model.encode_video(film), model.encode(texts)
    expected = model.similarity([video], model.encode_text(texts))
    assert expected.shape == (1, 2)
    for videos in (video, [video], model.encode(film), model.encode([film]), [model.encode(film)]):
        for others in (vectors, list(vectors), torch.from_numpy(vectors)):
            assert torch.allclose(model.similarity(videos, others), expected, atol=1e-5)
    assert model.similarity(vectors, vectors).shape == (2, 2)
    assert torch.allclose(model.similarity(model.encode_text(texts), vectors).diagonal(), torch.ones(2), atol=1e-5)
    for wrong in ("a red star", [1.0, 2.0], vectors[:, :5], vectors[None]):
        with pytest.raises(UsageError, match=r"similarity compares embeddings|cannot be compared"):
            model.similarity(vectors, wrong)


def test_encode_refuses_what_is_probably_not_meant(film: Path) -> None:
    model = Means()
    with pytest.raises(UsageError, match="is a file, and encode"):
        model.encode(str(film))
    for inputs, message in (([], "list is empty"), (["red", " "], "without words"), ([None], "NoneType"), (7, "int")):
        with pytest.raises(UsageError, match=message):
            model.encode(inputs)
    with pytest.raises(UsageError, match="batch_size"):
        model.encode("red", batch_size=0)


def test_score_broadcasts_as_documented(film: Path) -> None:
    model = Means()
    videos = [film, Image.fromarray(frames(1)[0]), model.encode_video(frames(), fps=2.0)]
    texts = ["red", "green and blue", "blue"]
    matrix = model.score(videos, texts)
    assert matrix.shape == (3, 3)
    assert model.score(videos, "red").shape == (3, 1)
    assert torch.equal(model.score(videos, "red")[:, 0], matrix[:, 0])
    assert torch.allclose(model.score(str(film), texts), matrix[0])
    single = model.score(film, "blue")
    assert single.shape == ()
    assert float(single) == pytest.approx(float(matrix[0, 2]))
    assert torch.allclose(model.score(videos, texts, pairs=True), matrix.diag())
    assert torch.allclose(model.score(film, texts, pairs=True), matrix[0])
    assert torch.allclose(model.score(videos, "blue", pairs=True), matrix[:, 2])
    assert model.score(frames(), "red").shape == ()
    with pytest.raises(UsageError, match="not 2 and 3"):
        model.score(videos, texts[:2], pairs=True)


def test_texts_are_checked_before_a_video_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "stream", lambda *_, **__: pytest.fail("decoded"))
    for texts, message in (
        ("...", "no words"),
        (["red", float("nan")], "text 1 is a missing value"),
        (b"red", "bytes"),
    ):
        with pytest.raises(UsageError, match=message):
            Means().score("film.mp4", texts)  # type: ignore[arg-type]


def test_align_names_open_files(film: Path) -> None:
    model = Means()
    model.relevance_threshold = 0.8
    with film.open("rb") as file:
        line = model.align(file, "It is green.")
    assert line.video == str(film)
    assert line.sentences[0].spans[0].span.start == pytest.approx(1.0, abs=0.06)
    assert model.align(frames(), "It is green.", fps=2.0).video == ""
