"""A plug-in: mPLUG-Owl 7B for videos (Ye et al. 2023), the first model of VideoCon and SynViTA, not in transformers.

    export PYTHONPATH=examples:PACKAGE
    mova score film.mp4 "A man opens a door." --model mplug_owl:Owl=MAGAer13/mplug-owl-llama-7b-video

PACKAGE is the folder that holds `mplug_owl_video` (github.com/X-PLUG/mPLUG-Owl; VideoCon and SynViTA have copies). mova
fetches no code: what is not in Python's path is not run. The package as published imports names that transformers 5
does not have, so it must be ported first. This class only relies on how it is called (`_logits`). It has not been run
with the published weights; a test runs it with a stand-in that is called in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer

from mova.errors import ModelError, UsageError
from mova.models.entailment import EntailmentModel
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.video_llm.prompt import Budget, Question, Tail, Visual
from mova.models.video_llm.yes_no import Answers, yes_log_probability, yes_no_log_odds
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import read_count

SYSTEM = (
    "The following is a conversation between a curious human and AI assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions.\nHuman: "
)
"""VideoCon's prompt (Hritikbansal/videocon, src/prepare_data_for_inference.py): the frames follow."""
TAIL = "\nHuman: {question}\nAI: "
MEDIA = {"image": -1, "video": -2}
"""The package's ids of frames."""
MEDIA_TOKENS = 65
SIDE = 224
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's mean and standard deviation of pixels."""


class Owl(EntailmentModel):
    """mPLUG-Owl, asked whether a video or an image shows a text.

    Args:
        checkpoint: a folder or a name on the Hub with the package's weights and its tokenizer.
        precision: "fp32", "bf16" or "auto".
        device: where it runs; default: a GPU if there is one.
        max_frames: maximum number of frames per video; default: VideoCon's 32.
        question: another question about videos.
    """

    budget = Budget(frames=32, rule="segment_midpoint")

    def __init__(
        self,
        checkpoint: str,
        precision: str = "auto",
        device: str | torch.device | None = None,
        max_frames: int | None = None,
        question: Question | None = None,
    ) -> None:
        try:
            from mplug_owl_video.modeling_mplug_owl import MplugOwlForConditionalGeneration
        except ImportError as error:
            raise ModelError(f"mPLUG-Owl's package mplug_owl_video cannot be imported: {error}") from error
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        self.model: Any = (
            MplugOwlForConditionalGeneration.from_pretrained(checkpoint, torch_dtype=dtype).to(target).eval()
        )
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.name, self.max_frames = checkpoint, max_frames
        self.question = question or Question.named("entailment")
        self.answers = Answers.of(self.tokenizer)
        self.device, self.dtype = target, dtype

    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Read the frames of `[start, end)` seconds."""
        info = (probe if self.decoder is None else self.decoder.probe)(video)
        stop = info.duration if end is None else min(end, info.duration)
        count = self.budget.count(max(stop - start, 0.0), self.max_frames)
        read = read_count if self.decoder is None else self.decoder.read_count
        return read(video, count, rule=self.budget.rule, start=start, end=end)

    def prepare(self, video: str | Path | Frames) -> Visual:
        """Return a video as model input."""
        frames = video if isinstance(video, Frames) else self.sample(video)
        pixels = torch.stack([_normalized(frame) for frame in frames.pixels], dim=1)  # (3, T, 224, 224)
        return Visual(self._before("video"), {}, {"video_pixel_values": pixels[None]})

    def tails(self, texts: Sequence[str]) -> list[Tail]:
        """Return the prompts after the frames."""
        return [self._tail(text, self.question) for text in texts]

    def log_odds(self, video: Any, texts: Sequence[str | Tail]) -> Tensor:
        """Return `log P(Yes) - log P(No)` of every text about one video."""
        visual = video if isinstance(video, Visual) else self.prepare(video)
        tails = [text if isinstance(text, Tail) else self._tail(text, self.question) for text in texts]
        odds = [yes_no_log_odds(self._logits(visual, tail), self.answers.yes, self.answers.no) for tail in tails]
        return torch.stack(odds).float().cpu() if odds else torch.zeros(0)

    def figure_scores(self, images: Any, texts: Sequence[str], *, question: Question | None = None) -> Tensor:
        """Return P(Yes) of every image and text."""
        asked = question or Question.named("figure")
        tails = [self._tail(text, asked) for text in texts]
        rows = []
        for image in images.pixels if isinstance(images, Frames) else images:
            visual = Visual(self._before("image"), {}, {"pixel_values": _normalized(np.asarray(image))[None]})
            rows.append(torch.stack([yes_log_probability(self._logits(visual, t), self.answers.yes) for t in tails]))
        return torch.stack(rows).exp().float().cpu()

    def fingerprint(self) -> str:
        """Return a hash of the weights, the question and the frames."""
        weights = {name: value for name, value in self.model.state_dict().items() if isinstance(value, Tensor)}
        return f"{hash_weights(weights)} {self.question} {self.budget} {self.max_frames}"

    def _before(self, media: str) -> Tensor:
        ids = self.tokenizer(SYSTEM, add_special_tokens=False)["input_ids"]
        start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return torch.tensor([*start, *ids, *[MEDIA[media]] * MEDIA_TOKENS])

    def _tail(self, text: str, question: Question) -> Tail:
        if not text.strip():
            raise UsageError("a description is empty; it needs at least one word")
        before, after = TAIL.replace("{question}", question.text).split("{text}")
        coded = self.tokenizer(f"{before}{text.strip()}{after}", add_special_tokens=False, return_offsets_mapping=True)
        first, last = len(before), len(before) + len(text.strip())
        inside = [i for i, (a, b) in enumerate(coded["offset_mapping"]) if a < last and b > first]
        return Tail(torch.tensor(coded["input_ids"]), slice(inside[0], inside[-1] + 1))

    @torch.inference_mode()
    def _logits(self, visual: Visual, tail: Tail) -> Tensor:
        """Return the next-token logits (V,) of one prompt, by the package's way of being called."""
        ids = torch.cat([visual.ids, tail.ids])[None].to(self.device)
        pixels = {key: value.to(self.device, self.dtype) for key, value in visual.pixels.items()}
        masks = torch.ones_like(ids)[:, 1:]
        out = self.model(
            pixel_values=pixels.get("pixel_values"),
            video_pixel_values=pixels.get("video_pixel_values"),
            labels=None,
            num_images=torch.tensor([len(pixels.get("pixel_values", ()))]),
            num_videos=torch.tensor([len(pixels.get("video_pixel_values", ()))]),
            input_ids=ids,
            non_padding_mask=masks,
            non_media_mask=masks,
            prompt_mask=masks,
        )
        return out["logits"][0, -1]


def _normalized(frame: np.ndarray) -> Tensor:
    """Return a frame (H, W, 3) as (3, 224, 224), stretched as the package does."""
    small = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    return torch.from_numpy((small - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).permute(2, 0, 1)
