"""Keys and values of every training item's prompt in the frozen VLM, computed once.

A causal language model's states of [references, title] do not depend on the meta tokens that follow, so the main recipe runs the VLM for
the meta tokens only. Works for decoder-only families whose `language_model` takes a DynamicCache; equal, up to rounding, to
`MetaTokens.read` on the whole prompt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from icg.models import vlm as reading

TITLE_ONLY = -1
"""Reference index of a prompt without a reference."""


class Prefixes:
    """Prompts are left-padded to one length L; `keys[layer]` and `values[layer]` are (N, heads, L, head) float16."""

    def __init__(self, vlm: Any, processor: Any, titles: list[str], pictures: Tensor) -> None:
        """titles (S,), pictures (S, R, P, D) patch features: R references of each subject.

        Builds R + 1 prompts with the title (the last without a picture) and R without, for each subject.
        """
        self.vlm, self.references = vlm, pictures.shape[1]
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        masks, layers = [], []
        prompts = [(s, r, titled) for s in range(len(titles)) for r, titled in self._kinds()]
        ids = [self._ids(processor, titles[s] if titled else "", r, pictures.shape[2]) for s, r, titled in prompts]
        self.length = max(map(len, ids))
        for i in range(0, len(prompts), 256):
            part = list(zip(prompts[i : i + 256], ids[i : i + 256], strict=True))
            embeds, mask = self._embed(part, pictures)
            with torch.no_grad():
                out = vlm.model.language_model(inputs_embeds=embeds, attention_mask=mask, use_cache=True)
            masks.append(mask)
            layers.append([(layer.keys.half(), layer.values.half()) for layer in out.past_key_values.layers])
        self.mask = torch.cat(masks)
        for k in range(len(layers[0])):
            self.keys.append(torch.cat([part[k][0] for part in layers]))
            self.values.append(torch.cat([part[k][1] for part in layers]))

    def row(self, subject: np.ndarray, reference: np.ndarray, with_title: np.ndarray) -> np.ndarray:
        """Rows of prompts: reference in 0..R-1 or TITLE_ONLY; with_title: whether the title is in the prompt."""
        per = 2 * self.references + 1
        titled = np.where(reference == TITLE_ONLY, self.references, reference)
        untitled = self.references + 1 + reference
        return subject * per + np.where(with_title | (reference == TITLE_ONLY), titled, untitled)

    def read(self, meta: Tensor, rows: np.ndarray) -> Tensor:
        """meta (M, D), rows (B,) -> (B, M, D) last hidden states, differentiable in `meta`."""
        index = torch.as_tensor(rows)
        cache = DynamicCache()
        for k, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(key[index].float(), value[index].float(), k)
        count = meta.shape[0]
        mask = torch.cat([self.mask[index], self.mask.new_ones(len(index), count)], 1)
        positions = torch.arange(self.length, self.length + count).expand(len(index), -1)
        embeds = meta.expand(len(index), -1, -1)
        out = self.vlm.model.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return out.last_hidden_state

    def _kinds(self) -> list[tuple[int, bool]]:
        refs = range(self.references)
        return [(r, True) for r in refs] + [(TITLE_ONLY, True)] + [(r, False) for r in refs]

    def _ids(self, processor: Any, title: str, reference: int, patches: int) -> list[int]:
        text = reading.prompt(processor, title, int(reference != TITLE_ONLY))
        image = processor.image_token
        return processor.tokenizer(text.replace(image, image * patches))["input_ids"]

    def _embed(self, part: list[tuple[tuple[int, int, bool], list[int]]], pictures: Tensor) -> tuple[Tensor, Tensor]:
        pad = self.vlm.config.get_text_config().pad_token_id
        ids = torch.tensor([[pad] * (self.length - len(row)) + row for _, row in part])
        mask = torch.tensor([[0] * (self.length - len(row)) + [1] * len(row) for _, row in part])
        with torch.no_grad():
            embeds = self.vlm.get_input_embeddings()(ids)
            is_image = ids == self.vlm.config.image_token_id
            references = [pictures[s, r] for (s, r, _), _ in part if r != TITLE_ONLY]
            if references:
                patches = self.vlm.model.multi_modal_projector(torch.stack(references).float())
                embeds[is_image] = patches.flatten(0, 1)
        return embeds, mask
