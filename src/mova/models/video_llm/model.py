"""Video LLMs as judges of a text: f(V, t) by the next token, Yes or No (SynViTA, Eq. 1).

`VideoLLM` takes whatever `AutoModelForImageTextToText` loads. The frames of a video are run once, however many texts
are asked about it (`models/video_llm/prefix_cache.py`).

Shape legend: T frames, H W pixels, N texts, I images, B pairs of a video and a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from mova.errors import ModelError, UsageError
from mova.models.entailment import EntailmentModel
from mova.models.hub import find_checkpoint, read_json
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.video_llm.lora import attach_lora, is_adapter, load_lora
from mova.models.video_llm.packed import answer_packed
from mova.models.video_llm.prefix_cache import Prefix, Read, Side, answer_shared, answer_whole, prefill
from mova.models.video_llm.processor import load_processor
from mova.models.video_llm.prompt import Budget, Prompter, Question, Tail, Visual, prompts
from mova.models.video_llm.yes_no import Answers, yes_log_probability, yes_no_log_odds
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import read_count

BATCH = 16
"""Texts side by side behind one video."""
DECODE_BYTES = 512 << 20
"""Frames that would take more at full size are decoded at twice the side that the model sees."""
QUANTISED = ("4bit", "8bit")


@dataclass(frozen=True, eq=False)
class Encoded:
    """A video, or an image, that has been run up to the question: texts about it now cost only their own tokens.

    Attributes:
        visual: what was shown.
        prefix: its keys and values; None where a family's frames look at the question, or where it keeps more than
            keys and values (frames then run anew with every text).
        images: how many images were shown; 0 for a video.
    """

    visual: Visual
    prefix: Prefix | None
    images: int = 0


class VideoLLM(EntailmentModel):
    """A video or image LLM that answers Yes or No.

    Args:
        model: of transformers, with a language head.
        processor: from `load_processor`.
        name: how people refer to it.
        max_frames: never look at more frames of a video; None for the family's own budget.
        question: what is asked about videos.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str = "unnamed",
        max_frames: int | None = None,
        question: Question | None = None,
    ) -> None:
        if max_frames is not None and max_frames < 1:
            raise UsageError(f"max_frames must be at least 1, not {max_frames}")
        self.model, self.name, self.max_frames = model.eval(), name, max_frames
        self.kind = str(model.config.model_type)
        self.prompter = Prompter(processor, self.kind, name)
        self.question = question or Question.named("entailment")
        self.budget = Budget.of(self.kind)
        self.adapters: Any = None
        self._answers: dict[Question, Answers] = {}

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        precision: str = "auto",
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
        quantise: str | None = None,
        max_frames: int | None = None,
        question: Question | None = None,
        trainable: bool = False,
    ) -> VideoLLM:
        """Load a checkpoint of transformers, or a folder of PEFT's adapters with the checkpoint that it names.

        Args:
            name_or_path: a folder or a hub name.
            precision: "fp32", "bf16" or "auto".
            device: where it runs; a GPU if there is one.
            device_map: how it is spread over devices ("auto", ...), instead of `device`.
            quantise: "4bit" or "8bit" weights by bitsandbytes, on a GPU.
            max_frames, question: see the class.
            trainable: whether the adapters of a folder are to be trained further.

        Raises:
            ModelError: it cannot be found or loaded, or a library that the request needs is absent.
            UsageError: an option that does not exist, or that this machine cannot serve.
        """
        if device_map is not None and device is not None:
            raise UsageError("say either a device or a device map, not both")
        place = choose_device(device)
        dtype = choose_dtype(precision, place)
        options: dict[str, Any] = {"dtype": dtype}
        if quantise is not None:
            options["quantization_config"] = quantisation(quantise, place, dtype)
            device_map = device_map or {"": place}
        if device_map is not None:
            options["device_map"] = device_map
        adapters = Path(name_or_path) if is_adapter(name_or_path) else None
        base = name_or_path if adapters is None else _base_of(adapters)
        folder = find_checkpoint(base)
        kind = _kind(folder)
        try:
            model = AutoModelForImageTextToText.from_pretrained(folder, **options)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise ModelError(f"{base}: transformers cannot load it as a video LLM ({error})") from error
        if device_map is None:
            model = model.to(place)
        made = cls(
            model, load_processor(folder, kind), name=str(name_or_path), max_frames=max_frames, question=question
        )
        made._base = str(base)
        if adapters is not None:
            made.load_adapters(adapters, trainable=trainable)
        return made

    _base = ""

    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """The frames of a file, or of `[start, end)` seconds of it, that this family looks at.

        Raises:
            VideoError: the file cannot be read.
        """
        info = probe(video)
        stop = info.duration if end is None else min(end, info.duration)
        count = self.budget.count(max(stop - start, 0.0), self.max_frames)
        small = None
        if self.prompter.sees_videos and count * info.height * info.width * 3 > DECODE_BYTES:
            small = 2 * self.prompter.processor.video_processor.short_side(count, info.height, info.width)
        return read_count(video, count, rule=self.budget.rule, start=start, end=end, short_side=small)

    def prepare(self, video: str | Path | Frames) -> Visual:
        """A video as the model takes it, on the CPU: what a loader does ahead of training."""
        return self.prompter.video(video if isinstance(video, Frames) else self.sample(video), self.question)

    def tails(self, texts: Sequence[str]) -> list[Tail]:
        """Prompts of descriptions; `tail.ids[tail.description]` are a description's tokens, as Eq. 6 compares them.

        Raises:
            UsageError: a text is empty or holds a control token.
        """
        return self.prompter.tails(texts, self.question)

    def encode(self, video: str | Path | Frames | Visual) -> Encoded:
        """Run a video once."""
        return self._encode(video if isinstance(video, Visual) else self.prepare(video))

    def log_odds(
        self,
        video: str | Path | Frames | Visual | Encoded,
        texts: Sequence[str | Tail],
        *,
        batch: int = BATCH,
        side: Side = "left",
    ) -> Tensor:
        """`log P(Yes) - log P(No)` of every text about one video: float32, (N,), on the CPU.

        Args:
            video: a file, its frames, or what `prepare` or `encode` made of it.
            texts: descriptions, or what `tails` made of them.
            batch: texts side by side.
            side: where shorter texts are padded; it makes no difference to the values.
        """
        if not texts:
            return torch.zeros(0)
        shown = video if isinstance(video, Encoded) else self.encode(video)
        return self._ask(shown, self._tails(texts), self._read_odds(self.question), batch, side).float().cpu()

    def pair_log_odds(
        self,
        videos: Sequence[Frames | Visual],
        texts: Sequence[str | Tail],
        *,
        keep: Sequence[Tensor | None] | None = None,
        side: Side = "left",
    ) -> Tensor:
        """Log-odds of B pairs side by side, with gradient where it is on.

        Args:
            videos: B; families of whole frames need equal frames.
            texts: B.
            keep: for each text None, or bool over its description's tokens; see `answer_whole`.
            side: where shorter prompts are padded.

        Returns:
            float32, (B,), on the model's device.
        """
        visuals = [video if isinstance(video, Visual) else self.prepare(video) for video in videos]
        return answer_whole(
            self.model, visuals, self._tails(texts), self._read_odds(self.question), keep=keep, side=side
        )

    def packed_log_odds(
        self,
        video: Visual,
        tails: Sequence[Tail],
        *,
        keep: Sequence[Tensor | None] | None = None,
        run: Callable[..., Any] | None = None,
    ) -> Tensor:
        """Log-odds of N texts about one video in one pass, with gradient where it is on; see `answer_packed`.

        Args:
            video: from `prepare`.
            tails: from `tails`, N.
            keep: for each text None, or bool over its description's tokens.
            run: called in place of the model.

        Returns:
            float32, (N,), on the model's device.
        """
        if self.kind in prompts()["unshared"]:
            read = self._read_odds(self.question)
            return answer_whole(self.model, [video] * len(tails), tails, read, keep=keep, run=run)
        return answer_packed(self.model, video, tails, self._read_odds(self.question), keep=keep, run=run)

    def figure_scores(
        self,
        images: Frames | Sequence[Any],
        texts: Sequence[str],
        *,
        question: Question | None = None,
        batch: int = BATCH,
    ) -> Tensor:
        """P(Yes) for "Does this figure show [t]?" of every image and text (VQAScore, Lin et al. 2024).

        Args:
            images: frames of a video, or images: uint8 (H, W, 3) each, or Pillow's.
            texts: N.
            question: another question about images.
            batch: texts side by side.

        Returns:
            float32, (I, N), in [0, 1], on the CPU.
        """
        asked = question or Question.named("figure")
        yes = self._known(asked).yes
        tails = self.prompter.tails(texts, asked, images=1)
        rows = []
        for image in images.pixels if isinstance(images, Frames) else images:
            shown = self._encode(self.prompter.images([_pixels(image)], asked), images=1)
            rows.append(self._ask(shown, tails, lambda logits: yes_log_probability(logits, yes), batch, "left"))
        return torch.stack(rows).exp().float().cpu()

    def attach_lora(self, rank: int = 32, alpha: int = 32, dropout: float = 0.05) -> VideoLLM:
        """Put fresh adapters on the language model's attention; see `attach_lora` of `models/video_llm/lora.py`."""
        self.adapters = self._naming_base(attach_lora(self.model, rank, alpha, dropout))
        return self

    def load_adapters(self, folder: str | Path, *, trainable: bool = False) -> VideoLLM:
        """Put saved adapters there."""
        self.adapters = self._naming_base(load_lora(self.model, folder, trainable=trainable))
        return self

    def save_adapters(self, folder: str | Path) -> Path:
        """Write the adapters in PEFT's format; `from_pretrained` takes the folder.

        Raises:
            UsageError: there are none.
        """
        if self.adapters is None:
            raise UsageError(f"{self.name}: has no adapters to save")
        self.adapters.save_pretrained(str(folder))
        return Path(folder)

    def fingerprint(self) -> str:
        """Hash of weights, question, family and frame budget: equal fingerprints give equal scores."""
        told = f"{self.kind} {self.question} {self.budget} {self.max_frames} {self._weights_hash}"
        return hashlib.sha256(told.encode()).hexdigest()

    def _naming_base(self, adapters: Any) -> Any:
        """Adapters that name the model below them as it was asked for, not where it lies; without dropout, as the
        model is until its `train()` is called."""
        for config in adapters.peft_config.values():
            config.base_model_name_or_path = self._base or config.base_model_name_or_path
        return adapters.eval()

    @cached_property
    def _weights_hash(self) -> str:
        return hash_weights(
            {name: value for name, value in self.model.state_dict().items() if isinstance(value, Tensor)}
        )

    def _tails(self, texts: Sequence[str | Tail]) -> list[Tail]:
        return [text if isinstance(text, Tail) else self.tails([text])[0] for text in texts]

    def _encode(self, visual: Visual, images: int = 0) -> Encoded:
        shared = self.kind not in prompts()["unshared"]
        return Encoded(visual, prefill(self.model, visual) if shared else None, images)

    def _ask(self, shown: Encoded, tails: Sequence[Tail], read: Read, batch: int, side: Side) -> Tensor:
        if shown.prefix is not None:
            return answer_shared(self.model, shown.prefix, tails, read, batch=batch, side=side)
        with torch.inference_mode():
            parts = [tails[i : i + batch] for i in range(0, len(tails), batch)]
            found = [answer_whole(self.model, [shown.visual] * len(part), part, read, side=side) for part in parts]
        return torch.cat(found)

    def _known(self, question: Question) -> Answers:
        if question not in self._answers:
            self._answers[question] = Answers.of(self.prompter.tokenizer, question.yes_words, question.no_words)
        return self._answers[question]

    def _read_odds(self, question: Question) -> Read:
        known = self._known(question)
        return lambda logits: yes_no_log_odds(logits, known.yes, known.no)


