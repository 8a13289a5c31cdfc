"""The design model: title, account, time and a target KPI -> a design, written by a VLM fine-tuned on designs of pictures with known KPI.

After BoigLLM (arXiv:2311.10995). The VLM is any that `icg.models.vlm` loads, with the low-rank weights (arXiv:2106.09685) of
icg.train.engagement.design; it is a copy, because the pipeline's VLM is not fine-tuned. Its output is a form (icg.design.form), so it is
always valid. Of several designs between "low" and "high", a judge of designs, trained on the same posts, chooses one for the target.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from icg.data.engagement import BUCKETS
from icg.design.form import Form, Pieces, fill
from icg.design.judge import DesignJudge
from icg.design.palette import NAMED
from icg.design.schema import (
    AVOIDABLE,
    BRIGHTNESS,
    MAX_AVOID,
    MAX_COLOURS,
    PLACES,
    SIZES,
    STYLES,
    TENTHS,
    VIVIDNESS,
    WARMTH,
    Design,
)
from icg.errors import BriefError, CheckpointError
from icg.models import vlm as reading

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PREFIX, DOWN = "base_model.model.", ".lora_A.weight"
AXIS = {"high": ("high", "low", 4.0), "medium": ("high", "low", 0.5), "low": ("low", "high", 3.0)}
"""Target -> (bucket of the prompt, bucket of the negative prompt, guidance weight). Without guidance the design for "high" is mostly the
commonest one; "medium" is between "low" and "high". Chosen on validation titles."""
ALONG = {"high": (0.5, 1.0, 3.0, 5.0), "low": (0.75, 1.0, 2.0, 3.0)}
"""Guidance weights of the designs among which the judge chooses, by bucket; the negative prompt has the other bucket."""
CACHE = 4096
"""Titles whose designs are cached."""
PARTS = ("night", "morning", "afternoon", "evening")


def prompt(title: str, account: str, time: float | None, target: str) -> str:
    """The prompt. time: UTC seconds; "" and None for unknown ones. Raises BriefError for an unknown target."""
    _axis(target)
    when = ""
    if time is not None:
        at = datetime.fromtimestamp(time, UTC)
        when = f", {DAYS[at.weekday()]} {PARTS[at.hour // 6]}"
    return f"{target} likes: {title[:200]}{f', {account[:100]}' if account else ''}{when}."


def form(objects: Sequence[str]) -> Form:
    """A design's JSON with its first object among `objects`; see icg.design.schema for the options of the gaps."""
    yield ['{"colours":[["']
    names: list[str] = []
    left = last = TENTHS
    while True:
        names.append((yield [f'{name}",' for name in NAMED if f'{name}",' not in names]))
        share = int((yield [f"{n}]" for n in range(1, min(left, last) + 1)])[:-1])
        left, last = left - share, share
        more = left > 0 and len(names) < MAX_COLOURS
        if (yield ['],"tones":["', *([',["'] if more else [])]) != ',["':
            break
    used = {name[:-2] for name in names}
    for words, behind in ((BRIGHTNESS, '","'), (WARMTH, '","'), (VIVIDNESS, '"],"objects":["')):
        used.add((yield [f'{word}"' for word in words])[:-1])
        yield [behind[1:]]
    yield [json.dumps(name, ensure_ascii=False)[1:] for name in objects]
    for words, before in ((PLACES, '],"place":"'), (SIZES, ',"size":"'), (STYLES, ',"style":"')):
        yield [before]
        used.add((yield [f'{word}"' for word in words])[:-1])
    yield [',"avoid":[']
    avoided: list[str] = []
    while (yield ["]}", *(['"' if not avoided else ',"'] if len(avoided) < MAX_AVOID else [])]) != "]}":
        avoided.append((yield [f'{word}"' for word in AVOIDABLE if word not in used and word not in avoided])[:-1])


