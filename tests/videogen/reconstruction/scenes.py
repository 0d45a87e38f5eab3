"""A small posed scene: two speckled balls above a speckled floor, drawn from cameras around them."""

import torch

from gaussians.cameras import Cameras, Orbit
from gaussians.rasterization import instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.posing.posed_pictures import PosedPictures

FLOOR = -0.5
BALLS = (torch.tensor([0.0, 0.0, -0.2]), torch.tensor([0.35, 0.3, 0.15]))
RADIUS = 0.25
_ORBIT = Orbit(center=(0.0, 0.0, -0.2), azimuth=0.0, elevation=30.0, radius=2.5)


def speckled_scene() -> Gaussians:
    """6,000 opaque Gaussians: labels 0 and 1 for the balls, -1 for the floor over [-1, 1]^2."""
    generator = torch.Generator().manual_seed(0)
    waves = 10 * torch.randn(3, 6, generator=generator)  # per metre
    phases = 6.3 * torch.rand(6, generator=generator)

    def colors(points: torch.Tensor, color: tuple[float, float, float]) -> torch.Tensor:
        pattern = (points @ waves + phases).sin().view(-1, 3, 2).mean(-1)
        return (torch.tensor(color) + 0.3 * pattern).clamp(0, 1)

    axis = torch.linspace(-1, 1, 64)
    floor = torch.cartesian_prod(axis, axis, torch.tensor([FLOOR]))
    shells = [
        center + RADIUS * torch.nn.functional.normalize(torch.randn(1000, 3, generator=generator), dim=1)
        for center in BALLS
    ]
    means = torch.cat([floor, *shells])
    tints = ((0.4, 0.5, 0.4), (0.7, 0.3, 0.3), (0.3, 0.3, 0.7))
    return Gaussians(
        means=means,
        opacities=torch.full((len(means),), 0.95),
        sh=rgb_to_sh(torch.cat([colors(points, tint) for points, tint in zip((floor, *shells), tints, strict=True)])),
        scales=torch.cat([torch.tensor([0.02, 0.02, 0.002]).repeat(len(floor), 1), torch.full((2000, 3), 0.02)]),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1),
        labels=torch.cat([torch.full((len(floor),), -1), torch.zeros(1000), torch.ones(1000)]).int(),
    )


def orbit(count: int, resolution: int) -> Cameras:
    return _ORBIT.cameras([100 * k // count for k in range(count)], resolution)


def posed(gaussians: Gaussians, cameras: Cameras) -> tuple[PosedPictures, torch.Tensor]:
    """Pictures of Gaussians, and which object each pixel shows (N, H, W) uint8."""
    images = (rasterize(gaussians, cameras).rgb.clamp(0, 1) * 255).round().byte()
    count = len(cameras)
    pictures = PosedPictures(images, cameras, tuple(map(str, range(count))), tuple(range(count)), in_world=True)
    return pictures, instance_masks(gaussians, cameras, 2)
