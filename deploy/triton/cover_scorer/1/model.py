"""Embeddings and stored rewards of pictures behind Triton. Thin: icg's judges do the work. Preference is not stored: it is a user's.

Refusals begin with a word in brackets, as those of cover_generator do: [INVALID_ARGUMENT] names the tensor.
"""

import io
import os
from itertools import accumulate
from pathlib import Path
from typing import Any

# Read when torch loads OpenMP: threads that spin while they wait make models beside each other ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import triton_python_backend_utils as pb
from icg import starter
from icg.brief import MAX_PIXELS, Brief
from icg.errors import BriefError, IcgError
from icg.user_reader import cover_space
from PIL import Image

MAX_PICTURES = 64


class TritonPythonModel:
    """One instance: the joint embedding and the rewards of the checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load them; CheckpointError keeps the model from being ready, and Triton says why."""
        root = Path(os.environ.get("EYECATCH_CHECKPOINT") or starter.path())
        self.embedding, rewards = starter.judges(root)
        self.rewards = {name: reward for name, reward in rewards.items() if name != "preference"}
        self.space = cover_space(root)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        if request.is_cancelled():  # its caller went away while others were scored
            return pb.InferenceResponse(error=pb.TritonError("[CANCELLED] nobody waits", pb.TritonError.CANCELLED))
        try:
            tensors = self._score(request)
        except (IcgError, RuntimeError) as error:
            refused = isinstance(error, BriefError)
            word, code = (
                ("INVALID_ARGUMENT", pb.TritonError.INVALID_ARG) if refused else ("INTERNAL", pb.TritonError.INTERNAL)
            )
            return pb.InferenceResponse(error=pb.TritonError(f"[{word}] {error}", code))
        # By DLPack: the stub of this backend does not know arrays of numpy 2.
        return pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in tensors.items()])

    def _score(self, request: Any) -> dict[str, torch.Tensor]:
        files, words = _parts(request, "images", "image_lengths"), _parts(request, "titles", "title_lengths")
        if len(files) != len(words) or len(files) > MAX_PICTURES:
            raise BriefError(
                f"title_lengths={len(words)} titles for {len(files)} images; allowed: one each, at most {MAX_PICTURES}"
            )
        pictures = [_picture(n, data) for n, data in enumerate(files)]
        briefs = [Brief(title=_title(n, data)) for n, data in enumerate(words)]
        values = [reward(pictures, briefs).astype(np.float64) for reward in self.rewards.values()]
        names = "\n".join(self.rewards).encode()
        return {
            "embeddings": torch.from_numpy(np.asarray(self.embedding.covers(pictures), np.float32).copy()),
            "rewards": torch.from_numpy(np.stack(values, 1)),
            "reward_names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            "space": torch.tensor([self.space]),
        }


def _parts(request: Any, name: str, lengths_name: str) -> list[bytes]:
    data, lengths = (
        torch.from_dlpack(pb.get_input_tensor_by_name(request, each).to_dlpack()).numpy()
        for each in (name, lengths_name)
    )
    sizes = lengths.tolist()
    if not sizes or min(sizes) < 1 or sum(sizes) != len(data):
        raise BriefError(
            f"{lengths_name}={sizes[:9]} for {len(data)} bytes of {name}; allowed: one or more, each above 0, together the bytes"
        )
    whole, ends = data.tobytes(), list(accumulate(sizes))
    return [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _picture(n: int, data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        if picture.width * picture.height > MAX_PIXELS:
            raise BriefError(f"images[{n}] of {picture.width} x {picture.height}; allowed: at most {MAX_PIXELS} pixels")
        return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BriefError(
            f"images[{n}] of {len(data)} bytes cannot be decoded; allowed: whole PNG, JPEG or WebP"
        ) from error


def _title(n: int, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BriefError(f"titles[{n}] of {len(data)} bytes; allowed: UTF-8 ({error.reason})") from error
