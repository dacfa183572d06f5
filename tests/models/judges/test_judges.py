"""The paper's judges: prompts word for word, scores against the libraries' own forward passes, plug-ins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.errors import ModelError, UsageError
from mova.models.judges import plugin
from mova.models.judges.base import FigureJudge, judge_prompt
from mova.models.judges.clip_t5 import ClipT5Judge, pad_to_square
from mova.models.judges.instruct_blip import InstructBlipJudge
from mova.models.registry import load_any, load_judge, load_video_llm
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.prompt import Question
from mova.text_to_video.weighting import FigureScorer
from mova.video.writer import write_mp4
from tests.support.tiny_judges import build_clip_t5, build_instruct_blip, build_llava

TEXTS = ["a dog", "a man opens a door", "a cat"]
ASKED = 'Does this figure show "a dog"? Please answer yes or no.'
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("judges")
    return {
        "t5": build_instruct_blip(root / "t5"),
        "vicuna": build_instruct_blip(root / "vicuna", decoder_only=True),
        "clip": build_clip_t5(root / "clip"),
        "llava": build_llava(root / "llava"),
    }


@pytest.fixture(scope="module")
def images() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), rng.integers(0, 256, (60, 36, 3), dtype=np.uint8)]


def yes_share(tokenizer: Any, logits: torch.Tensor) -> float:
    """The probability of all tokens that are the word yes, by a loop over the vocabulary."""
    shares = logits.float().softmax(-1)
    special = set(tokenizer.all_special_ids)
    spelled = ((token.replace("Ġ", " ").replace("▁", " "), i) for token, i in tokenizer.get_vocab().items())
    return float(sum(shares[i] for token, i in spelled if i not in special and token.strip().lower() == "yes"))


def test_prompts_are_those_of_the_papers(folders: dict[str, Path], images: list[Any]) -> None:
    assert judge_prompt("instructblip", "a dog", None) == f"Question: {ASKED}"
    assert judge_prompt("clip_t5", "a dog", None) == f"{SYSTEM} USER: <image>\n{ASKED} ASSISTANT: "
    assert judge_prompt("clip_t5", "x", Question("Is it {text}?")) == f"{SYSTEM} USER: <image>\nIs it x? ASSISTANT: "
    llava = VideoLLM.from_pretrained(folders["llava"], device="cpu", precision="fp32")
    figure = Question.named("figure")
    tail = llava.prompter.tails(["a dog"], figure, images=1)[0].ids
    ids = torch.cat([llava.prompter.images(images[:1], figure).ids, tail])
    spoken = llava.prompter.tokenizer.decode(ids).replace("<image>" * 16, "<image>")
    assert spoken == f"USER: <image>\n{ASKED} ASSISTANT:"


@pytest.mark.parametrize("kind", ["t5", "vicuna"])
def test_instruct_blip_scores_are_those_of_single_unpadded_prompts(
    folders: dict[str, Path], images: list[Any], kind: str
) -> None:
    judge = load_judge(folders[kind], device="cpu", precision="fp32")
    assert isinstance(judge, InstructBlipJudge)
    scores = judge.figure_scores(images, TEXTS)
    model, processor = judge.model, judge.processor
    for i, image in enumerate(images):
        for j, text in enumerate(TEXTS):
            prompt = f'Question: Does this figure show "{text}"? Please answer yes or no.'
            ids = processor.tokenizer(prompt).input_ids
            inputs = {
                "input_ids": torch.tensor([[model.config.image_token_index] * 4 + ids]),
                "qformer_input_ids": torch.tensor([processor.qformer_tokenizer(prompt).input_ids]),
                "pixel_values": processor.image_processor([image], return_tensors="pt")["pixel_values"],
            }
            if kind == "t5":
                inputs["decoder_input_ids"] = torch.zeros(1, 1, dtype=torch.long)
            with torch.inference_mode():
                logits = model(**inputs).logits[0, -1]
            assert float(scores[i, j]) == pytest.approx(yes_share(processor.tokenizer, logits), rel=1e-3, abs=1e-7)
    assert scores.std() > 1e-6
    pairs = judge.figure_pair_scores([images[1], images[0]], [TEXTS[0], TEXTS[2]])
    assert torch.allclose(pairs, torch.stack([scores[1, 0], scores[0, 2]]), rtol=1e-3, atol=1e-7)


def test_clip_t5_scores_are_those_of_its_parts(folders: dict[str, Path], images: list[Any]) -> None:
    judge = load_judge(folders["clip"], device="cpu", precision="fp32")
    assert isinstance(judge, ClipT5Judge)
    scores = judge.figure_scores(images, TEXTS)
    model, tokenizer = judge.model, judge.tokenizer
    before = tokenizer(f"{SYSTEM} USER: ").input_ids
    for i, image in enumerate(images):
        square = pad_to_square(image, [int(255 * 0.5)] * 3)
        pixels = judge.image_processor([square], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            patches = judge.tower(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
            first, _, second = model.mm_projector
            mapped = second(torch.nn.functional.gelu(first(patches)))
            for j, text in enumerate(TEXTS):
                after = tokenizer(f'\nDoes this figure show "{text}"? Please answer yes or no. ASSISTANT: ').input_ids
                assert before[-1] == after[-1] == tokenizer.eos_token_id
                words = [model.shared(torch.tensor(ids)) for ids in (before, after)]
                embeds = torch.cat([words[0], mapped, words[1]])[None]
                encoded = model.encoder(inputs_embeds=embeds).last_hidden_state
                start = torch.zeros(1, 1, dtype=torch.long)
                decoded = model.decoder(input_ids=start, encoder_hidden_states=encoded).last_hidden_state
                expected = yes_share(tokenizer, model.lm_head(decoded)[0, 0])
                assert float(scores[i, j]) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert scores.std() > 1e-6
    with pytest.raises(UsageError, match="without quantization"):
        load_judge(folders["clip"], quantise="4bit")
    with pytest.raises(UsageError, match="description is empty"):
        judge.figure_scores(images, [" "])
    with pytest.raises(UsageError, match=r"uint8 \(H, W, 3\)"):
        judge.figure_scores([np.zeros((4, 4))], ["a"])


def test_fingerprints_tell_judges_and_questions_apart(folders: dict[str, Path]) -> None:
    judges = [load_judge(folders[kind], device="cpu", precision="fp32") for kind in ("t5", "vicuna", "clip")]
    assert len({judge.fingerprint() for judge in judges}) == 3
    other = FigureScorer(judges[0], question=Question("Is it {text}?"))
    assert len({FigureScorer(judges[0]).key, FigureScorer(judges[0], 8).key, other.key}) == 3
    assert FigureScorer(judges[0]).question is None


def test_the_ensemble_of_the_paper_weights_a_manifest(
    folders: dict[str, Path], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    write_mp4(tmp_path / "a.mp4", [frames], fps=8)
    row = Row("v", "real.mp4", None, "train", (Caption("a dog"),))
    row = with_synthetic(row, [Synthetic("a.mp4", "a cat", "negative", 0, 0, 1.0, "object")])
    manifest = write_manifest(tmp_path / "manifest.jsonl", [row])
    chosen = [folders[kind] for kind in ("t5", "clip", "llava")]
    options = [word for folder in chosen for word in ("--vqa", folder)]
    words = ("--precision", "fp32", "--device", "cpu", "--json")
    code, out, _ = call("data", "weights", manifest, tmp_path / "w", *options, *words)
    assert (code, json.loads(out)["videos"]) == (0, 1)
    (video,) = synthetic_videos(read_manifest(tmp_path / "w" / "manifest.jsonl")[0])
    scorers = [FigureScorer(load_judge(folder, device="cpu", precision="fp32")) for folder in chosen]
    own, other = np.mean([scorer(tmp_path / "a.mp4", ["a cat", "a dog"]) for scorer in scorers], axis=0)
    assert video.weighing["own"] == pytest.approx(own, rel=1e-5)
    assert video.weight == pytest.approx(max(0.0, own - other), abs=1e-6)
    many = scorers[2].score_many([tmp_path / "a.mp4"] * 2, [["a cat", "a dog"], ["a man"]])
    assert many[0] == pytest.approx(scorers[2](tmp_path / "a.mp4", ["a cat", "a dog"]), rel=1e-3)
    assert many[1] == pytest.approx(scorers[2](tmp_path / "a.mp4", ["a man"]), rel=1e-3)


OWL = """
import torch
from mova.models.judges.base import FigureJudge