def is_video_llm(name_or_path: str | Path) -> bool:
    """Whether a folder or hub name is a model that `VideoLLM.from_pretrained` loads.

    Raises:
        ModelError: it cannot be found.
    """
    if is_adapter(name_or_path):
        return True
    folder = find_checkpoint(name_or_path)
    return read_json(folder / "config.json").get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def quantisation(quantise: str, device: torch.device, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How bitsandbytes stores weights: 4 bits (NF4, Dettmers et al. 2023) or 8.

    Raises:
        UsageError: another word, or a device that bitsandbytes does not serve.
        ModelError: bitsandbytes is not installed.
    """
    if quantise not in QUANTISED:
        raise UsageError(f"quantise {quantise!r} is not known; there are {', '.join(QUANTISED)}")
    if device.type != "cuda":
        raise UsageError(f"{quantise} weights need an NVIDIA GPU, and this is {device.type}; leave the option out")
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"{quantise} weights need bitsandbytes; pip install bitsandbytes")
    if quantise == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _base_of(adapters: Path) -> str:
    base = read_json(adapters / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{adapters}: its adapter_config.json names no base model; load that and use load_adapters")
    return str(base)


def _kind(folder: Path) -> str:
    kind = str(read_json(folder / "config.json").get("model_type"))
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(f"{folder}: {kind!r} is no video or image LLM that transformers loads")
    return kind


def _pixels(image: Any) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3) of an array or of Pillow's image."""
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise UsageError(f"an image must be uint8 (H, W, 3), not {array.dtype} {array.shape}")
    return array
