"""The prompts that the package ships: scores change with every character of them."""

from __future__ import annotations

import pytest

from mova.models.video_llm.prompt import Budget, Question, prompts

QUESTIONS = {
    # SynViTA, section 3: "Does this video entail the description [t]?", with VideoCon's quotation marks
    "entailment": 'Does this video entail the description: "{text}"?',
    # section 4: "Does this figure show [t]?", with the ending that VQAScore publishes (arXiv 2404.01291)
    "figure": 'Does this figure show "{text}"? Please answer yes or no.',
}
CHATML = "<|im_start|>user\n{vision}\n{question}<|im_end|>\n<|im_start|>assistant\n"
QWEN = "<|im_start|>user\n<|vision_start|>{vision}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
VICUNA = "USER: {vision}\n{question} ASSISTANT:"
TEMPLATES = {
    **dict.fromkeys(("video_llava", "llava", "llava_next_video"), VICUNA),
    "llava_onevision": "<|im_start|>user {vision}\n{question}<|im_end|><|im_start|>assistant\n",
    "internvl": CHATML,
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), QWEN),
}
FIXED = {"video_llava": 8, "llava_next_video": 16, "llava_onevision": 32, "internvl": 16, "another": 8}


def test_questions_templates_and_budgets_are_pinned() -> None:
    assert {name: entry["text"] for name, entry in prompts()["questions"].items()} == QUESTIONS
    assert prompts()["templates"] == TEMPLATES
    for kind, frames in FIXED.items():
        assert Budget.of(kind).frames == frames
    assert Budget.of("internvl").rule == "segment_midpoint"
    assert {Budget.of(kind) for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")} == {
        Budget(rate=2.0, least=4, most=768, multiple=2)
    }
    assert prompts()["unshared"] == ["paligemma"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_are_yes_and_no(name: str) -> None:
    question = Question.named(name)
    assert (question.yes_words, question.no_words) == (("yes",), ("no",))
