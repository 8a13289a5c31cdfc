"""How a scheduler mixes latents: x = scale (alpha clean + sigma noise), whatever the family predicts.

Flow matching (arXiv:2210.02747), variance preserving (arXiv:2006.11239) and Karras-style (arXiv:2206.00364) schedulers of
diffusers, with epsilon, v (arXiv:2202.00512), sample or flow predictions. Knows no denoiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from icg.errors import CheckpointError

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")


@dataclass(frozen=True)
class Mixture:
    """The mixture at one timestep: numbers, or tensors (B, 1, 1, 1) if every latent has its own time."""

    alpha: Any
    sigma: Any
    scale: Any
    prediction: str

    def latents(self, clean: Tensor, noise: Tensor) -> Tensor:
        """x of a clean latent and noise."""
        return self.scale * (self.alpha * clean + self.sigma * noise)

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What a perfect denoiser predicts for that x."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "v_prediction":
            return self.alpha * noise - self.sigma * clean
        return clean if self.prediction == "sample" else noise - clean

    def noise(self, x: Tensor, prediction: Tensor) -> Tensor:
        """The noise that the denoiser's prediction implies."""
        if self.prediction == "epsilon":
            return prediction
        return (x / self.scale - self.alpha * self.clean(x, prediction)) / self.sigma

    def clean(self, x: Tensor, prediction: Tensor) -> Tensor:
        """The clean latent that the denoiser's prediction implies (one-step x0)."""
        x = x / self.scale
        if self.prediction == "epsilon":
            return (x - self.sigma * prediction) / self.alpha
        if self.prediction == "v_prediction":
            return self.alpha * x - self.sigma * prediction
        return prediction if self.prediction == "sample" else x - self.sigma * prediction


def is_flow(scheduler: Any) -> bool:
    """Whether the scheduler interpolates linearly from clean to noise."""
    config = scheduler.config
    return bool(
        type(scheduler).__name__.startswith("FlowMatch")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    )


def mixture(scheduler: Any, step: int) -> Mixture:
    """The mixture at step `step` of a scheduler whose timesteps are set. Raises CheckpointError for an unknown prediction type."""
    if is_flow(scheduler):
        sigma = float(scheduler.sigmas[step])
        return Mixture(1 - sigma, sigma, 1.0, "flow_prediction")
    prediction = prediction_of(scheduler)
    if float(scheduler.init_noise_sigma) > 1.5:
        sigma = float(scheduler.sigmas[step])
        scale = (sigma**2 + 1) ** 0.5
        return Mixture(1 / scale, sigma / scale, scale, prediction)
    alphas_cumprod = float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
    return Mixture(alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5, 1.0, prediction)


def random_mixture(scheduler: Any, count: int) -> tuple[Mixture, Tensor]:
    """Training times for `count` latents: their mixture, and the denoiser's timesteps (B,).

    Logit-normal for flows (arXiv:2403.03206), uniform otherwise.
    """
    steps = int(scheduler.config.num_train_timesteps)
    if is_flow(scheduler):
        time = torch.sigmoid(torch.randn(count))
        sigma = time[:, None, None, None]
        return Mixture(1 - sigma, sigma, 1.0, "flow_prediction"), time * steps
    timesteps = torch.randint(0, steps, (count,))
    alphas_cumprod = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    return Mixture(alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5, 1.0, prediction_of(scheduler)), timesteps


def prediction_of(scheduler: Any) -> str:
    """What a denoiser of this scheduler predicts, one of PREDICTIONS. Raises CheckpointError for anything else."""
    prediction = str(scheduler.config.get("prediction_type", "epsilon"))
    if prediction not in PREDICTIONS:
        raise CheckpointError(f"scheduler prediction_type={prediction!r}; allowed: {', '.join(PREDICTIONS)}")
    return prediction
