"""open_clip's names of a CLIP's weights -> transformers' names. Knows no use of the model.

open_clip stores query, key and value of an attention in one matrix, and its projections transposed.
"""

from __future__ import annotations

import re

from torch import Tensor

from icg.errors import CheckpointError

_TOP = {
    "logit_scale": "logit_scale",
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    **{
        f"{open_clip}.{part}": f"{transformers}.{part}"
        for open_clip, transformers in (
            ("ln_final", "text_model.final_layer_norm"),
            ("visual.ln_pre", "vision_model.pre_layrnorm"),  # transformers' spelling
            ("visual.ln_post", "vision_model.post_layernorm"),
        )
        for part in ("weight", "bias")
    },
}
_TRANSPOSED = ("text_projection", "visual.proj")
_UNUSED = ("attn_mask",)
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_WITHIN = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def to_transformers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A `ViT` CLIP's state dict with open_clip's names (DataParallel's `module.` is dropped) -> transformers' names.

    Raises CheckpointError naming the weights that such a model does not have.
    """
    out: dict[str, Tensor] = {}
    unknown = []
    for name, value in weights.items():
        name = name.removeprefix("module.")
        block = _BLOCK.fullmatch(name)
        if name in _TOP:
            out[_TOP[name]] = value.T.contiguous() if name in _TRANSPOSED else value
        elif block is not None and _convert_block(out, block, value):
            continue
        elif name not in _UNUSED:
            unknown.append(name)
    if unknown:
        raise CheckpointError(f"weights {sorted(unknown)[:6]}; allowed: an open_clip ViT's names")
    return out


def _convert_block(out: dict[str, Tensor], block: re.Match[str], value: Tensor) -> bool:
    """Put one weight of a block into `out`; False for an unknown name."""
    tower = "vision_model" if block[1] else "text_model"
    prefix = f"{tower}.encoder.layers.{block[2]}"
    name, _, part = block[3].rpartition(".")
    if name in _WITHIN:
        out[f"{prefix}.{_WITHIN[name]}.{part}"] = value
        return True
    if block[3] in ("attn.in_proj_weight", "attn.in_proj_bias"):
        for which, third in zip("qkv", value.chunk(3), strict=True):
            out[f"{prefix}.self_attn.{which}_proj.{block[3].removeprefix('attn.in_proj_')}"] = third.contiguous()
        return True
    return False
