"""Video LLMs of six families with random weights: the library's own path is the oracle for prompts and scores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.video_utils import VideoMetadata

from mova.errors import ModelError, UsageError
from mova.models.video_llm.frames import time_settings
from mova.models.video_llm.model import VideoLLM, is_video_llm, quantization
from mova.models.video_llm.prompt import Budget, Prompter, Question
from mova.types import Frames
from mova.video.writer import write_mp4
from tests.support.tiny_videollms import CORPUS, FAMILIES, SIZE, build

TEXTS = ["a dog", "Two men walk into a bar, and one of them leaves it again.", 'x "y" ', "tea"]
Get = Callable[[str], VideoLLM]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Get:
    """A family's model, built and loaded once."""
    made: dict[str, VideoLLM] = {}

    def get(kind: str) -> VideoLLM:
        if kind not in made:
            folder = build(kind, tmp_path_factory.mktemp(kind))
            made[kind] = VideoLLM.from_pretrained(folder, precision="fp32", device="cpu")
        return made[kind]

    return get


def frames(seed: int = 0, count: int = 5) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames(rng.integers(0, 255, (count, 40, 56, 3), dtype=np.uint8), np.arange(count) * 0.7)


def by_the_library(model: VideoLLM, video: Frames, text: str) -> float:
    """The score by the processor's own tokens and the model's own positions, probabilities written out in float64."""
    prompter = model.prompter
    prompt = prompter._render(model.question, {"video": 1}).replace("\ue000", text.strip())
    inputs = prompter.processor(
        text=[prompt],
        videos=[video.pixels],
        videos_kwargs={"video_metadata": [VideoMetadata(**time_settings(video))]},
        text_kwargs={"return_tensors": "pt"},
    )
    with torch.no_grad():
        logits = model.model(**{key: torch.as_tensor(value) for key, value in inputs.items()}).logits[0, -1].double()
    p = logits.exp() / logits.exp().sum()
    answers = model.answers(model.question)
    yes, no = float(p[list(answers.yes)].sum()), float(p[list(answers.no)].sum())
    return yes / (yes + no)


@pytest.mark.parametrize("kind", FAMILIES)
def test_shared_prefix_scores_equal_unshared_ones_and_those_of_the_library(kind: str, model_of: Get) -> None:
    model, video = model_of(kind), frames()
    expected = torch.tensor([by_the_library(model, video, text) for text in TEXTS])
    encoded = model.encode(video)
    shared = [model.scores(encoded, TEXTS, side="left"), model.scores(encoded, TEXTS, side="right")]
    shared.append(model.scores(encoded, TEXTS, batch=3))  # the cache was not touched by the calls before
    with torch.no_grad():
        unshared = [model.pair_log_odds([video] * 4, TEXTS, side=side).sigmoid() for side in ("left", "right")]  # type: ignore[arg-type]
    for scores in (*shared, *unshared):
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.01  # scores of texts differ, so equality means something


@pytest.mark.parametrize("kind", FAMILIES)
def test_images_are_asked_about_with_the_same_prefix(kind: str, model_of: Get) -> None:
    model, images = model_of(kind), frames(count=3)
    scores = model.figure_scores(images, TEXTS[:3])
    assert scores.shape == (3, 3)
    single = model.figure_scores([images.pixels[1]], [TEXTS[0]])
    torch.testing.assert_close(single[0, 0], scores[1, 0], rtol=0, atol=1e-6)
    question = Question.named("figure")
    visual = model.prompter.images([images.pixels[2]], question)
    tail = model.prompter.tails([TEXTS[1]], question, images=1)[0]
    ids = torch.cat([visual.ids, tail.ids])
    kinds = {key: torch.cat([value, torch.zeros_like(tail.ids)])[None] for key, value in visual.kinds.items()}
    with torch.no_grad():
        logits = model.model(input_ids=ids[None], **kinds, **visual.pixels).logits[0, -1].double()
    p = logits.exp() / logits.exp().sum()
    assert float(scores[2, 1]) == pytest.approx(float(p[list(model.answers(question).yes)].sum()), abs=1e-5)


