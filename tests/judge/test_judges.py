"""Verdicts on Worlds whose truth is known, and the arithmetic of two judges."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from mova.errors import UsageError, VideoError
from mova.judge.batch import JudgeReport, Request, judge_all, read_prompts
from mova.judge.by_similarity import judge_embedding, weigh
from mova.judge.judges import Judge, SimilarityJudge, load_judge
from mova.judge.verdict import SentenceVerdict, Verdict
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel
from mova.models.registry import load
from mova.types import Frames
from mova.worlds.negatives import make_negative, paragraph_text
from mova.worlds.script import World, sample_world
from mova.worlds.writer import render_world


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    return load("mova-worlds-tiny", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def world() -> World:
    return sample_world(881_000, 30.0, "flat", index=6)


@pytest.fixture(scope="module")
def frames(world: World) -> Frames:
    times = np.arange(0.0, 30.0, 0.5)
    return Frames(render_world(world, times, 96), times)


def test_a_true_prompt_holds_and_a_planted_fault_is_the_least_probable_sentence(
    model: DualEncoder, world: World, frames: Frames
) -> None:
    video, lines = model.encode_video(frames), world.paragraphs[0]
    true = judge_embedding(model, video, paragraph_text(lines))
    assert all(row.finding == "shown" for row in true.sentences)
    assert not true.order_faults
    for kind in ("attribute", "count"):
        negative = make_negative(lines, kind, np.random.default_rng(1), world.events)
        assert negative is not None
        verdict = judge_embedding(model, video, negative.text)
        assert verdict.score < true.score
        assert int(np.argmin([row.holds for row in verdict.sentences])) == negative.sentence


def test_swapped_sentences_are_out_of_order(model: DualEncoder, world: World, frames: Frames) -> None:
    negative = make_negative(world.paragraphs[0], "flip", np.random.default_rng(1), world.events)
    assert negative is not None
    assert judge_embedding(model, model.encode_video(frames), negative.text).order_faults


def test_log_odds_are_scaled_differences_of_cosines(model: DualEncoder, world: World, frames: Frames) -> None:
    video = model.encode_video(frames)
    row = model.align(video, world.paragraph).sentences[0]
    changes, odds = weigh(model, video, row)
    weights = np.asarray(row.posterior, dtype=float) / np.sum(row.posterior)
    texts = torch.nn.functional.normalize(model.encode_text([row.text, changes[3].text]).pooled, dim=-1)
    pictures = torch.nn.functional.normalize(video.frames, dim=-1)
    cosines = (texts @ pictures.T).double().numpy() @ weights
    scale = model.log_scale.detach().exp().item()  # type: ignore[operator,union-attr]
    assert odds[3] == pytest.approx(scale * (cosines[1] - cosines[0]), abs=1e-4)


def test_a_model_without_a_scale_names_no_contradictions(
    model: DualEncoder, world: World, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(model), "trained_scale", lambda self: None)
    verdict = judge_embedding(model, model.encode_video(frames), world.paragraph)
    assert all(row.contradiction is None and row.holds == row.shown for row in verdict.sentences)


class Fixed(Judge):
    """Gives every video a score by its name."""

    name = "fixed"

    def judge(self, video: str | Path, prompt: str) -> Verdict:
        if "broken" in str(video):
            raise VideoError(video, "is empty")
        if "long" in prompt:
            raise UsageError("too long")
        return Verdict(str(video), prompt, 10.0, (SentenceVerdict(prompt, float(Path(video).stem[-1]) / 10),))

    def isolated(self, time_limit: float):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_best_of_several_and_generators_over_shared_prompts() -> None:
    rows = [("a", "p", "x2"), ("a", "q", "x4"), ("b", "p", "y7"), ("b", "q", "y5"), ("b", "p", "z9"), ("c", "r", "w1")]
    report = judge_all(Fixed(), [Request(name, Path(name), prompt, generator) for generator, prompt, name in rows])
    assert {prompt: request.video for prompt, request in report.best().items()} == {"p": "z9", "q": "y5"}
    assert report.generators()["b"].value == pytest.approx((0.8 + 0.5) / 2)  # the two videos of p count as one
    assert report.prompts() == {"a": 2, "b": 2, "c": 1}
    gains = report.comparisons()
    assert set(gains) == {("a", "b")}  # c shares no prompt
    assert gains["a", "b"].value == pytest.approx(0.65 - 0.3)


def test_one_bad_video_or_prompt_never_ends_a_run() -> None:
    seen: list[float] = []
    names = ["x1", "broken2", "x3"]
    requests = [Request(name, Path(name), "p") for name in names] + [Request("x4", Path("x4"), "long")]
    report = judge_all(Fixed(), requests, lambda video, done, total: seen.append(done / total))
    assert len(report.verdicts) == 2
    assert seen[-1] == 1.0
    assert report.broken == [("broken2", "is empty"), ("x4", "cannot be judged: too long")]
    assert JudgeReport().comparisons() == {}


def test_prompt_files(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("path,caption,model\na.mp4,A dog runs.,g\na.mp4,A dog runs.,g\n", encoding="utf-8")
    assert read_prompts(file) == [Request("a.mp4", tmp_path / "a.mp4", "A dog runs.", "g")]
    lines = tmp_path / "p.jsonl"
    lines.write_text('{"video": "../a.mp4", "prompt": "x"}\n', encoding="utf-8")
    with pytest.raises(Exception, match="leads out"):
        read_prompts(lines)
    for text, message in (
        ("video,prompt\n", "has no rows"),
        ("video\na.mp4\n", "missing column 'prompt'"),
        ("video,prompt\na.mp4,\n", "prompt is empty"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(Exception, match=message):
            read_prompts(file)


def test_an_llm_option_must_name_a_video_llm() -> None:
    with pytest.raises(UsageError, match="not a video LLM"):
        load_judge("mova-worlds-tiny", llm="mova-worlds-tiny")
    assert isinstance(load_judge("mova-worlds-tiny"), SimilarityJudge)


def test_precision_and_device_are_those_of_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, dict[str, object]] = {}

    def any_model(name: str, **options: object) -> EntailmentModel:
        seen[name] = options
        model = Mock(spec=EntailmentModel)
        model.name = name
        return model

    def encoder(name: str, **options: object) -> Mock:
        seen[name] = options
        return Mock()

    monkeypatch.setattr("mova.judge.judges.load_any", any_model)
    monkeypatch.setattr("mova.judge.judges.load", encoder)
    load_judge("a", llm="b", device="cpu", precision=None, max_frames=2)
    assert seen == {"a": {"device": "cpu"}, "b": {"device": "cpu", "precision": None, "max_frames": 2}}
