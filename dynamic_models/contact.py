"""Which keypoints touch a wall or another object, without dynamic shapes or synchronisation on a GPU."""

from dataclasses import dataclass

import torch

from dynamic_models.contact_search import nearest_squared

_FAR = 1e6  # metres: where points that do not exist are kept


@dataclass(frozen=True)
class WallContact:
    """Attributes:
    gaps: (B, O, 5), smallest distance of an object's points to each wall, metres, negative beyond it.
    points: (B, O, P), bool, which points are nearer than the threshold to any wall.
    """

    gaps: torch.Tensor
    points: torch.Tensor


@dataclass(frozen=True)
class PairContact:
    """Attributes:
    gaps: (B, O, O), smallest distance between points of objects i and j, metres.
    points: (B, O, O, P), bool, which points of i are nearer than the threshold to any point of j.
    touching: (B, O, O), bool, whether there is such a point; never for i = j.
    """

    gaps: torch.Tensor
    points: torch.Tensor
    touching: torch.Tensor


def wall_contact(world: torch.Tensor, mask: torch.Tensor, walls: torch.Tensor, threshold: float) -> WallContact:
    """Distances of world points (B, O, P, 3) to the walls (B, 5) of the box: x_min, x_max, y_min, y_max, floor."""
    x, y, z = world.unbind(-1)
    x_min, x_max, y_min, y_max, floor = (wall[:, None, None] for wall in walls.unbind(-1))
    distances = torch.stack([x - x_min, x_max - x, y - y_min, y_max - y, z - floor], -1)
    distances = distances.masked_fill(~mask[..., None], _FAR)
    return WallContact(distances.amin(-2), (distances < threshold).any(-1))


def pair_contact(world: torch.Tensor, mask: torch.Tensor, threshold: float) -> PairContact:
    """Distances between the points (B, O, P, 3) of every two objects.

    The search runs without gradients; the gaps are then taken once more from the nearest two points, so that they
    have the gradient of the smallest distance.
    """
    objects = world.shape[1]
    with torch.no_grad():
        squared = _nearest_squared(world, mask, threshold)
        points = (squared < threshold**2) & mask[:, :, None]
        nearest = squared.argmin(-1)
    batch = torch.arange(len(world), device=world.device)[:, None, None]
    rows = torch.arange(objects, device=world.device)[None, :, None]
    here = world[batch, rows, nearest]
    gaps = (here - here.transpose(1, 2)).square().sum(-1).clamp_min(1e-12).sqrt()
    touching = points.any(-1)
    # Beyond the threshold the search may stop early, and no caller looks at the exact distance.
    gaps = torch.where(touching, gaps, _FAR)
    return PairContact(gaps, points, touching)


def _nearest_squared(world: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
    """(B, O, O, P): squared distance of each point of i to the nearest point of j; _FAR for i = j and where the
    boxes around two objects are further apart than the threshold."""
    low = torch.where(mask[..., None], world, _FAR).amin(-2) - threshold
    high = torch.where(mask[..., None], world, -_FAR).amax(-2)
    near = ((low[:, :, None] <= high[:, None]) & (low[:, None] <= high[:, :, None])).all(-1)
    if world.is_cuda:
        return nearest_squared(world.float(), mask, near, _FAR).to(world.dtype)
    batch, objects, count, _ = world.shape
    squared = world.new_full((batch, objects, objects, count), _FAR)
    for i in range(objects):
        for j in range(i):
            if near[:, i, j].any():
                distances = _squared_distances(world[:, i], mask[:, i], world[:, j], mask[:, j])
                squared[:, i, j] = distances.amin(-1)
                squared[:, j, i] = distances.amin(-2)
    return squared


def _squared_distances(a: torch.Tensor, a_mask: torch.Tensor, b: torch.Tensor, b_mask: torch.Tensor) -> torch.Tensor:
    """(B, P, P) for a, b (B, P, 3); beyond any threshold where one of two points does not exist."""
    # About a place between the two the numbers are small, and so is what cancellation loses.
    middle = (a[:, :1] + b[:, :1]) / 2
    a, b = a - middle, b - middle
    a2 = torch.where(a_mask, (a * a).sum(-1), _FAR)
    b2 = torch.where(b_mask, (b * b).sum(-1), _FAR)
    with torch.autocast(a.device.type, enabled=False):
        return torch.baddbmm(b2[:, None, :], a, b.mT, alpha=-2).add_(a2[..., None])