def test_masking_a_word_hides_it_without_shifting_positions(model_of: Get) -> None:
    model, video = model_of("qwen2_5_vl"), model_of("qwen2_5_vl").prepare(frames())
    tails = model.tails(["a dog runs", "a cat runs"])
    parts = [tail.ids[tail.description] for tail in tails]
    assert model.prompter.tokenizer.decode(parts[0]).strip('"') == "a dog runs"
    assert len(parts[0]) == len(parts[1])
    common = parts[0] == parts[1]
    with torch.no_grad():
        plain = model.pair_log_odds([video, video], tails)
        hidden = [
            model.pair_log_odds([video, video], tails, keep=[common, common], side=side) for side in ("left", "right")
        ]  # type: ignore[arg-type]
        all_kept = model.pair_log_odds([video, video], tails, keep=[torch.ones_like(common), None])
    torch.testing.assert_close(all_kept, plain)
    torch.testing.assert_close(hidden[0], hidden[1], rtol=0, atol=1e-5)
    assert float((plain[0] - plain[1]).abs()) > 1e-4
    torch.testing.assert_close(hidden[0][0], hidden[0][1], rtol=0, atol=1e-5)  # what differs is hidden


def test_gradients_reach_the_language_model(model_of: Get) -> None:
    model = model_of("video_llava")
    model.pair_log_odds([frames(0), frames(1)], ["a dog", "a cat runs"]).sum().backward()
    grad = model.model.get_decoder().layers[0].self_attn.q_proj.weight.grad
    model.model.zero_grad()
    assert grad is not None
    assert float(grad.abs().sum()) > 0


def test_budgets_follow_the_family_and_the_clock(model_of: Get, tmp_path: Path) -> None:
    assert Budget.of("video_llava").count(3600) == 8
    assert Budget.of("video_llava").count(3600, max_frames=4) == 4
    qwen = Budget.of("qwen3_vl")
    assert [qwen.count(s) for s in (0.1, 1, 10, 10.6, 10_000)] == [4, 4, 20, 20, 768]
    assert [qwen.count(100, max_frames=n) for n in (1, 3, 7)] == [1, 2, 6]
    assert Budget.of("of-the-future").count(5) == 8
    path = write_mp4(tmp_path / "v.mp4", [frames(count=24).pixels], fps=8.0)
    model = model_of("qwen2_5_vl")
    assert len(model.sample(path)) == 6
    assert len(model.sample(path, 1.0, 3.0)) == 4
    visual = model.prepare(path)
    times, tall, wide = visual.pixels["video_grid_thw"][0].tolist()
    assert (times, len(visual.pixels["pixel_values_videos"])) == (3, 3 * tall * wide)
    torch.testing.assert_close(model.scores(path, TEXTS), model.scores(model.sample(path), TEXTS))


def test_large_videos_are_decoded_at_twice_the_side_that_is_seen(
    model_of: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.repeat(np.repeat(frames(count=8).pixels, 4, axis=1), 4, axis=2)
    path = write_mp4(tmp_path / "v.mp4", [large], fps=4.0)
    model = model_of("llava_onevision")
    assert model.sample(path).pixels.shape[1:3] == (160, 224)
    monkeypatch.setattr("mova.models.video_llm.model.DECODE_BYTES", 1)
    assert min(model.sample(path).pixels.shape[1:3]) == 2 * SIZE


def test_tokenizers_that_put_a_space_before_text_are_read_in_place(model_of: Get) -> None:
    """Llama's: behind a special token they begin anew, so that a tail alone would be read otherwise."""
    processor = copy.copy(model_of("video_llava").prompter.processor)
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    alphabet = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=alphabet, show_progress=False))
    bpe.add_special_tokens([AddedToken(token, special=True) for token in ("<image>", "<video>")])
    processor.tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>")
    processor.image_token_id, processor.video_token_id = processor.tokenizer.convert_tokens_to_ids(
        ["<image>", "<video>"]
    )
    prompter, question = Prompter(processor, "video_llava", "x"), Question.named("entailment")
    visual = prompter.video(frames(), question)
    for text, tail in zip(TEXTS, prompter.tails(TEXTS, question), strict=True):
        prompt = prompter._render(question, {"video": 1}).replace("\ue000", text.strip())
        expected = processor(text=[prompt], videos=[frames().pixels], text_kwargs={"return_tensors": "pt"})[
            "input_ids"
        ][0]
        assert torch.equal(torch.cat([visual.ids, tail.ids]), expected)
        assert text.strip() in processor.tokenizer.decode(tail.ids[tail.description])


