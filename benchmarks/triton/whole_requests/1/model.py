"""Whole requests: a batch is drawn to its end and answered then. Any steps go together and what is through is not computed further."""

import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import triton_python_backend_utils as pb
from icg import starter
from icg.brief import Brief
from icg.pipeline import CoverPipeline
from icg.scheduler.engine import StepScheduler
from icg.scheduler.sampler import Run

SIZE = (128, 128)


class TritonPythonModel:
    """The model is prepared as for the step scheduler, which lends it and idles."""

    def initialize(self, args: dict[str, str]) -> None:
        self.ours = StepScheduler(CoverPipeline.from_pretrained(starter.path()), rows=16)

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        pipeline, runs = self.ours._pipeline, []
        for request in requests:
            title, user, seed, steps = (
                torch.from_dlpack(pb.get_input_tensor_by_name(request, name).to_dlpack())[0].numpy().copy()
                for name in ("title", "user_embedding", "seed", "steps")
            )
            brief = Brief(title.tobytes().decode().strip(), (), user, seed=int(seed[0]), steps=int(steps[0]))
            runs.append(Run(pipeline, brief, self.ours._conditions(brief, brief.item_digest())))
        while going := [run for run in runs if not run.finished]:
            for run, said in zip(going, self.ours._denoise(SIZE, "", going), strict=True):
                run.advance(said)
        made = pipeline._images(torch.cat([run.latents for run in runs]))
        tensors = [torch.from_numpy(np.asarray(image).copy())[None] for image in made]
        return [pb.InferenceResponse([pb.Tensor.from_dlpack("image", tensor)]) for tensor in tensors]

    def finalize(self) -> None:
        self.ours.close()
