"""Forms that a language model fills in: fixed text, and gaps with a set of options. Knows no design and no prompt.

Constrained decoding with transformers' own `prefix_allowed_tokens_fn`, so any causal model can fill in any form, greedily or by sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import Any

import torch

from icg.errors import IcgError

Form = Generator[Sequence[str], str, None]
"""Yields the options of the next piece and receives the chosen one; a single option is fixed text. No option may be a prefix of another."""


class Pieces:
    """Options as a tokenizer's ids, each tokenised alone, so that generated and trained ids are the same."""

    def __init__(self, tokenizer: Any) -> None:
        self.end = int(tokenizer.eos_token_id)

        @lru_cache(65_536)
        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        self.ids = ids


class Filling:
    """One form being filled in, token by token."""

    def __init__(self, pieces: Pieces, form: Form) -> None:
        self._pieces, self._form = pieces, form
        self.text = ""
        self._options: dict[tuple[int, ...], str] = {}
        self._begun: tuple[int, ...] = ()
        self.done = False
        self._advance(None)

    def allowed(self) -> list[int]:
        """The allowed next ids; the end's id after the form is complete."""
        if self.done:
            return [self._pieces.end]
        at = len(self._begun)
        return sorted({ids[at] for ids in self._options if ids[:at] == self._begun})

    def add(self, id: int) -> None:
        if self.done:
            return
        self._begun += (id,)
        if self._begun in self._options:
            self._advance(self._options[self._begun])

    def _advance(self, chosen: str | None) -> None:
        self._begun = ()
        try:
            if chosen is None:
                options = next(self._form)
            else:
                self.text += chosen
                options = self._form.send(chosen)
        except StopIteration:
            self.done = True
            return
        self._options = {self._pieces.ids(option): option for option in options}


def encode(pieces: Pieces, form: Form, text: str) -> tuple[list[int], list[bool]]:
    """(ids of a form filled in as `text`, whether each was a choice). Raises IcgError for a text that the form does not allow."""
    ids: list[int] = []
    chosen: list[bool] = []
    left = text
    try:
        options = next(form)
        while True:
            fitting = [option for option in options if left.startswith(option)]
            if not fitting:
                raise IcgError(f"text={left[:60]!r}; allowed: one of {', '.join(map(repr, list(options)[:8]))}")
            piece = max(fitting, key=len)
            ids += pieces.ids(piece)
            chosen += [len(options) > 1] * (len(ids) - len(chosen))
            left = left[len(piece) :]
            options = form.send(piece)
    except StopIteration:
        pass
    if left:
        raise IcgError(f"text={left[:60]!r} after the end of the form; allowed: nothing")
    return [*ids, pieces.end], [*chosen, False]


@torch.inference_mode()
def fill(
    model: Any,
    pieces: Pieces,
    inputs: dict[str, torch.Tensor],
    form: Callable[[], Form],
    count: int = 1,
    temperature: float = 0.0,
    against: torch.Tensor | None = None,
    guidance: Sequence[float] = (),
    limit: int = 400,
) -> list[str]:
    """`count` texts of the form after a prompt (one row): the likeliest option of each gap, or sampled at a temperature above 0.

    against (1, T): ids of a negative prompt for classifier-free guidance with the weights `guidance`, one a text (above 0; at 1 the
    negative prompt has no effect). Raises IcgError if a form is incomplete after `limit` tokens.
    """
    from transformers import LogitsProcessorList

    fillings = [Filling(pieces, form()) for _ in range(count)]
    begin = inputs["input_ids"].shape[1]

    def allowed(row: int, ids: torch.Tensor) -> list[int]:
        if len(ids) > begin:
            fillings[row].add(int(ids[-1]))
        return fillings[row].allowed()

    kwargs: dict[str, Any] = {"do_sample": temperature > 0}
    if temperature > 0:
        kwargs["temperature"] = temperature
    if against is not None:
        contrast: Any = _Contrast(model, against.repeat_interleave(count, 0), torch.tensor(guidance))
        kwargs["logits_processor"] = LogitsProcessorList([contrast])
    kwargs |= {name: value.repeat_interleave(count, 0) for name, value in inputs.items()}
    model.generate(**kwargs, prefix_allowed_tokens_fn=allowed, max_new_tokens=limit, pad_token_id=pieces.end)
    if not all(filling.done for filling in fillings):
        raise IcgError(f"limit={limit} tokens are too few for the form; allowed: more")
    return [filling.text for filling in fillings]


class _Contrast:
    """Classifier-free guidance of language models (arXiv:2306.17806); unlike in transformers, each row has its own `scale` (B,)."""

    def __init__(self, model: Any, against: torch.Tensor, scale: torch.Tensor) -> None:
        self._model, self._against, self._scale, self._past = model, against, scale[:, None], None

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """ids (B, T), scores (B, V), -inf for forbidden ids -> scores."""
        next_ids = self._against if self._past is None else ids[:, -1:]
        output = self._model(input_ids=next_ids, past_key_values=self._past, use_cache=True)
        self._past = output.past_key_values
        other = output.logits[:, -1].log_softmax(-1)
        return self._scale.to(other) * (scores.log_softmax(-1) - other) + other


@torch.inference_mode()
def choose(model: Any, pieces: Pieces, inputs: dict[str, torch.Tensor], options: Sequence[str]) -> str:
    """The option that the model considers likeliest after a prompt (one row)."""
    (chosen,) = fill(model, pieces, inputs, lambda: _single_gap(options))
    return chosen


def _single_gap(options: Sequence[str]) -> Form:
    yield options
