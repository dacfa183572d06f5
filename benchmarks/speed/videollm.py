"""One video, many texts: how much sharing the keys and values of the frames saves, and that it changes no score.

Video-LLaVA and Qwen3-VL with random weights (language model: 4 layers of width 256; 8 frames; float32, one thread,
processor seconds, best round). `shared` runs the frames once and appends every text; `whole` runs the frames again with
every text. `one text` is the whole prompt of one text, the cost of a single score.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, Qwen3VLConfig, VideoLlavaConfig

from benchmarks.common import harness
from mova.models.video_llm.prefix_cache import answer_shared, answer_whole, prefill
from mova.models.video_llm.prompt import Tail, Visual
from mova.models.video_llm.yes_no import yes_no_log_odds

WIDTH, LAYERS, VOCABULARY, FRAMES = 256, 4, 1000, 8
VIDEO, START, END = 900, 901, 902
"""Ids of the placeholder of a frame token, and of the tokens that Qwen3-VL puts around a frame."""
TEXT = (20, 45)
"""Shortest and longest question with its description, in tokens."""
COUNTS, QUICK = (1, 4, 16, 64), (1, 4)
MOST_UNSHARED = 16
"""Maximum number of texts that are also run whole."""
ROUNDS = 2
YES, NO = (3, 5), (4, 8)
LLM: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 3 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": VOCABULARY,
}


def video_llava(side: int) -> tuple[Any, Visual]:
    """Build model and video; a frame has (side / 16)^2 + 1 tokens."""
    tower = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 3}
    vision = CLIPVisionConfig(**tower, image_size=side, patch_size=16, projection_dim=WIDTH)
    config = VideoLlavaConfig(
        vision_config=vision, text_config=LlamaConfig(**LLM), video_token_index=VIDEO, image_token_index=VIDEO + 9
    )
    tokens = FRAMES * ((side // 16) ** 2 + 1)
    ids = torch.cat([torch.arange(20, 30), torch.full((tokens,), VIDEO)])
    pixels = {"pixel_values_videos": torch.randn(1, FRAMES, 3, side, side)}
    return random_model(config), Visual(ids, {}, pixels)


def qwen3_vl(side: int) -> tuple[Any, Visual]:
    """Build model and video; two frames together have (side / 32)^2 tokens."""
    vision = {"depth": 4, "hidden_size": 192, "intermediate_size": 768, "num_heads": 3, "out_hidden_size": WIDTH}
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    config = Qwen3VLConfig(
        vision_config=vision | {"deepstack_visual_indexes": [1, 2]},
        text_config=LLM | {"head_dim": 32, "rope_parameters": rope},
        video_token_id=VIDEO,
        image_token_id=VIDEO + 9,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    grid, times = side // 16, FRAMES // 2
    frame = torch.cat([torch.tensor([START]), torch.full(((grid // 2) ** 2,), VIDEO), torch.tensor([END])])
    ids = torch.cat([torch.arange(20, 30), frame.repeat(times)])
    pixels = {
        "pixel_values_videos": torch.randn(times * grid**2, 3 * 2 * 16**2),
        "video_grid_thw": torch.tensor([[times, grid, grid]]),
    }
    return random_model(config), Visual(ids, {"mm_token_type_ids": (ids == VIDEO).int() * 2}, pixels)


def random_model(config: Any) -> Any:
    """Build a model whose weights are large enough to distinguish texts."""
    model = AutoModelForImageTextToText.from_config(config).eval()
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.5 if "embed" in name else 0.8 / weight.shape[-1] ** 0.5)
    return model


def measure(report: harness.Report, family: str, model: Any, visual: Visual, counts: tuple[int, ...]) -> None:
    """Add the rows and claims of one family."""

    def read(logits: torch.Tensor) -> torch.Tensor:
        return yes_no_log_odds(logits, YES, NO)

    lengths = torch.randint(*TEXT, (max(counts),)).tolist()
    tails = [Tail(torch.randint(100, 800, (length,)), slice(5, length - 5)) for length in lengths]

    def shared(count: int) -> torch.Tensor:
        prefix = prefill(model, visual)
        assert prefix is not None
        return answer_shared(model, prefix, tails[:count], read)

    def unshared(count: int) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([answer_whole(model, [visual], [tail], read) for tail in tails[:count]])

    single = harness.seconds(lambda: unshared(1), ROUNDS)
    saved: dict[int, float] = {}
    cost: dict[int, float] = {}
    for count in counts:
        row: dict[str, Any] = {"family": family, "video_tokens": len(visual), "texts": count}
        row["shared_s"] = harness.seconds(lambda count=count: shared(count), ROUNDS)
        cost[count] = row["shared_s"] / single
        if count <= MOST_UNSHARED:
            row["whole_s"] = harness.seconds(lambda count=count: unshared(count), ROUNDS) if count > 1 else single
            saved[count] = row["whole_s"] / row["shared_s"]
        report.row(**row, one_text_s=single, shared_over_one_text=cost[count], whole_over_shared=saved.get(count))
    last = max(saved)
    difference = float((shared(last).sigmoid() - unshared(last).sigmoid()).abs().max())
    report.claim(f"{family}: largest difference of a score, shared and whole", difference, 1e-5, difference <= 1e-5)
    bound = 1 + 0.1 * last
    report.claim(f"{family}: cost of {last} texts, in single scores", cost[last], bound, cost[last] <= bound)
    report.claim(f"{family}: {last} texts, whole over shared", saved[last], last / bound, saved[last] >= last / bound)


def main() -> None:
    """Run both families, print and record the results."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    report = harness.Report("videollm", [args.seed])
    torch.manual_seed(args.seed)
    side = 128 if args.quick else 224
    for family, make in (("video_llava", video_llava), ("qwen3_vl", qwen3_vl)):
        model, visual = make(side if family == "video_llava" else 2 * side)
        measure(report, family, model, visual, QUICK if args.quick else COUNTS)
    report.finish(columns=("family", "video_tokens", "texts", "shared_s", "shared_over_one_text"))


if __name__ == "__main__":
    main()