class Owl(FigureJudge):
    def __init__(self, checkpoint, device=None):
        self.name, self.device = checkpoint, device
    def pair_log_probabilities(self, images, texts, question):
        return torch.tensor([len(text) / 100 for text in texts]).log()
    def fingerprint(self):
        return self.name

def broken():
    return 3
"""


def test_a_plug_in_is_a_class_path_or_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owl_for_tests.py").write_text(OWL)
    monkeypatch.syspath_prepend(tmp_path)
    image = np.zeros((8, 8, 3), np.uint8)
    for load in (load_judge, load_video_llm, load_any):
        owl = load("owl_for_tests:Owl=owl-7b", device="cpu")
        assert isinstance(owl, FigureJudge)
        assert (owl.name, float(owl.figure_scores([image], ["a dog"]))) == ("owl-7b", pytest.approx(0.05))
    point = SimpleNamespace(value="owl_for_tests:Owl", load=lambda: plugin.resolve_name("owl_for_tests:Owl"))
    monkeypatch.setattr(
        plugin, "entry_points", lambda group, name: [point] if (group, name) == ("mova.models", "mplug-owl") else []
    )
    assert load_judge("mplug-owl=owl-7b").fingerprint() == "owl-7b"
    with pytest.raises(ModelError, match="cannot be imported"):
        load_judge("owl_for_tests:Missing")
    with pytest.raises(ModelError, match=r"cannot be called with device"):
        load_judge("owl_for_tests:broken", device="cpu")
    with pytest.raises(ModelError, match="returned int, which lacks figure_scores"):
        load_judge("owl_for_tests:broken")