class DesignModel:
    """Writes designs. The folder of icg.train.engagement.design has the low-rank weights and the judge. Without it, as a baseline, the
    VLM is not fine-tuned and writes the likeliest design."""

    def __init__(self, vlm: Any, processor: Any, judge: DesignJudge | None = None) -> None:
        self._vlm, self._processor, self.judge, self.pieces = vlm, processor, judge, Pieces(processor.tokenizer)
        # Requests repeat items, and a design takes longer than a step.
        self._candidates = lru_cache(CACHE)(self._write_candidates)

    @classmethod
    def from_pretrained(cls, vlm: str | Path, folder: str | Path | None = None) -> DesignModel:
        """Raises CheckpointError if a file is missing or does not fit the VLM."""
        model, processor = reading.load(vlm)
        if folder is None:
            return cls(model, processor)
        merge(model, Path(folder))
        return cls(model, processor, DesignJudge.from_pretrained(folder))

    def judged_by(self, judge: DesignJudge | None) -> DesignModel:
        """The same model with another judge, or without one."""
        return DesignModel(self._vlm, self._processor, judge)

    def write(
        self,
        title: str,
        target: str = "high",
        account: str = "",
        time: float | None = None,
        count: int = 1,
        temperature: float = 0.0,
        objects: Sequence[str] = (),
    ) -> list[Design]:
        """`count` designs, sampled at temperatures above 0. At 0 one design: the judge's choice, or without a judge the likeliest.

        objects: what the picture may show, by default the title. Raises BriefError for an unknown target or an empty title.
        """
        if not title.strip():
            raise BriefError("title=''; allowed: a title")
        *buckets, weight = _axis(target)
        names = tuple(name[:64] for name in objects or [title])
        if temperature == 0 and self.judge is not None:
            designs = self._candidates(title, account, time, names)
            return [designs[misses(self.judge(designs, [account] * len(designs)), target).argmin()]]
        guidance = (weight,) * (count if temperature > 0 else 1)
        return self._fill(title, account, time, names, buckets, guidance, temperature)

    def _write_candidates(self, title: str, account: str, time: float | None, names: tuple[str, ...]) -> list[Design]:
        pairs = (("high", "low"), ("low", "high"))
        return [d for pair in pairs for d in self._fill(title, account, time, names, pair, ALONG[pair[0]])]

    def _fill(
        self,
        title: str,
        account: str,
        time: float | None,
        names: Sequence[str],
        buckets: Sequence[str],
        guidance: Sequence[float],
        temperature: float = 0.0,
    ) -> list[Design]:
        inputs, negative = (
            reading.inputs(self._processor, reading.plain(self._processor, prompt(title, account, time, bucket)))
            for bucket in buckets
        )
        against, count, design_form = negative["input_ids"], len(guidance), partial(form, names)
        texts = fill(self._vlm, self.pieces, inputs, design_form, count, temperature, against, guidance)
        return [Design.from_json(text) for text in texts]


def misses(scores: np.ndarray, target: str) -> np.ndarray:
    """(N,): distance of each of the scores (N,) from the target: the highest, the lowest, or the middle between these."""
    low, high = scores.min(), scores.max()
    return np.abs(scores - {"low": low, "medium": (low + high) / 2, "high": high}[target])


def _axis(target: str) -> tuple[str, str, float]:
    if target not in AXIS:
        raise BriefError(f"target={target!r}; allowed: {', '.join(BUCKETS)}")
    return AXIS[target]


def merge(model: Any, folder: Path) -> None:
    """Add the low-rank weights of a folder (peft's files, read without peft) to a model's own.

    Raises CheckpointError if a file is missing, or a layer or width does not match the model.
    """
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"design={str(folder)!r}: {path.name} is missing; allowed: icg.train.engagement.design's folder"
        )
    try:
        config, weights = json.loads((folder / "adapter_config.json").read_text()), load_file(path)
        scale = config["lora_alpha"] / config["r"]
        for name in [name for name in weights if name.endswith(DOWN)]:
            weight = model.get_parameter(name.removeprefix(PREFIX).removesuffix(DOWN) + ".weight")
            up, down = (weights[name.replace(".lora_A.", f".lora_{side}.")].to(weight) for side in "BA")
            weight.data += scale * up @ down
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"design={str(folder)!r}: does not fit the VLM ({error})") from error
