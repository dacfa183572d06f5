"""Video LLMs that score a text: f(V, t) by the next token, Yes or No (SynViTA, Zanella et al. 2025, Eq. 1).

`VideoLLM` accepts any model that `AutoModelForImageTextToText` loads. The frames of a video run once for any number of
texts (`models/video_llm/prefix_cache.py`).

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

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from mova.errors import ModelError, UsageError, refuse_code
from mova.models.entailment import EntailmentModel
from mova.models.hub import find_checkpoint, read_json
from mova.models.precision import choose_device, choose_dtype, hash_weights, refuse_spreading
from mova.models.video_llm.figures import figure_pair_scores, figure_scores
from mova.models.video_llm.lora import attach_lora, base_of, is_adapter, load_lora
from mova.models.video_llm.packed import answer_packed
from mova.models.video_llm.prefix_cache import Prefix, Read, Side, answer_shared, answer_whole, prefill
from mova.models.video_llm.processor import load_processor
from mova.models.video_llm.prompt import Budget, Prompter, Question, Tail, Visual, prompts
from mova.models.video_llm.remembered import recall_settings, write_settings
from mova.models.video_llm.yes_no import Answers, yes_no_log_odds
from mova.types import Frames
from mova.video.probe import probe
from mova.video.reader import read_count

BATCH = 16
"""Texts per batch behind one video."""
DECODE_BYTES = 512 << 20
"""Frames that would need more memory at full size are decoded at twice the side that the model sees."""
QUANTIZED = ("4bit", "8bit")


@dataclass(frozen=True, eq=False)
class Encoded:
    """A video or an image that has run up to the question: each text about it now costs only its own tokens.

    Attributes:
        visual: the model's input.
        prefix: its keys and values; None if the architecture's frames attend to the question, or if it keeps more than
            keys and values (frames then run again with every text).
        images: number of images; 0 for a video.
    """

    visual: Visual
    prefix: Prefix | None
    images: int = 0


class VideoLLM(EntailmentModel):
    """A video or image LLM that answers Yes or No.

    Args:
        model: a model of transformers with a language head.
        processor: from `load_processor`.
        name: display name.
        max_frames: maximum number of frames per video; None: the architecture's own budget.
        question: the question about videos.

    >>> model = VideoLLM.from_pretrained("tiny-video-llm", max_frames=4, device="cpu")  # random weights
    >>> model.scores("film.mp4", ["Two black discs shrink.", "A dog runs."]).shape
    torch.Size([2])
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
            name_or_path: a folder or a name on the Hub.
            precision: "fp32", "bf16" or "auto".
            device: where the model runs; default: a GPU if there is one.
            device_map: how it is spread over devices ("auto", ...), instead of `device`.
            quantise: "4bit" or "8bit" weights by bitsandbytes, on a GPU.
            max_frames, question: see the class. Default for adapters: those of their training.
            trainable: whether the adapters of a folder will be trained further.

        Raises:
            ModelError: it cannot be found or loaded, or a required library is missing.
            UsageError: an unknown option, or one that this machine does not support.
        """
        if device_map is not None and device is not None:
            raise UsageError("specify either a device or a device map, not both")
        refuse_spreading(device_map)
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        options: dict[str, Any] = {"dtype": dtype}
        if quantise is not None:
            options["quantization_config"] = quantization(quantise, target, dtype)
            device_map = device_map or {"": target}
        if device_map is not None:
            options["device_map"] = device_map
        adapters = Path(name_or_path) if is_adapter(name_or_path) else None
        base = name_or_path if adapters is None else base_of(adapters)
        folder = find_checkpoint(base)
        kind = _kind(folder)
        try:
            with refuse_code(base):
                model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False, **options)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise ModelError(f"{base}: transformers cannot load it as a video LLM ({error})") from error
        if device_map is None:
            model = model.to(target)
        llm = cls(model, load_processor(folder, kind), name=str(name_or_path), max_frames=max_frames, question=question)
        llm._base = str(base)
        if adapters is not None:
            llm.load_adapters(adapters, trainable=trainable)
            recall_settings(llm, adapters, max_frames, question)
        return llm

    _base = ""

    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Read the frames of a file, or of `[start, end)` seconds of it, that this architecture sees.

        Raises:
            VideoError: the file cannot be read.
        """
        info = (probe if self.decoder is None else self.decoder.probe)(video)
        stop = info.duration if end is None else min(end, info.duration)
        count = self.budget.count(max(stop - start, 0.0), self.max_frames)
        small = None
        if self.prompter.sees_videos and count * info.height * info.width * 3 > DECODE_BYTES:
            small = 2 * self.prompter.processor.video_processor.short_side(count, info.height, info.width)
        read = read_count if self.decoder is None else self.decoder.read_count
        return read(video, count, rule=self.budget.rule, start=start, end=end, short_side=small)

    def prepare(self, video: str | Path | Frames) -> Visual:
        """Return a video as model input, on the CPU; in training the data loader does this."""
        return self.prompter.video(video if isinstance(video, Frames) else self.sample(video), self.question)

    def tails(self, texts: Sequence[str]) -> list[Tail]:
        """Return the prompts of descriptions; `tail.ids[tail.description]` are a description's tokens (for Eq. 6).

        Raises:
            UsageError: a text is empty or contains a control token.
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
        """Return `log P(Yes) - log P(No)` of every text about one video: float32, (N,), on the CPU.

        Args:
            video: a file, its frames, or the result of `prepare` or `encode`.
            texts: descriptions, or the result of `tails`.
            batch: texts per batch.
            side: side on which shorter texts are padded; it does not change the values.
        """
        if not texts:
            return torch.zeros(0)
        encoded = video if isinstance(video, Encoded) else self.encode(video)
        return self._ask(encoded, self._tails(texts), self._read_odds(self.question), batch, side).float().cpu()

    def pair_log_odds(
        self,
        videos: Sequence[Frames | Visual],
        texts: Sequence[str | Tail],
        *,
        keep: Sequence[Tensor | None] | None = None,
        side: Side = "left",
    ) -> Tensor:
        """Return the log-odds of B pairs, with gradients if enabled.

        Args:
            videos: B videos; architectures of whole frames need equal frames.
            texts: B texts.
            keep: for each text None, or bool over its description's tokens; see `answer_whole`.
            side: side on which shorter prompts are padded.

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
        """Return the log-odds of N texts about one video in one pass, with gradients if enabled; see `answer_packed`.

        Args:
            video: from `prepare`.
            tails: N tails, from `tails`.
            keep: for each text None, or bool over its description's tokens.
            run: called instead of the model.

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
        """Return P(Yes) for "Does this figure show [t]?" of every image and text (VQAScore, Lin et al. 2024).

        Args:
            images: frames of a video, or images: uint8 (H, W, 3) each, or Pillow's.
            texts: N texts.
            question: another question about images.
            batch: texts per batch.

        Returns:
            float32, (I, N), in [0, 1], on the CPU.
        """
        return figure_scores(self, images, texts, question or Question.named("figure"), batch)

    def figure_pair_scores(
        self, images: Sequence[Any], texts: Sequence[str], *, question: Question | None = None
    ) -> Tensor:
        """Return P(Yes) of n pairs of an image and a text, as few batches as their sizes allow: float32, (n,)."""
        return figure_pair_scores(self, images, texts, question or Question.named("figure"))

    def attach_lora(self, rank: int = 32, alpha: int = 32, dropout: float = 0.05) -> VideoLLM:
        """Put fresh adapters on the language model's attention; see `attach_lora` of `models/video_llm/lora.py`."""
        self.adapters = self._naming_base(attach_lora(self.model, rank, alpha, dropout))
        return self

    def load_adapters(self, folder: str | Path, *, trainable: bool = False) -> VideoLLM:
        """Put saved adapters on the language model's attention."""
        self.adapters = self._naming_base(load_lora(self.model, folder, trainable=trainable))
        return self

    def save_adapters(self, folder: str | Path) -> Path:
        """Save the adapters in PEFT's format, in a folder for `from_pretrained`.

        Raises:
            UsageError: the model has none.
        """
        if self.adapters is None:
            raise UsageError(f"{self.name}: has no adapters to save")
        self.adapters.save_pretrained(str(folder))
        return self.save_settings(folder)

    def save_settings(self, folder: str | Path) -> Path:
        """Save frames, sampling and question, which `from_pretrained` then uses with the adapters of the folder."""
        return write_settings(self, folder)

    def fingerprint(self) -> str:
        """Return a hash of weights, question, architecture and frame budget: equal fingerprints mean equal scores."""
        content = f"{self.kind} {self.question} {self.budget} {self.max_frames} {self._weights_hash}"
        return hashlib.sha256(content.encode()).hexdigest()

    def _naming_base(self, adapters: Any) -> Any:
        """Let adapters name their base model as it was requested, not by its local folder; in evaluation mode."""
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

    def _ask(self, encoded: Encoded, tails: Sequence[Tail], read: Read, batch: int, side: Side) -> Tensor:
        if encoded.prefix is not None:
            return answer_shared(self.model, encoded.prefix, tails, read, batch=batch, side=side)
        with torch.inference_mode():
            parts = [tails[i : i + batch] for i in range(0, len(tails), batch)]
            answers = [answer_whole(self.model, [encoded.visual] * len(part), part, read, side=side) for part in parts]
        return torch.cat(answers)

    def answers(self, question: Question) -> Answers:
        """Return the tokens that answer a question."""
        if question not in self._answers:
            self._answers[question] = Answers.of(self.prompter.tokenizer, question.yes_words, question.no_words)
        return self._answers[question]

    def read_odds(self, logits: Tensor) -> Tensor:
        """Return the log-odds of next-token logits (..., V) behind the model's question: (...,)."""
        return self._read_odds(self.question)(logits)

    def _read_odds(self, question: Question) -> Read:
        known = self.answers(question)
        return lambda logits: yes_no_log_odds(logits, known.yes, known.no)


def is_video_llm(name_or_path: str | Path) -> bool:
    """Return whether `VideoLLM.from_pretrained` loads this folder or name on the Hub.

    Raises:
        ModelError: it cannot be found.
    """
    if is_adapter(name_or_path):
        return True
    folder = find_checkpoint(name_or_path)
    return read_json(folder / "config.json").get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def quantization(bits: str, device: torch.device, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the settings of bitsandbytes for "4bit" (NF4, Dettmers et al. 2023) or "8bit" weights.

    Raises:
        UsageError: another value, or a device that bitsandbytes does not support.
        ModelError: bitsandbytes is not installed.
    """
    if bits not in QUANTIZED:
        raise UsageError(f"quantise {bits!r} is unknown; choose from {', '.join(QUANTIZED)}")
    if device.type != "cuda":
        raise UsageError(f"{bits} weights need an NVIDIA GPU, and this is {device.type}; omit the option")
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"{bits} weights need bitsandbytes; pip install bitsandbytes")
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _kind(folder: Path) -> str:
    kind = str(read_json(folder / "config.json").get("model_type"))
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(f"{folder}: {kind!r} is not a video or image LLM that transformers loads")
    return kind
