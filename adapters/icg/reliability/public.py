"""Full-size encoders, ResNet and RoBERTa of transformers, and every encoder by name. Reads safetensors, runs no code of a checkpoint."""

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
"""Mean and deviation of ImageNet's channels, with which public ResNets were trained."""
ROBERTAS = ("roberta", "xlm-roberta")
"""model_type of caption encoders."""
BASE: dict[str, Any] = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
"""Differences of RoBERTa's base checkpoint from transformers' defaults."""
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model")
"""Without one of these files, transformers creates a tokenizer that knows no word."""


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
        """Normalises the pixels with ImageNet's mean and deviation."""
        return self.model((pixels / 2 + 0.5 - self.mean) / self.deviation).last_hidden_state

    def save_files(self, folder: Path) -> None:
        """Write config.json."""
        self.model.config.save_pretrained(folder)


class RobertaText(TextEncoder):
    """`model`: a RobertaModel of transformers, or its multilingual variant. Without a tokenizer it takes token ids only."""

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        super().__init__()
        self.model, self.tokenizer, config = model, tokenizer, model.config
        self.width, self.vocabulary = config.hidden_size, config.vocab_size
        self.longest = config.max_position_embeddings - config.pad_token_id - 1  # positions start after pad_token_id
        if tokenizer is not None and len(tokenizer) > self.vocabulary:
            raise CheckpointError(f"text: a tokenizer of {len(tokenizer)} tokens; allowed: at most {self.vocabulary}")

    def tokens(self, captions: Sequence[str], most: int) -> tuple[Tensor, Tensor]:
        """Raises IcgError without a tokenizer."""
        if self.tokenizer is None:
            raise IcgError("text: this RoBERTa has no tokenizer; allowed: one from a folder or a hub id that has")
        batch = self.tokenizer(list(captions), padding=True, truncation=True, max_length=most, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"].bool()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    def save_files(self, folder: Path) -> None:
        """Write config.json and the tokenizer's files."""
        self.model.config.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)


def image_encoder(
    name: str, source: str | Path | None = None, trained: bool = True, channels: int = 64
) -> ImageEncoder:
    """`name`: "small" or "resnet". `source`: a folder or a hub id; without `trained` only its config.json is read.

    Without a source the weights are random, and a ResNet is a ResNet-50. Raises CheckpointError if the source holds no such model.
    """
    if name == "small":
        _no_source("image", source)
        return SmallImage(channels)
    if source is None:
        from transformers import ResNetConfig, ResNetModel

        return ResNetImage(ResNetModel(ResNetConfig()))
    return ResNetImage(_load_model("image", source, ("resnet",), trained))


def text_encoder(name: str, longest: int, source: str | Path | None = None, trained: bool = True) -> TextEncoder:
    """Like `image_encoder`: "small" for captions of `longest` tokens, or "roberta", of the base size without a source."""
    if name == "small":
        _no_source("text", source)
        return SmallText(longest)
    if source is None:
        from transformers import RobertaConfig, RobertaModel

        return RobertaText(RobertaModel(RobertaConfig(**BASE), add_pooling_layer=False))
    return RobertaText(
        _load_model("text", source, ROBERTAS, trained, add_pooling_layer=False), _tokenizer(source, trained)
    )


def _no_source(part: str, source: str | Path | None) -> None:
    if source is not None:
        raise IcgError(f"{part}={str(source)!r} for a small encoder; allowed: None, it has no checkpoints of its own")


def _is_folder(source: str | Path) -> bool:
    """Whether it is a folder; else the name of a checkpoint on the hub."""
    return isinstance(source, Path) or Path(source).is_absolute() or Path(source).exists()


def _load_model(part: str, source: str | Path, types: tuple[str, ...], trained: bool, **options: bool) -> Any:
    from transformers import AutoConfig, AutoModel

    prefix, local = f"{part}={str(source)!r}", _is_folder(source)
    if local:
        read_json(part, Path(source) / "config.json")
        if trained:
            weights(part, Path(source))
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise CheckpointError(f"{prefix}: config.json is not readable ({error}); allowed: one of {types}") from error
    if config.model_type not in types:
        raise CheckpointError(f"{prefix}: a {config.model_type}; allowed: {', '.join(types)}")
    kwargs = {"dtype": torch.float32, **options}
    try:
        if not trained:
            return AutoModel.from_config(config, **kwargs)
        model, report = AutoModel.from_pretrained(
            source, config=config, use_safetensors=True, local_files_only=local, output_loading_info=True, **kwargs
        )
    except (OSError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{prefix}: not readable ({error}); allowed: a transformers checkpoint") from error
    if missing := sorted(report["missing_keys"]):  # transformers would use random weights
        raise CheckpointError(
            f"{prefix}: {len(missing)} weights are missing ({missing[0]}); allowed: all weights of its config.json"
        )
    return model


def _tokenizer(source: str | Path, needed: bool) -> Any:
    """None for a folder without a tokenizer unless one is `needed`."""
    from transformers import AutoTokenizer

    local = _is_folder(source)
    if local and not any((Path(source) / name).is_file() for name in VOCABULARIES):
        if needed:
            raise CheckpointError(f"text={str(source)!r}: no tokenizer; allowed: one of {', '.join(VOCABULARIES)}")
        return None
    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"text={str(source)!r}: the tokenizer is not readable ({error})") from error
