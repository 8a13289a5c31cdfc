"""Embeddings and stored rewards of pictures as a Triton model, by icg's judges. The preference depends on the user and is left out.

Errors start with their kind in brackets, as those of cover_generator: [INVALID_ARGUMENT] names the tensor.
"""

import os
from pathlib import Path
from typing import Any

# torch's OpenMP reads it: threads that spin while they wait make models on one machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import triton_python_backend_utils as pb
from icg import pictures as encoded
from icg import starter
from icg.brief import Brief
from icg.errors import BriefError, IcgError
from icg.gates.domain import DomainReward
from icg.models.trunk import one_pass
from icg.starter.rewards import load_all
from icg.users.numpy_encoder import cover_space

MAX_PICTURES = 64


class TritonPythonModel:
    """One instance: the joint embedding and the rewards of the checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the checkpoint. After a CheckpointError the model is not ready, and Triton reports the error."""
        self.root = Path(os.environ.get("EYECATCH_CHECKPOINT") or starter.path())
        space = Path(os.environ["EYECATCH_SPACE"]) if os.environ.get("EYECATCH_SPACE") else None
        self.embedding, rewards = starter.judges(self.root, space=space)
        rewards |= load_all(os.environ.get("EYECATCH_REWARDS", "")) | DomainReward.of(
            self.root, self.embedding.dual.trunk
        )
        self.rewards = {name: reward for name, reward in rewards.items() if name != "preference"}
        self.engagement: Any = None
        self.space = cover_space(self.root, space)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        if request.is_cancelled():  # cancelled while other requests were scored
            return pb.InferenceResponse(
                error=pb.TritonError("[CANCELLED] the caller is gone", pb.TritonError.CANCELLED)
            )
        try:
            tensors = self._score(request)
        except (IcgError, RuntimeError) as error:
            refused = isinstance(error, BriefError)
            word, code = (
                ("INVALID_ARGUMENT", pb.TritonError.INVALID_ARG) if refused else ("INTERNAL", pb.TritonError.INTERNAL)
            )
            return pb.InferenceResponse(error=pb.TritonError(f"[{word}] {error}", code))
        # By DLPack: the stub of this backend does not support arrays of numpy 2.
        return pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in tensors.items()])

    def _score(self, request: Any) -> dict[str, torch.Tensor]:
        files, words = _parts(request, "images", "image_lengths"), _parts(request, "titles", "title_lengths")
        if len(files) != len(words) or not 1 <= len(files) <= MAX_PICTURES:
            raise BriefError(
                f"title_lengths={len(words)} titles for {len(files)} images; allowed: one each, 1 to {MAX_PICTURES}"
            )
        pictures = [encoded.decode(data, f"images[{n}]") for n, data in enumerate(files)]
        briefs = [Brief(title=encoded.text(data, f"titles[{n}]")) for n, data in enumerate(words)]
        rewards = self.rewards | self._engaging(pb.get_input_tensor_by_name(request, "engaging"))
        with one_pass():
            embeddings = self.embedding.covers(pictures)
            values = [reward(pictures, briefs).astype(np.float64) for reward in rewards.values()]
        names = "\n".join(rewards).encode()
        return {
            "embeddings": torch.from_numpy(np.asarray(embeddings, np.float32).copy()),
            "rewards": torch.from_numpy(np.stack(values, 1)),
            "reward_names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            "space": torch.tensor([self.space]),
        }

    def _engaging(self, flag: Any) -> dict[str, Any]:
        """The reward `engagement` if the tensor `flag` is true. Loaded at the first use, because it needs a VLM."""
        if flag is None or not torch.from_dlpack(flag.to_dlpack()).any():
            return {}
        if self.engagement is None:
            if not (self.root / "engagement").is_dir():
                raise BriefError("engaging=true for a checkpoint without engagement/; allowed: false")
            self.engagement = starter.engagement(self.root, self.embedding)
        return {"engagement": self.engagement}


def _parts(request: Any, name: str, lengths_name: str) -> list[bytes]:
    data, lengths = (
        torch.from_dlpack(pb.get_input_tensor_by_name(request, each).to_dlpack()).numpy()
        for each in (name, lengths_name)
    )
    return encoded.split(data.tobytes(), lengths.tolist(), name, lengths_name)