def test_qwen3_writes_the_real_times_beside_the_frames(model_of: Get) -> None:
    model = model_of("qwen3_vl")
    video = Frames(frames(count=4).pixels, np.array([0.0, 0.8, 10.0, 11.0]))
    prompt = model.prompter.tokenizer.decode(model.prepare(video).ids)
    assert "<0.4 seconds>" in prompt  # the middle of a pair of frames
    assert "<10.5 seconds>" in prompt


def test_invalid_questions_are_reported(model_of: Get) -> None:
    model = model_of("video_llava")
    with pytest.raises(UsageError, match="control token '<video>'"):
        model.scores(frames(), ["a <video> of a dog"])
    with pytest.raises(UsageError, match="empty"):
        model.scores(frames(), ["  "])
    with pytest.raises(UsageError, match="uint8"):
        model.figure_scores([np.zeros((3, 3))], ["a"])
    with pytest.raises(ModelError, match="cannot share a batch"):
        model.pair_log_odds([frames(count=2), frames(count=3)], ["a", "b"])
    assert model.scores(frames(), []).shape == (0,)
    with pytest.raises(UsageError, match="max_frames"):
        VideoLLM(model.model, model.prompter.processor, max_frames=0)


def test_questions_come_from_files_too(tmp_path: Path, model_of: Get) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('text: "Is this {text}?"\nyes_words: [user]\n')
    question = Question.named(path)
    assert question == Question("Is this {text}?", yes_words=("user",))
    model = model_of("internvl")
    reloaded = VideoLLM(model.model, model.prompter.processor, question=question)
    assert reloaded.fingerprint() != model.fingerprint()
    assert not torch.allclose(reloaded.scores(frames(), TEXTS), model.scores(frames(), TEXTS))
    words = "text: '{text}'\nyes_words: "
    for content in (
        "text: nothing",
        "- a",
        "text: '{text}'\nno: [x]",
        "text: [",
        words,
        f"{words}yes",
        f"{words}[yes]",
    ):
        path.write_text(content)
        with pytest.raises(UsageError):
            Question.named(path)


def test_loading_reports_errors(tmp_path: Path, tiny_clip: Path) -> None:
    assert not is_video_llm(tiny_clip)
    with pytest.raises(ModelError, match="not a video or image LLM"):
        VideoLLM.from_pretrained(tiny_clip)
    with pytest.raises(UsageError, match="either a device or a device map"):
        VideoLLM.from_pretrained(tiny_clip, device="cpu", device_map="auto")
    with pytest.raises(UsageError, match="need an NVIDIA GPU"):
        quantization("4bit", torch.device("cpu"), torch.float32)
    with pytest.raises(UsageError, match="3bit"):
        quantization("3bit", torch.device("cuda"), torch.float32)
    with pytest.raises(ModelError, match="bitsandbytes"):
        quantization("8bit", torch.device("cuda"), torch.float32)


def test_no_chat_template_and_none_known(model_of: Get) -> None:
    processor = model_of("video_llava").prompter.processor
    with pytest.raises(ModelError, match=r"chat_template\.jinja"):
        Prompter(processor, "of-the-future", "x")


def test_families_that_cannot_share_run_whole(model_of: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    model, video = model_of("llava_onevision"), frames()
    expected = model.scores(video, TEXTS)
    monkeypatch.setattr("mova.models.video_llm.model.prefill", lambda *_: None)
    encoded = model.encode(video)
    assert encoded.prefix is None
    torch.testing.assert_close(model.scores(encoded, TEXTS, batch=3), expected, rtol=0, atol=1e-5)


def test_reasoning_models_are_asked_to_answer_at_once(model_of: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    prompter = model_of("qwen3_vl").prompter
    thinking = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    monkeypatch.setattr(prompter.processor, "chat_template", prompter.processor.chat_template + thinking)
    assert "<think>" not in prompter._render(Question.named("entailment"), {"video": 1})


def test_families_without_a_video_path_get_images(model_of: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("internvl")
    monkeypatch.setattr(model.prompter, "sees_videos", False)
    video = Frames(frames().pixels[:, :SIZE, :SIZE], frames().pts)
    side_by_side = model.prepare(video)
    assert "Frame1" not in model.prompter.tokenizer.decode(side_by_side.ids)
    scores = model.scores(video, TEXTS)
    with torch.no_grad():
        unshared = model.pair_log_odds([side_by_side] * 4, TEXTS).sigmoid()
    torch.testing.assert_close(scores, unshared, rtol=0, atol=1e-5)
