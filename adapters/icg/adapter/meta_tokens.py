"""Meta tokens: trained tokens at the end of a frozen VLM's input; their last hidden states describe the item.

MetaQueries (arXiv:2504.06256). They enter through the VLM's own embedding layer: placeholder ids are appended to the prompt and a hook
replaces their rows, so that the family's own code computes positions and masks and merges images.
Knows nothing about users or drawing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from icg.errors import BriefError, CheckpointError


class MetaTokens(nn.Module):
    """`weight` (M, D_vlm)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, width) * 0.02)

    def read(self, vlm: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Run the VLM on prompt + meta tokens: last hidden states (B, M, D_vlm) with the meta tokens' device and dtype.

        Raises CheckpointError for a VLM of another width, BriefError for a prompt with padding on its right.
        """
        layer = vlm.get_input_embeddings()
        count, width = self.weight.shape
        if layer.weight.shape[1] != width:
            raise CheckpointError(
                f"meta_tokens width={width}; allowed: {layer.weight.shape[1]}, the VLM's embedding width"
            )
        if not inputs["attention_mask"][:, -1].all():
            raise BriefError(
                "inputs are padded on their right; allowed: padding on the left, meta tokens follow the prompt"
            )
        longer = {name: value.to(layer.weight.device) for name, value in inputs.items()}
        longer |= {name: value.to(layer.weight.dtype) for name, value in longer.items() if value.is_floating_point()}
        new = {"input_ids": self._placeholder(vlm), "attention_mask": 1}
        # Some families mark each token as text or image; meta tokens are text.
        new |= {name: 0 for name in longer if name.endswith("token_type_ids")}
        for name, value in new.items():
            longer[name] = nn.functional.pad(longer[name], (0, count), value=value)

        def insert(_: nn.Module, __: tuple[Any, ...], rows: Tensor) -> Tensor:
            return torch.cat([rows[:, :-count], self.weight.to(rows).expand(len(rows), -1, -1)], 1)

        hook = layer.register_forward_hook(insert)
        try:
            hidden = vlm.model(**longer, use_cache=False).last_hidden_state
        finally:
            hook.remove()
        return hidden[:, -count:].to(self.weight)

    @staticmethod
    def _placeholder(vlm: Any) -> int:
        config = vlm.config.get_text_config()
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        return next((int(id) for id in [*ends, config.bos_token_id] if id is not None), 0)
