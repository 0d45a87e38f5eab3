"""This module casts soft shadows of objects onto the floor, so that one sees whether they touch it.

The light comes straight from above and is wide: the higher what casts a shadow, the wider and fainter it is. Gaussians
of the floor are darkened; where there are none, as in the ground's light squares, a sheet of flat dark ones lies.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from gaussians.covariance import pack_covariance
from gaussians.files.trajectory_format import PUBLISHED_WALLS
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh

FLOOR_THICKNESS = 0.06
"""Metres above and below the floor within which a background's Gaussians are taken for it."""
_CELL = 0.025  # metres
_ABOVE = 0.004  # metres over the floor: where the sheet lies
_DARKEST = 0.7  # share of the light that what lies on the floor takes
_SLICES = (0.0, 0.06, 0.15, 0.3, 0.6, 1.2)  # heights over the floor that part objects into layers, metres
_SPREAD = 0.3  # metres of blur a metre of height
_FADING = 0.8  # metres over which a shadow loses two thirds of its strength
_LEAST = 0.01  # share of the light that nobody misses
_MOST_CELLS = 400  # along each side; what flew further away casts none


@dataclass(frozen=True)
class FloorLight:
    """Says how much light reaches the floor.

    Attributes:
        light: (H, W), its share at the corners of a grid, along x and y; beyond it all of it does.
        corner: (2,), x and y of the first of them, metres.
        floor: z of the floor, metres.
    """

    light: torch.Tensor
    corner: torch.Tensor
    floor: float

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Return the share of the light at points (N, 3), metres, of the floor."""
        places = (points[:, :2] - self.corner) / _CELL
        size = torch.tensor(self.light.shape, device=points.device)
        inside = ((places >= 0) & (places <= size - 1)).all(1)
        low = torch.minimum(places.clamp_min(0).floor(), size - 2)
        u, v = (places - low).unbind(1)
        i, j = low.long().unbind(1)
        near, far = (self.light[i + k, j] * (1 - v) + self.light[i + k, j + 1] * v for k in range(2))
        return torch.where(inside, near * (1 - u) + far * u, 1.0)

    def darkened(self, gaussians: Gaussians) -> torch.Tensor:
        """Return the colours (N, K, 3) that Gaussians of the floor have in this light."""
        light = self.at(gaussians.means)[:, None]
        dark = rgb_to_sh(torch.zeros(1, 3, device=gaussians.device))
        sh = gaussians.sh * light[:, None]
        sh[:, :1] += (1 - light)[:, None] * dark
        return sh

    def sheet(self) -> Gaussians:
        """Return flat dark Gaussians with covariances that take the light away, just above the floor."""
        lost = 1 - self.light
        rows, columns = (lost > _LEAST).nonzero(as_tuple=True)
        places = torch.stack([rows, columns], 1) * _CELL + self.corner
        count, sigma, device = len(rows), 0.8 * _CELL, lost.device
        flat = torch.diag(torch.tensor([sigma**2, sigma**2, 1e-7], device=device))
        heights = torch.full((count, 1), self.floor + _ABOVE, device=device)
        return Gaussians(
            means=torch.cat([places, heights], 1),
            # Neighbours overlap: all of them together have the opacity that is wanted.
            opacities=1 - (1 - lost[rows, columns]) ** (_CELL**2 / (2 * torch.pi * sigma**2)),
            sh=rgb_to_sh(torch.zeros(count, 3, device=device)),
            covariances=pack_covariance(flat).expand(count, 6).clone(),
        )


def floor_light(gaussians: Gaussians, floor: float = PUBLISHED_WALLS.floor) -> FloorLight:
    """Return the light that moving Gaussians, N of them, leave to the floor.

    Args:
        floor: z of the floor, metres.
    """
    device = gaussians.device
    heights = gaussians.means[:, 2] - floor
    casting = (heights > -_SLICES[1]) & (heights < _SLICES[-1]) & gaussians.means.isfinite().all(1)
    if not casting.any():
        return FloorLight(torch.ones(2, 2, device=device), torch.zeros(2, device=device), floor)
    means, heights = gaussians.means[casting], heights[casting].clamp_min(0)
    middle = means[:, :2].mean(0)
    reach = float((means[:, :2] - middle).abs().amax()) + 3 * _SPREAD * _SLICES[-1] / 2
    side = min(_MOST_CELLS, 2 * int(reach / _CELL) + 2)
    corner = ((middle / _CELL).round() - side / 2) * _CELL

    covariances = gaussians.covariance()[casting]
    area = 2 * torch.pi * (covariances[:, 0] * covariances[:, 3] - covariances[:, 1] ** 2).clamp_min(0).sqrt()
    hiding = gaussians.opacities[casting] * area / _CELL**2  # how much a Gaussian hides of a cell
    light = torch.ones(side, side, device=device)
    for low, high in pairwise(_SLICES):
        layer = (heights >= low) & (heights < high)
        depth = _deposited((means[layer, :2] - corner) / _CELL, hiding[layer], side)
        height = (low + high) / 2
        hidden = _blurred(1 - torch.exp(-depth), max(1.0, _SPREAD * height / _CELL))
        light = light * (1 - _DARKEST * math.exp(-height / _FADING) * hidden)
    return FloorLight(light, corner, floor)


def _deposited(places: torch.Tensor, weights: torch.Tensor, side: int) -> torch.Tensor:
    """Return what Gaussians put into each cell (side, side), shared bilinearly between four of them.

    Args:
        places: (N, 2), in cells.
        weights: (N,).
    """
    cells = torch.zeros((side + 1) ** 2, device=places.device)
    low = places.floor()
    fraction = places - low
    inside = ((low >= 0) & (low < side)).all(1)
    low, fraction, weights = low[inside].long(), fraction[inside], weights[inside]
    for i in range(2):
        for j in range(2):
            share = (fraction[:, 0] if i else 1 - fraction[:, 0]) * (fraction[:, 1] if j else 1 - fraction[:, 1])
            cells.index_add_(0, (low[:, 0] + i) * (side + 1) + low[:, 1] + j, weights * share)
    return cells.view(side + 1, side + 1)[:side, :side]


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return an image (H, W) convolved with a Gaussian of ``sigma`` pixels."""
    radius = int(3 * sigma) + 1
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    rows = torch.nn.functional.conv2d(image[None, None], kernel[None, None, :, None], padding=(radius, 0))
    return torch.nn.functional.conv2d(rows, kernel[None, None, None], padding=(0, radius))[0, 0]
