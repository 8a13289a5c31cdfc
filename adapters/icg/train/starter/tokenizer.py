"""The starter's small tokenizer: byte-level BPE learned on titles and look words. Knows nothing about images."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
IMAGE_TOKEN = "<image>"  # noqa: S105


def train_tokenizer(corpus: list[str], vocab: int = 1024) -> PreTrainedTokenizerFast:
    """Train a lower-cased byte-level BPE of at most `vocab` tokens; it can encode any text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=1,
        special_tokens=[*SPECIAL.values(), IMAGE_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, extra_special_tokens={"image_token": IMAGE_TOKEN}, padding_side="right"
    )


def variation(title: str, pick: int) -> str:
    """A variant of a title as in a shop; of pick 0..9 most give the plain title."""
    return {0: f"a {title}", 1: f"the {title}", 2: f"{title} picture"}.get(pick, title)
