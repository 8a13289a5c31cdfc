"""Whole requests: a batch is drawn to its end and answered then.

Under the name whole_calls by calls of the pipeline, one for those of equal steps, as a pipeline is called. Otherwise, the strongest of its
kind, any steps go together and what is through is not computed further.
"""

import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import triton_python_backend_utils as pb
from icg import starter
from icg.brief import Brief
from icg.draw.pipeline import CoverPipeline
from icg.scheduler.engine import StepScheduler
from PIL import Image

SIZE = (128, 128)


class TritonPythonModel:
    """The model is prepared as for the step scheduler, which lends it and idles."""

    def initialize(self, args: dict[str, str]) -> None:
        self.calls = args["model_name"] == "whole_calls"
        self.ours = StepScheduler(CoverPipeline.from_pretrained(starter.path()), rows=16)

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        pipeline, briefs = self.ours._pipeline, []
        for request in requests:
            title, user, seed, steps = (
                torch.from_dlpack(pb.get_input_tensor_by_name(request, name).to_dlpack())[0].numpy().copy()
                for name in ("title", "user_embedding", "seed", "steps")
            )
            briefs.append(Brief(title.tobytes().decode().strip(), (), user, seed=int(seed[0]), steps=int(steps[0])))
        covers = self._by_calls(pipeline, briefs) if self.calls else self._together(pipeline, briefs)
        tensors = [torch.from_numpy(np.asarray(image).copy())[None] for image in covers]
        return [pb.InferenceResponse([pb.Tensor.from_dlpack("image", tensor)]) for tensor in tensors]

    def _by_calls(self, pipeline: CoverPipeline, briefs: list[Brief]) -> list[Image.Image]:
        covers: dict[int, Image.Image] = {}
        for steps in {b.steps for b in briefs}:
            which = [n for n, b in enumerate(briefs) if b.steps == steps]
            covers |= zip(which, pipeline([briefs[n] for n in which]), strict=True)
        return [covers[n] for n in range(len(briefs))]

    def _together(self, pipeline: CoverPipeline, briefs: list[Brief]) -> list[Image.Image]:
        runs = [pipeline.sampler(b) for b in briefs]
        while going := [run for run in runs if not run.finished]:
            for run, predictions in zip(going, self.ours._denoise(SIZE, "", None, going), strict=True):
                run.advance(predictions)
        return pipeline.family.images(torch.cat([run.latents for run in runs]))

    def finalize(self) -> None:
        self.ours.close()
