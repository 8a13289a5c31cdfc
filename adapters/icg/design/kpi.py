"""The design model: title, account, time and a target KPI -> a design, written by a VLM tuned on designs of pictures with known KPI.

BoigLLM (arXiv:2311.10995) in our words. The VLM is any that `icg.models.vlm` loads, with low-rank weights
(arXiv:2106.09685) of icg.train.engagement.design;
its own copy, since the pipeline's reads titles untuned. What it writes is a form (icg.design.form), so it always validates. Of several
designs between "low" and "high" a judge of designs, of the same posts, chooses the one for the target.
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
"""Target -> (written for, told from, how firmly): the likeliest design for "high" alone is mostly what is common anyway, and "medium" lies
on the way from "low" to "high". Chosen on validation titles."""
ALONG = {"high": (0.5, 1.0, 3.0, 5.0), "low": (0.75, 1.0, 2.0, 3.0)}
"""How firmly designs are written for one of these and told from the other, for the judge to choose among."""
KEPT = 4096
"""Titles whose designs are kept."""
PARTS = ("night", "morning", "afternoon", "evening")


def asked(title: str, account: str, time: float | None, target: str) -> str:
    """The prompt. `time` in UTC seconds; "" and None for what is not known. Raises BriefError for an unknown target."""
    _axis(target)
    when = ""
    if time is not None:
        at = datetime.fromtimestamp(time, UTC)
        when = f", {DAYS[at.weekday()]} {PARTS[at.hour // 6]}"
    return f"{target} likes: {title[:200]}{f', {account[:100]}' if account else ''}{when}."


def form(objects: Sequence[str]) -> Form:
    """A design's JSON with its first object among `objects`; icg.design.schema says what the gaps allow."""
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
    said = {name[:-2] for name in names}
    for words, behind in ((BRIGHTNESS, '","'), (WARMTH, '","'), (VIVIDNESS, '"],"objects":["')):
        said.add((yield [f'{word}"' for word in words])[:-1])
        yield [behind[1:]]
    yield [json.dumps(name, ensure_ascii=False)[1:] for name in objects]
    for words, before in ((PLACES, '],"place":"'), (SIZES, ',"size":"'), (STYLES, ',"style":"')):
        yield [before]
        said.add((yield [f'{word}"' for word in words])[:-1])
    yield [',"avoid":[']
    avoided: list[str] = []
    while (yield ["]}", *(['"' if not avoided else ',"'] if len(avoided) < MAX_AVOID else [])]) != "]}":
        avoided.append((yield [f'{word}"' for word in AVOIDABLE if word not in said and word not in avoided])[:-1])


class DesignModel:
    """`write` gives designs. `folder` of icg.train.engagement.design holds the low-rank weights and the judge;
    without it the VLM writes untuned and
    whatever is likeliest, a baseline."""

    def __init__(self, vlm: Any, processor: Any, judge: DesignJudge | None = None) -> None:
        self._vlm, self._processor, self.judge, self.pieces = vlm, processor, judge, Pieces(processor.tokenizer)
        # The same items are asked about again and again, and designs take longer than a step.
        self._along = lru_cache(KEPT)(self._written_along)

    @classmethod
    def from_pretrained(cls, vlm: str | Path, folder: str | Path | None = None) -> DesignModel:
        """Raises CheckpointError for what is missing or does not fit the VLM."""
        model, processor = reading.load(vlm)
        if folder is None:
            return cls(model, processor)
        merge(model, Path(folder))
        return cls(model, processor, DesignJudge.from_pretrained(folder))

    def judged_by(self, judge: DesignJudge | None) -> DesignModel:
        """The same model with another judge, or none."""
        return DesignModel(self._vlm, self._processor, judge)

    def write(
        self, title: str, target: str = "high", account: str = "", time: float | None = None, count: int = 1, temperature: float = 0.0,
        objects: Sequence[str] = (),
    ) -> list[Design]:  # fmt: skip
        """`count` designs, sampled at temperatures above 0. At 0 the most fitting one, or where nobody judges the likeliest.

        objects: what the picture may show, by default its title alone. Raises BriefError for an unknown target or an empty title.
        """
        if not title.strip():
            raise BriefError("title=''; allowed: a title")
        written_for, told_from, guidance = _axis(target)
        named = tuple(name[:64] for name in objects or [title])
        if temperature == 0 and self.judge is not None:
            designs = self._along(title, account, time, named)
            return [designs[misses(self.judge(designs, [account] * len(designs)), target).argmin()]]
        firmly = (guidance,) * (count if temperature > 0 else 1)
        return self._filled(title, account, time, named, (written_for, told_from), firmly, temperature)

    def _written_along(self, title: str, account: str, time: float | None, named: tuple[str, ...]) -> list[Design]:
        ends = (("high", "low"), ("low", "high"))
        return [d for end in ends for d in self._filled(title, account, time, named, end, ALONG[end[0]])]

    def _filled(
        self, title: str, account: str, time: float | None, named: Sequence[str], end: tuple[str, str], firmly: Sequence[float],
        temperature: float = 0.0,
    ) -> list[Design]:  # fmt: skip
        inputs, other = (
            reading.inputs(self._processor, reading.plain(self._processor, asked(title, account, time, bucket)))
            for bucket in end
        )
        texts = fill(
            self._vlm, self.pieces, inputs, partial(form, named), len(firmly), temperature, other["input_ids"], firmly
        )
        return [Design.from_json(text) for text in texts]


def misses(scores: np.ndarray, target: str) -> np.ndarray:
    """(N,): how far each of the scores (N,) is from the highest of them, the lowest, or the middle between these."""
    low, high = scores.min(), scores.max()
    return np.abs(scores - {"low": low, "medium": (low + high) / 2, "high": high}[target])


def _axis(target: str) -> tuple[str, str, float]:
    if target not in AXIS:
        raise BriefError(f"target={target!r}; allowed: {', '.join(BUCKETS)}")
    return AXIS[target]


def merge(model: Any, folder: Path) -> None:
    """Add the low-rank weights of a folder (peft's files, which need no peft to be read) to a model's own.

    Raises CheckpointError when one is missing, or of a layer or width that the model does not have.
    """
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"design={str(folder)!r}: {path.name} is missing; allowed: icg.train.engagement.design's folder"
        )
    try:
        config, found = json.loads((folder / "adapter_config.json").read_text()), load_file(path)
        scale = config["lora_alpha"] / config["r"]
        for name in [name for name in found if name.endswith(DOWN)]:
            part = model.get_parameter(name.removeprefix(PREFIX).removesuffix(DOWN) + ".weight")
            up, down = (found[name.replace(".lora_A.", f".lora_{side}.")].to(part) for side in "BA")
            part.data += scale * up @ down
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"design={str(folder)!r}: does not fit the VLM ({error})") from error
