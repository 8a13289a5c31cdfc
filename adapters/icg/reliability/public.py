"""Full-size encoders, transformers' ResNet and RoBERTa, and any encoder by name. Reads safetensors only, runs no code of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from icg.checkpoints import read_json, weights
from icg.errors import CheckpointError, IcgError
from icg.reliability.encoders import ImageEncoder, SmallImage, SmallText, TextEncoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of the channels that public ResNets were trained with."""
ROBERTAS = ("roberta", "xlm-roberta")
"""model_type of what may read captions."""
BASE: dict[str, Any] = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
"""Where RoBERTa's base checkpoint differs from transformers' defaults."""
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model")
"""Without one of these files transformers makes a tokenizer all the same, and it knows no word."""


class ResNetImage(ImageEncoder):
    """`model`: a ResNetModel of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, config = model, model.config
        self.width = config.hidden_sizes[-1]
        self.stride = 4 * 2 ** (len(config.hidden_sizes) - 1 + bool(config.downsample_in_first_stage))
        for name, row in zip(("mean", "deviation"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(row)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels are brought to ImageNet's mean and deviation."""
        return self.model((pixels / 2 + 0.5 - self.mean) / self.deviation).last_hidden_state

    def save_files(self, folder: Path) -> None:
        """config.json."""
        self.model.config.save_pretrained(folder)


class RobertaText(TextEncoder):
    """`model`: a RobertaModel of transformers, or its kin that reads more languages. Without a tokenizer it reads only token ids."""

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        super().__init__()
        self.model, self.tokenizer, config = model, tokenizer, model.config
        self.width, self.vocabulary = config.hidden_size, config.vocab_size
        self.longest = config.max_position_embeddings - config.pad_token_id - 1  # its places are counted from there
        if tokenizer is not None and len(tokenizer) > self.vocabulary:
            raise CheckpointError(f"text: a tokenizer of {len(tokenizer)} tokens; allowed: at most {self.vocabulary}")

    def tokens(self, captions: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
        """IcgError without a tokenizer."""
        if self.tokenizer is None:
            raise IcgError("text: this RoBERTa has no tokenizer; allowed: one from a folder or a hub id that has")
        made = self.tokenizer(list(captions), padding=True, truncation=True, max_length=most, return_tensors="pt")
        return made["input_ids"], made["attention_mask"].bool()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Its last hidden states."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    def save_files(self, folder: Path) -> None:
        """config.json, and the tokenizer's files."""
        self.model.config.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)


def image_encoder(
    name: str, source: str | Path | None = None, trained: bool = True, channels: int = 64
) -> ImageEncoder:
    """`name`: "small" or "resnet". `source`: a folder or a hub id, of which only config.json is read unless `trained`.

    Without a source the weights are random, and a ResNet is ResNet-50. CheckpointError when the source holds no such model.
    """
    if name == "small":
        _no_source("image", source)
        return SmallImage(channels)
    if source is None:
        from transformers import ResNetConfig, ResNetModel

        return ResNetImage(ResNetModel(ResNetConfig()))
    return ResNetImage(_opened("image", source, ("resnet",), trained))


def text_encoder(name: str, longest: int, source: str | Path | None = None, trained: bool = True) -> TextEncoder:
    """As `image_encoder`: "small" for captions of `longest` tokens, or "roberta", without a source of the base size."""
    if name == "small":
        _no_source("text", source)
        return SmallText(longest)
    if source is None:
        from transformers import RobertaConfig, RobertaModel

        return RobertaText(RobertaModel(RobertaConfig(**BASE), add_pooling_layer=False))
    return RobertaText(_opened("text", source, ROBERTAS, trained, add_pooling_layer=False), _tokenizer(source, trained))


def _no_source(part: str, source: str | Path | None) -> None:
    if source is not None:
        raise IcgError(f"{part}={str(source)!r} for a small encoder; allowed: None, it has no checkpoints of its own")


def _local(source: str | Path) -> bool:
    """Else the name of a checkpoint on the hub."""
    return isinstance(source, Path) or Path(source).is_absolute() or Path(source).exists()


def _opened(part: str, source: str | Path, types: tuple[str, ...], trained: bool, **more: bool) -> Any:
    from transformers import AutoConfig, AutoModel

    where, local = f"{part}={str(source)!r}", _local(source)
    if local:
        read_json(part, Path(source) / "config.json")
        if trained:
            weights(part, Path(source))
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise CheckpointError(f"{where}: config.json is not readable ({error}); allowed: one of {types}") from error
    if config.model_type not in types:
        raise CheckpointError(f"{where}: a {config.model_type}; allowed: {', '.join(types)}")
    how = {"dtype": torch.float32, **more}
    try:
        if not trained:
            return AutoModel.from_config(config, **how)
        model, report = AutoModel.from_pretrained(
            source, config=config, use_safetensors=True, local_files_only=local, output_loading_info=True, **how
        )
    except (OSError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{where}: not readable ({error}); allowed: a transformers checkpoint") from error
    if missing := sorted(report["missing_keys"]):  # transformers would go on with random numbers
        raise CheckpointError(f"{where}: {len(missing)} weights are missing ({missing[0]}); allowed: all of its config")
    return model


def _tokenizer(source: str | Path, needed: bool) -> Any:
    """None where a folder has none and none is `needed`."""
    from transformers import AutoTokenizer

    local = _local(source)
    if local and not any((Path(source) / name).is_file() for name in VOCABULARIES):
        if needed:
            raise CheckpointError(f"text={str(source)!r}: no tokenizer; allowed: one of {', '.join(VOCABULARIES)}")
        return None
    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"text={str(source)!r}: the tokenizer is not readable ({error})") from error
