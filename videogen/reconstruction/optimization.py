"""Optimise Gaussians so that they look like posed pictures of one scene (Kerbl et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from scipy.spatial import cKDTree
from tqdm import tqdm

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.photometric_loss import photometric_loss
from videogen.reconstruction.plane_sweep import SweptDepth, unproject
from videogen.reconstruction.posing.posed_pictures import PosedPictures

_OBJECT_SHARE = 0.4  # of the Gaussians: objects are a small part of the pictures, and what all this is for


@dataclass(frozen=True)
class OptimizationSettings:
    """An ``OptimizationSettings`` says how long and with how many Gaussians a scene is optimised.

    Attributes:
        iterations: pictures to draw and compare.
        count: Gaussians to start with.
        most: Gaussians to end with, where gsplat adds them (CUDA).
        sh_degree: degree of the colours, 0 to 3.
        masks_every: iterations from one comparison of objects' silhouettes to the next.
        opacity_weight, scale_weight: of the mean opacity and size in the loss (Kheradmand et al. 2024).
    """

    iterations: int
    count: int
    most: int
    sh_degree: int = 2
    masks_every: int = 4
    opacity_weight: float = 0.01
    scale_weight: float = 0.01

    @staticmethod
    def suited_to(device: torch.device) -> "OptimizationSettings":
        """Return settings that take some minutes on a CPU and half a minute on a GPU."""
        if device.type == "cuda":
            return OptimizationSettings(iterations=3000, count=50_000, most=100_000)
        # Where no Gaussian is moved to another place, a weight on opacities makes objects of many faint ones.
        return OptimizationSettings(iterations=3000, count=20_000, most=20_000, opacity_weight=0.0)


def initial_gaussians(
    swept: SweptDepth, labels: torch.Tensor | None, count: int, sh_degree: int, seed: int = 0
) -> Gaussians:
    """Return ``count`` round Gaussians on the surfaces that a plane sweep has found.

    Args:
        swept: depth of the pictures.
        labels: (N, H, W), the object that each pixel shows, 0 for none; None: no objects are known. Gaussians get the
            label of their pixel, less 1.
    """
    device = swept.depth.device
    generator = torch.Generator().manual_seed(seed)
    means = unproject(swept.cameras, swept.depth).reshape(-1, 3)
    colors, consistent = swept.images.reshape(-1, 3), swept.consistent.flatten()
    pixel_labels = torch.zeros(len(means), dtype=torch.int32, device=device)
    if labels is not None:
        resized = torch.nn.functional.interpolate(labels[:, None].float(), swept.depth.shape[1:], mode="nearest")
        pixel_labels = resized.flatten().to(device, torch.int32)
    # Points on which the pictures do not agree are as good as any where nothing better is.
    weights = torch.where(consistent, 1.0, 0.1).where(~swept.refuted.flatten(), 0.001)
    of_object = pixel_labels > 0
    if of_object.any() and not of_object.all():
        weights[of_object] *= _OBJECT_SHARE / weights[of_object].sum()
        weights[~of_object] *= (1 - _OBJECT_SHARE) / weights[~of_object].sum()
    # PyTorch's multinomial takes 2^24 weights at most, fewer than many pictures have pixels.
    shares = weights.double().cpu().cumsum(0)
    drawn = torch.rand(count, generator=generator, dtype=torch.float64) * shares[-1]
    chosen = torch.searchsorted(shares, drawn, right=True).clamp_max(len(shares) - 1).to(device)
    means = means[chosen]
    spacing = torch.from_numpy(cKDTree(means.cpu().numpy()).query(means.cpu().numpy(), 4)[0][:, 1:]).float()
    spacing = spacing.square().mean(1).sqrt().to(device)
    spacing = spacing.clamp(1e-3 * spacing.median(), 10 * spacing.median())
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3, device=device)
    sh[:, :1] = rgb_to_sh(colors[chosen])
    return Gaussians(
        means=means,
        opacities=torch.full((count,), 0.5, device=device),
        sh=sh,
        scales=0.7 * spacing[:, None].repeat(1, 3),
        quaternions=torch.randn(count, 4, generator=generator).to(device),
        labels=pixel_labels[chosen] - 1,
    )


def optimize(
    pictures: PosedPictures,
    initial: Gaussians,
    settings: OptimizationSettings,
    labels: torch.Tensor | None = None,
    progress: str | None = None,
    seed: int = 0,
) -> Gaussians:
    """Return Gaussians that look like ``pictures`` from their cameras.

    The loss is (1 - w) L1 + w (1 - SSIM), with small weights on opacities and sizes; where ``labels`` are known, also
    how much of each object shows in each pixel. On a CUDA device gsplat's MCMC strategy moves transparent Gaussians to
    where they are needed, and adds some; on the CPU their number stays.

    Args:
        pictures: N of them, on the device of ``initial``.
        initial: Gaussians to start from, whose labels stay.
        settings: how long, and with how many Gaussians.
        labels: (N, H, W), the object that each pixel shows, 1 to K, 0 for none.
        progress: title of a progress bar, None for none.
        seed: of the order of pictures.
    """
    device = initial.device
    extent = 1.1 * (pictures.cameras.positions - pictures.cameras.positions.mean(0)).norm(dim=1).max().item()
    extent = extent or 1.0
    parameters = _parameters(initial)
    rates = {
        "means": 1.6e-4 * extent,
        "scales": 5e-3,
        "quats": 1e-3,
        "opacities": 5e-2,
        "sh0": 2.5e-3,
        "shN": 2.5e-3 / 20,
    }
    optimizers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam([{"params": parameters[name], "lr": rate, "name": name}], eps=1e-15, fused=True)
        for name, rate in rates.items()
    }
    strategy = _Strategy(settings) if device.type == "cuda" else None
    truth = pictures.images.float() / 255
    order = _shuffled(len(pictures), settings.iterations, seed)
    bar = tqdm(order, desc=progress, disable=progress is None, unit="picture", leave=False)
    for step, view in enumerate(bar):
        done = step / settings.iterations
        rate = rates["means"] * 0.01**done
        optimizers["means"].param_groups[0]["lr"] = rate
        camera = pictures.cameras[view : view + 1]
        gaussians = _gaussians(parameters)
        degree = min(settings.sh_degree, int(done * 4 * (settings.sh_degree + 1)))
        loss = photometric_loss(rasterize(gaussians, camera, sh_degree=degree).rgb[0], truth[view])
        loss = loss + settings.opacity_weight * gaussians.opacities.mean()
        loss = loss + settings.scale_weight * parameters["scales"].exp().mean() / extent
        if labels is not None and step % settings.masks_every == 0:
            loss = loss + _mask_loss(gaussians, camera, labels[view], step // settings.masks_every)
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if strategy is not None:
            strategy.step(parameters, optimizers, step, rate)
    finished = _gaussians({name: value.detach() for name, value in parameters.items()})
    return replace(finished, labels=finished.labels.int() if finished.labels is not None else None)


def _mask_loss(gaussians: Gaussians, camera: Cameras, labels: torch.Tensor, turn: int) -> torch.Tensor:
    """Return how far three objects' weights in the pixels are from the masks (H, W); ``turn`` chooses the three."""
    count = int(labels.max())
    if count == 0:
        return labels.new_zeros((), dtype=torch.float32)
    first = 3 * (turn % -(-count // 3))
    assert gaussians.labels is not None
    shown = torch.stack([gaussians.labels == label for label in range(first, first + 3)], 1)
    weights = rasterize(replace(gaussians, sh=rgb_to_sh(shown.float())), camera).rgb[0]
    masks = torch.stack([labels == label + 1 for label in range(first, first + 3)], -1)
    return (weights - masks.float()).abs().mean()


def _parameters(gaussians: Gaussians) -> dict[str, torch.nn.Parameter]:
    """Return what is optimised, under the names of gsplat's strategies; labels only travel along."""
    assert gaussians.scales is not None
    assert gaussians.quaternions is not None
    labels = gaussians.labels if gaussians.labels is not None else gaussians.means.new_full((len(gaussians),), -1)
    values = {
        "means": gaussians.means,
        "scales": gaussians.scales.log(),
        "quats": gaussians.quaternions,
        "opacities": gaussians.opacities.clamp(1e-4, 1 - 1e-4).logit(),
        "sh0": gaussians.sh[:, :1],
        "shN": gaussians.sh[:, 1:],
    }
    parameters = {name: torch.nn.Parameter(value.detach().clone().contiguous()) for name, value in values.items()}
    return {**parameters, "labels": torch.nn.Parameter(labels.float(), requires_grad=False)}


def _gaussians(parameters: Mapping[str, torch.Tensor]) -> Gaussians:
    return Gaussians(
        means=parameters["means"],
        opacities=parameters["opacities"].sigmoid(),
        sh=torch.cat([parameters["sh0"], parameters["shN"]], 1),
        scales=parameters["scales"].exp(),
        quaternions=parameters["quats"],
        labels=parameters["labels"],
    )


class _Strategy:
    """A ``_Strategy`` relocates and adds Gaussians with gsplat's MCMC strategy (Kheradmand et al. 2024)."""

    def __init__(self, settings: OptimizationSettings) -> None:
        from gsplat.strategy import MCMCStrategy

        self._strategy = MCMCStrategy(
            cap_max=settings.most, refine_start_iter=500, refine_stop_iter=int(0.8 * settings.iterations)
        )
        self._state = self._strategy.initialize_state()

    def step(
        self,
        parameters: dict[str, torch.nn.Parameter],
        optimizers: dict[str, torch.optim.Optimizer],
        step: int,
        rate: float,
    ) -> None:
        self._strategy.step_post_backward(parameters, optimizers, self._state, step, {}, rate)


def _shuffled(count: int, iterations: int, seed: int) -> list[int]:
    """Return numbers of pictures, each once in every round, in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(count, generator=generator) for _ in range(-(-iterations // count))]
    return torch.cat(rounds)[:iterations].tolist()
