"""Lists, vectors and pictures as queries: each answer equals that of the plain search or of a computation by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mova.errors import UsageError
from mova.search.index import Index
from mova.search.like import queries
from mova.search.narrow.answer import Answer
from mova.video.reader import read_times
from tests.support.fakes import COLOURS, ColourEncoder


@pytest.fixture(scope="module")
def films(worlds_manifest: Path) -> list[Path]:
    return sorted(worlds_manifest.parent.glob("*.mp4"))[:4]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, films: list[Path]) -> Index:
    index = Index(tmp_path_factory.mktemp("queries") / "films.mova", ColourEncoder())
    index.add(films)
    return index


TEXTS = ["red", "It is green. Then it is blue.", "black", "a white wall"]


def test_a_list_of_texts_gives_the_answer_of_each_and_encodes_them_together(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [index.search(text, k=3) for text in TEXTS]
    batches: list[int] = []
    encode = ColourEncoder.encode_text

    def counted(self: ColourEncoder, texts: Any) -> Any:
        batches.append(1 if isinstance(texts, str) else len(texts))
        return encode(self, texts)

    monkeypatch.setattr(ColourEncoder, "encode_text", counted)
    for many in (TEXTS, tuple(TEXTS), np.array(TEXTS), iter(TEXTS)):
        batches.clear()
        answers = index.search(many, k=3)
        assert answers == expected
        assert [answer.evidence for answer in answers] == [answer.evidence for answer in expected]
        assert batches[0] == 5, "the five sentences of all texts"
    monkeypatch.setattr(queries, "TEXT_BATCH", 2)
    assert index.search(TEXTS, k=3) == expected


def test_options_reach_every_query(index: Index) -> None:
    assert index.search(TEXTS, k=2, order="no", skip=1) == [index.search(t, k=2, order="no", skip=1) for t in TEXTS]


@pytest.mark.parametrize("kind", ["array", "tensor", "longer", "double"])
def test_a_vector_finds_what_its_text_finds(index: Index, kind: str) -> None:
    vector = index.model.encode_text("red").pooled[0]
    query = {"array": vector.numpy(), "tensor": vector, "longer": 7 * vector, "double": vector.double()}[kind]
    answer = index.search(query, k=4)
    assert isinstance(answer, Answer)
    assert answer.evidence is None
    expected = index.search("red", k=4)
    assert [(m.video, m.start, m.end) for m in answer] == [(m.video, m.start, m.end) for m in expected]
    assert [m.score for m in answer] == pytest.approx([m.score for m in expected], abs=1e-5)
    several = index.search(torch.stack([vector, index.model.encode_text("blue").pooled[0]]), k=4)
    assert several[0] == answer
    assert len(several) == 2


def test_a_picture_finds_the_nearest_frames(index: Index, films: list[Path], tmp_path: Path) -> None:
    picture = read_times(films[2], [5.0]).pixels[0]
    answer = index.search(picture, k=1)
    vectors = [index.stored(film) for film in films]
    own = index.model.encode_video(picture).frames[0]
    best = max(float(torch.cosine_similarity(v.frames, own[None]).max()) for v in vectors if v is not None)
    assert answer[0].score == pytest.approx(best, abs=2e-3)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    with (tmp_path / "picture.png").open("rb") as file:
        for same in (Image.fromarray(picture), torch.from_numpy(picture), tmp_path / "picture.png", file):
            assert index.search(same, k=1)[0].score == pytest.approx(best, abs=2e-3)
    mixed = index.search(["red", picture, own], k=1)
    assert [found[0].score for found in mixed[1:]] == pytest.approx([best, best], abs=2e-3)
    assert mixed[0] == index.search("red", k=1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([], "the list is empty"),
        (None, "NoneType is not a query"),
        (3, "int is not a query"),
        (np.zeros(len(COLOURS), np.float32), "only zeros"),
        (np.full(len(COLOURS), np.nan, np.float32), "not finite"),
        (np.ones(5, np.float32), r"has 8 floating-point numbers, not float32 of the shape \(5,\)"),
        (np.ones((2, 5), np.float32), "has 8 floating-point numbers"),
        (np.ones((2, 4, 4, 3, 1), np.uint8), "is not a query|shape"),
        (["red", None], "NoneType is not a query"),
        (["red", "..."], "no words"),
        (Path("missing.png"), "missing.png"),
    ],
    ids=str,
)
def test_what_is_no_query_is_refused(index: Index, query: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        index.search(query)


def test_options_for_texts_are_refused_for_others(index: Index, films: list[Path]) -> None:
    vector = np.ones(8, np.float32)
    with pytest.raises(UsageError, match="order is for the sentences of a text"):
        index.search(vector, order="yes")
    with pytest.raises(UsageError, match="rescore is for the sentences of a text"):
        index.search(vector, rescore="rule")
    with pytest.raises(UsageError, match="k must be"):
        index.search(vector, k=0)
    with pytest.raises(UsageError, match="name the moment of the video"):
        index.search(films[0])
    with films[0].open("rb") as file, pytest.raises(UsageError, match="frames is not a query"):
        index.search(file)


def test_an_index_that_does_not_exist_is_named(tmp_path: Path) -> None:
    for query in ("red", ["red"], np.ones(8, np.float32)):
        with pytest.raises(UsageError, match="no index here"):
            Index(tmp_path / "none.mova", ColourEncoder()).search(query)
