"""Generate the latents of an object's four views from the latent of a picture, by a guided reverse diffusion."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch.nn.functional import interpolate

from externals.diffsplat.orbit import VIEWS
from externals.diffsplat.versions import Version

_STEPS: dict[Version, int] = {"sd15": 20, "sd35m": 28}
_LEAST_GUIDANCE, _MOST_GUIDANCE = 1.0, 2.0


@dataclass(frozen=True)
class TextEmbeddings:
    """A ``TextEmbeddings`` is what the negative prompt and the prompt say, in this order.

    Attributes:
        tokens: (2, S, C).
        pooled: (2, P), of the text as a whole; SD 3.5 alone has it.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor | None = None


def make_scheduler(version: Version) -> DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler:
    """Return the sampler of a version, with its time steps set.

    For SD 1.5 it is the stochastic DPM-Solver++ (Lu et al. 2022) of second order on Stable Diffusion's noise levels,
    which are not rescaled to zero signal; for SD 3.5 Euler's method along straight flows (Esser et al. 2024).
    """
    scheduler: DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler
    if version == "sd35m":
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    else:
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=1000,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            solver_order=2,
            algorithm_type="sde-dpmsolver++",
            timestep_spacing="trailing",
            prediction_type="v_prediction",
        )
    scheduler.set_timesteps(_STEPS[version])
    return scheduler


def guidance_of_views() -> torch.Tensor:
    """Return how strongly each view (4,) follows the text and the picture: the more, the farther it is from view 0."""
    rising = torch.linspace(_LEAST_GUIDANCE, _MOST_GUIDANCE, VIEWS // 2 + 1)
    return torch.cat([rising, rising[1:-1].flip(0)])


def generate_latents(
    denoiser: UNet2DConditionModel | SD3Transformer2DModel,
    version: Version,
    condition: torch.Tensor,
    plucker: torch.Tensor,
    text: TextEmbeddings,
    noise: Callable[[torch.Size], torch.Tensor],
) -> torch.Tensor:
    """Return the latents (4, C, h, w) of the four views.

    Args:
        denoiser: one that attends over 1 + 4 views.
        condition: (C, h, w), scaled latent of the picture.
        plucker: (5, 6, H, W), rays of the picture and of the four views.
        text: negative prompt and prompt.
        noise: returns standard normal numbers of a shape: at first the latents to start with, then those that the
            sampler of SD 1.5 adds at each step.
    """
    scheduler = make_scheduler(version)
    size = condition.shape[-2:]
    rays = interpolate(plucker, size=size, mode="bilinear", align_corners=False)
    generated = torch.ones(1 + VIEWS, 1, *size).to(rays)
    generated[0] = 0
    known = torch.cat([rays, generated], 1)
    guidance = guidance_of_views().to(condition)[:, None, None, None]
    shape = torch.Size((VIEWS, *condition.shape))
    latents = noise(shape)
    for step in scheduler.timesteps:
        samples = torch.cat(
            [
                torch.cat([torch.cat([picture[None], latents]), known], 1)
                for picture in (torch.zeros_like(condition), condition)
            ]
        )
        without, guided = _predict(denoiser, samples, step.to(condition.device), text).chunk(2)
        prediction = without + guidance * (guided - without)
        if version == "sd35m":
            latents = scheduler.step(prediction, step, latents).prev_sample
        else:
            latents = scheduler.step(prediction, step, latents, variance_noise=noise(shape)).prev_sample
    return latents


def _predict(
    denoiser: UNet2DConditionModel | SD3Transformer2DModel,
    samples: torch.Tensor,
    step: torch.Tensor,
    text: TextEmbeddings,
) -> torch.Tensor:
    """Return what is predicted of the generated views, (2 x 4, C, h, w) in float32: without guidance, then with it."""
    with torch.autocast(samples.device.type, torch.bfloat16, enabled=samples.is_cuda):
        if isinstance(denoiser, SD3Transformer2DModel):
            predicted = denoiser(
                samples,
                encoder_hidden_states=text.tokens,
                pooled_projections=text.pooled,
                timestep=step.expand(len(text.tokens)),
                return_dict=False,
            )[0]
        else:
            tokens = text.tokens.repeat_interleave(1 + VIEWS, 0)
            predicted = denoiser(samples, step, encoder_hidden_states=tokens, return_dict=False)[0]
    return predicted.float().unflatten(0, (2, 1 + VIEWS))[:, 1:].flatten(0, 1)
