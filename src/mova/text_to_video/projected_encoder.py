"""A CLIP text tower with a linear map of its token states, as a component of diffusers pipelines.

It takes the place of a text encoder of another width. `save_pretrained` of a pipeline saves it, and `from_pretrained`
loads it wherever mova is installed.

Shape legend: N texts, L tokens, C width of the tower, D width that the pipeline expects.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mova.errors import ModelError


class ProjectedTextConfig(PreTrainedConfig):
    """Configuration of a `ProjectedTextEncoder`.

    Args:
        text: configuration of the CLIP text tower.
        width: width D of the states that it returns.
        kwargs: see `PreTrainedConfig`.
    """

    model_type = "mova_projected_text"

    def __init__(self, text: dict[str, Any] | None = None, width: int = 768, **kwargs: Any) -> None:
        self.text = text or {}
        self.width = width
        super().__init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width D, by the name that pipelines use."""
        return self.width


class ProjectedTextEncoder(PreTrainedModel):
    """A CLIP text tower and a linear map of its states from C to D dimensions.

    >>> import torch
    >>> config = ProjectedTextConfig(CLIPTextConfig(vocab_size=50, hidden_size=32, num_attention_heads=2).to_dict(), 48)
    >>> ProjectedTextEncoder(config)(torch.tensor([[48, 7, 49]])).last_hidden_state.shape
    torch.Size([1, 3, 48])
    """

    config_class = ProjectedTextConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: ProjectedTextConfig) -> None:
        super().__init__(config)
        text = CLIPTextConfig(**config.text)
        self.tower = CLIPTextModel(text)
        self.projection = nn.Linear(text.hidden_size, config.width)
        self.post_init()

    @classmethod
    def of(cls, tower: CLIPTextModel, projection: nn.Linear) -> ProjectedTextEncoder:
        """Return an encoder with a given tower and map, which are not copied."""
        encoder = cls(ProjectedTextConfig(tower.config.to_dict(), projection.out_features))
        encoder.tower, encoder.projection = tower, projection
        return encoder.eval()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: both parts initialize themselves."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode ids (N, L), with an optional mask (N, L): `last_hidden_state` (N, L, D).

        With `output_hidden_states`, the states of all layers follow, projected by the same map.

        Raises:
            ModelError: more tokens than the tower reads.
        """
        length = self.tower.config.max_position_embeddings
        if input_ids.shape[-1] > length:
            raise ModelError(
                f"the pipeline asks for {input_ids.shape[-1]} tokens, and its text encoder reads {length}; pass "
                f"max_sequence_length={length} (`--option max_sequence_length={length}`)"
            )
        output = self.tower(input_ids, attention_mask=attention_mask, output_hidden_states=output_hidden_states)
        hidden = tuple(self.projection(states) for states in output.hidden_states or ()) or None
        projected = BaseModelOutputWithPooling(
            last_hidden_state=self.projection(output.last_hidden_state),
            pooler_output=self.projection(output.pooler_output),
            hidden_states=hidden,
        )
        return projected if return_dict else projected.to_tuple()
