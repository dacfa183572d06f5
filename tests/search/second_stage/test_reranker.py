"""Another model is asked about the first moments, and both scores are mixed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.manifest import Caption, Row, TimedSentence, write_manifest
from mova.errors import DataError, ModelError, UsageError
from mova.models import registry
from mova.models.entailment import EntailmentModel
from mova.search.index import Index
from mova.search.second_stage.measuring import ScoredQuery, known_queries, measure, reciprocal_rank
from mova.search.second_stage.mixing import Mixing, read_mixing, write_mixing
from mova.search.second_stage.moment import RerankedMoment
from mova.search.second_stage.reranker import Reranker, reordered
from mova.types import Moment
from mova.utils.files import ELSEWHERE
from tests.support.fakes import ColourEncoder, write_colours

Call = Callable[..., tuple[int, str, str]]


def parts(number: int) -> list[tuple[str, float]]:
    """The colors of a film, each film another."""
    first, other = [("red", 1.0), ("green", 1.5)][:: 1 if number % 2 else -1]
    return [first, ("blue", 1.0 + number / 4), other, ("blue", 0.5)]


class ColourBlind(ColourEncoder):
    """Sees that a frame is red or green, but not which."""

    def _wide(self, vectors: np.ndarray) -> Any:
        mixed = vectors.copy()
        mixed[:, :2] = vectors[:, :2].mean(axis=1, keepdims=True)
        return super()._wide(mixed)


class Witness(EntailmentModel):
    """Answers about the mean color of the clips that it is shown."""

    name = "witness"

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self.eyes = ColourEncoder()

    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Any:
        self.seen.append((start, float(end or 0)))
        return self.eyes.encode_video(video, start=start, end=end)

    def prepare(self, video: Any) -> Any:
        return video

    def tails(self, texts: Sequence[str]) -> Any:
        return list(texts)

    def log_odds(self, video: Any, texts: Sequence[Any]) -> Any:
        return 10 * self.eyes.score([video], list(texts))[0] - 5

    def figure_scores(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return "witness"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(6):
        write_colours(folder / f"{number}.mp4", parts(number))
    return folder


@pytest.fixture
def index(films: Path, tmp_path: Path) -> Index:
    made = Index(tmp_path / "index", ColourBlind())
    made.add(films)
    return made


def test_the_second_model_sees_the_clips_of_the_first_moments_and_moves_them(index: Index) -> None:
    plain, witness = index.search("it is green", k=12), Witness()
    assert [m.score for m in plain] == pytest.approx([plain[0].score] * 12, abs=1e-3), "it cannot tell red from green"
    answer = index.search("it is green", k=12, rerank=Reranker(witness, top=12, weight=1.0))
    assert witness.seen == [(m.start, m.end) for m in plain]
    assert [(m.video, m.start) for m in answer] != [(m.video, m.start) for m in plain]
    for moment in answer[:6]:
        assert isinstance(moment, RerankedMoment)
        assert moment.end - moment.start == pytest.approx(1.5, abs=0.26), "the green parts are longer"
        clip = witness.eyes.encode_video(moment.video, start=moment.start, end=moment.end)
        assert moment.second_score == pytest.approx(float(witness.log_odds(clip, ["it is green"])), abs=1e-5)
        assert plain[moment.first_rank - 1].score == moment.score, "the first score stays"
    assert answer.reranking is not None
    assert (answer.reranking.asked, answer.reranking.of, answer.reranking.source) == (12, 12, "given")
    assert answer.reranking.kind == "log-odds"
    assert answer.false_alarm == plain.false_alarm


def test_a_dual_encoder_scores_whole_clips_at_its_own_rate(index: Index) -> None:
    second = ColourEncoder(rate=8.0, variant="b")
    answer = index.search("it is green", k=4, rerank=Reranker(second, top=12, weight=1.0))
    for moment in answer:
        clip = second.encode_video(moment.video, start=moment.start, end=moment.end)
        assert moment.second_score == pytest.approx(float(second.score([clip], "it is green")), abs=1e-5)
    assert [m.second_rank for m in answer] == [1, 2, 3, 4]


def test_pages_are_parts_of_one_list(index: Index) -> None:
    second = Reranker(ColourEncoder(variant="b"), top=8)
    whole = index.search("it is green", k=12, rerank=second)
    pages = [index.search("it is green", k=4, skip=skip, rerank=second) for skip in (0, 4, 8)]
    assert [m for page in pages for m in page] == list(whole)
    assert [type(m) for m in whole] == [RerankedMoment] * 8 + [Moment] * 4


def test_when_the_time_is_over_the_others_keep_their_ranks(index: Index) -> None:
    plain = index.search("it is green", k=12)
    answer = index.search("it is green", k=12, rerank=Reranker(ColourEncoder(variant="b"), top=12, seconds=1e-9))
    assert answer.reranking is not None
    assert (answer.reranking.asked, answer.reranking.ended_early) == (1, True)
    assert [(m.video, m.start) for m in answer] == [(m.video, m.start) for m in plain]


def test_a_file_that_is_gone_keeps_its_rank_and_is_named(index: Index, films: Path, tmp_path: Path) -> None:
    copy = tmp_path / "films"
    for path in films.iterdir():
        write_colours(copy / path.name, parts(int(path.stem)))
    own = Index(tmp_path / "own", ColourBlind())
    own.add(copy)
    plain = own.search("it is green", k=4)
    Path(plain[1].video).unlink()
    answer = own.search("it is green", k=4, rerank=Reranker(ColourEncoder(variant="b"), top=4, weight=1.0))
    assert (answer[1].video, answer[1].start) == (plain[1].video, plain[1].start)
    assert type(answer[1]) is Moment
    assert answer.reranking is not None
    assert len(answer.reranking.unreadable) >= 1
    assert plain[1].video in answer.reranking.unreadable[0]
    assert not answer.reranking.ended_early


def test_a_file_of_another_machine_is_named_and_not_read() -> None:
    moments = [Moment("http://one:8765/films/a.mp4", 0.0, 1.0, 0.5)]
    found, done = Reranker(ColourEncoder(variant="b"), weight=1.0).rerank(moments, moments, ["it is green"], None)
    assert found == moments
    assert ELSEWHERE in done.unreadable[0]


def test_moments_are_reordered_among_the_ranks_of_those_asked_about() -> None:
    moments = [Moment("film.mp4", i, i + 1, 1 - i / 10) for i in range(5)]
    order = [m.start for m in reordered(moments, {0: 1.0, 2: 9.0, 3: 5.0}, 1.0)]
    assert order == [2, 1, 3, 0, 4]
    assert [m.start for m in reordered(moments, {0: 1.0, 2: 9.0, 3: 5.0}, 0.0)] == [0, 1, 2, 3, 4]
    equal = reordered(moments, {0: 2.0, 1: 2.0, 2: 2.0}, 0.5)
    assert [m.start for m in equal] == [0, 1, 2, 3, 4], "equal second scores change nothing"


def test_a_measured_weight_of_zero_asks_nothing(index: Index) -> None:
    assert index.folder is not None
    zero = Mixing(0.0, 0.0, 0.1, 60, 20)
    write_mixing(index.folder, index.meta, "no-such-model", zero, Reranker("no-such-model").asked)
    answer = index.search("it is green", k=4, rerank="no-such-model")
    assert list(answer) == list(index.search("it is green", k=4))
    assert answer.reranking is not None
    assert (answer.reranking.asked, answer.reranking.weight, answer.reranking.source) == (0, 0.0, "measured")


def test_a_measurement_is_of_one_pair_of_models(index: Index, tmp_path: Path) -> None:
    folder, model = index.folder, tmp_path / "second"
    assert folder is not None
    model.mkdir()
    (model / "config.json").write_text("{}")
    prompt = tmp_path / "a.yaml"
    asked = {Reranker(str(model)).asked, Reranker(str(model), max_frames=8).asked}
    for text in ("text: 'Is it {text}?'", "text: 'Do you see {text}?'"):
        prompt.write_text(text)
        asked.add(Reranker(str(model), prompt=prompt).asked)
    assert len(asked) == 4, "another number of frames and another prompt need another measurement"
    write_mixing(folder, index.meta, str(model), Mixing(0.3, 0.1, 0.01, 60, 20))
    write_mixing(folder, index.meta, "other", Mixing(0.7, 0.1, 0.01, 60, 20))
    found = read_mixing(folder, index.meta, str(model))
    assert found is not None
    assert found.weight == 0.3
    assert read_mixing(folder, index.meta, str(model), "8 frames") is None
    (model / "config.json").write_text("{ }")
    assert read_mixing(folder, index.meta, str(model)) is None, "its files have changed since"
    (folder / "rerank.json").write_text("{")
    assert read_mixing(folder, index.meta, "other") is None


def test_what_cannot_be_asked_is_refused(index: Index) -> None:
    with pytest.raises(ModelError, match="no-such-model"):
        index.search("it is green", rerank="no-such-model")
    for options, message in (
        ({"top": 0}, "top must be at least 1"),
        ({"seconds": 0.0}, "above 0"),
        ({"weight": 1.5}, "from 0 to 1"),
    ):
        with pytest.raises(UsageError, match=message):
            Reranker("other", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rerank is for the sentences of a text"):
        index.search(np.eye(8, dtype=np.float32)[0], rerank="other")


def test_reciprocal_ranks_and_chance_are_those_of_all_orders() -> None:
    rng = np.random.default_rng(0)
    query = ScoredQuery(rng.random(5), rng.random(5), np.array([False, True, False, True, False]), "a")
    orders = [1 / (1 + [bool(query.correct[i]) for i in order].index(True)) for order in permutations(range(5))]
    others = [query._replace(group=str(number)) for number in range(6)]
    figures = measure(others, top=5).figures
    assert figures["chance"]["MRR"] == pytest.approx(100 * np.mean(orders))
    assert figures["chance"]["R@1"] == pytest.approx(100 * np.mean(np.array(orders) == 1))
    assert reciprocal_rank(query, 0.0) == 1 / (1 + list(query.correct[np.argsort(-query.first)]).index(True))
    assert reciprocal_rank(query._replace(correct=np.zeros(5, dtype=bool)), 0.5) == 0.0
    with pytest.raises(DataError, match="only 4 videos"):
        measure(others[:4], top=5)


def test_the_command_measures_keeps_and_uses_the_weight(
    index: Index, films: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for path in sorted(films.iterdir()):
        begin, sentences = 0.0, []
        for place, (name, seconds) in enumerate(parts(int(path.stem))):
            sentences.append(TimedSentence(f"it is {name}, says {path.stem}-{place}", begin, begin + seconds))
            begin += seconds
        rows.append(Row(path.stem, str(path), begin, "test", (Caption("Colours.", tuple(sentences)),)))
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(manifest, rows)
    known = known_queries([*rows, *rows], tmp_path)
    assert len(known) == 24
    assert known[0] == ("it is green, says 0-0", ((str(films / "0.mp4"), 0.0, 1.5),), str(films / "0.mp4"))

    monkeypatch.setattr(registry, "load", lambda *_, **__: ColourBlind())
    monkeypatch.setattr(registry, "load_any", lambda *_, **__: ColourEncoder(variant="b"))
    folder = index.folder
    words = ("eval", "rerank", "--manifest", manifest, "--index", folder, "--rerank", "sees-all", "--json")
    code, out, err = call(*words)
    assert code == 0, err
    measured = json.loads(out)
    assert set(measured["figures"]) == {"first stage", "second alone", "equal", "measured", "chance", "best"}
    assert measured["queries"] == 24
    search = ("search", "it is green", "--index", folder, "--rerank", "sees-all")
    found = json.loads(call(*search, "--json")[1])
    assert (found["rerank"]["weight"], found["rerank"]["source"]) == (measured["weight"], "measured")
    code, out, err = call(*search, "--rerank-weight", 1, "--rerank-top", 3, "-k", 5)
    assert code == 0, err
    assert "re-ranked by sees-all: 3 of 3 moments asked about in" in out
    assert "#1" in out
    assert call("search", "it is green", "--index", folder, "--rerank-top", 3)[0] == 2
    assert "--rerank" in call("search", "--index", folder, "--like", films / "0.mp4@0:01", "--rerank", "x")[2]
