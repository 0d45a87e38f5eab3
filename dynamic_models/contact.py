"""Which keypoints touch a wall or another object, without dynamic shapes or synchronisation on a GPU."""

from dataclasses import dataclass

import torch

from dynamic_models.contact_search import nearest_squared, sums_over_others

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


@dataclass(frozen=True)
class BodyContact:
    """Attributes:
    nearness: (B, O, P), 0 for points beyond the reach of other objects, about 1 at their surface, more inside.
    normals: (B, O, P, 3), unit vectors out of the object that is nearest; 0 where there is none.
    velocities: (B, O, P, 3), of that object near the point, m/s.
    partner: (B, O, P, O), 1 for that object, else 0.
    """

    nearness: torch.Tensor
    normals: torch.Tensor
    velocities: torch.Tensor
    partner: torch.Tensor


def nearest_wall(world: torch.Tensor, walls: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance (B, O, P), metres, negative beyond it, and normal (B, O, P, 3) of each point's nearest wall.

    Args:
        world: (B, O, P, 3), metres.
        walls: (B, 5), see ``SceneState``.
    """
    gaps = _wall_distances(world, walls)
    nearest = gaps.argmin(-1, keepdim=True)
    chosen = torch.arange(gaps.shape[-1], device=world.device) == nearest
    x_min, x_max, y_min, y_max, floor = chosen.to(world).unbind(-1)
    return gaps.gather(-1, nearest).squeeze(-1), torch.stack([x_min - x_max, y_min - y_max, floor], -1)


@torch.no_grad()
def body_contact(
    world: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    mask: torch.Tensor,
    volume: torch.Tensor,
    reach: float,
) -> BodyContact:
    """How each point lies to the other objects, as smoothed-particle hydrodynamics looks at a neighbourhood: sums over
    their points, which change smoothly, with the kernel 1 - (distance / reach)^2.

    Without gradients: how contact changes with the places of the points is stiff, and longer rollouts would learn
    nothing else from it.

    Args:
        world: (B, O, P, 3), metres.
        velocities: (B, O, P, 3), m/s.
        centres: (B, O, 3), of the objects, metres.
        mask: (B, O, P), bool.
        volume: (B, O), m^3 that a point of the object stands for.
        reach: metres.
    """
    low = torch.where(mask[..., None], world, _FAR).amin(-2) - reach
    high = torch.where(mask[..., None], world, -_FAR).amax(-2)
    near = ((low[:, :, None] <= high[:, None]) & (low[:, None] <= high[:, :, None])).all(-1)
    values = torch.cat([world, velocities], -1)
    sums = _sums_over_others(values, mask, near, reach)  # (B, O, O, P, 7)
    kernel, places, speeds = sums[..., 0], sums[..., 1:4], sums[..., 4:]
    # A half-space of points sums up to half the kernel's integral over space, 8 pi / 15 reach^3.
    density = kernel * volume[:, None, :, None] / (4 * torch.pi / 15 * reach**3)
    nearest = density.argmax(2)  # (B, O, P)
    partner = torch.arange(world.shape[1], device=world.device) == nearest[..., None]

    def chosen(entries: torch.Tensor) -> torch.Tensor:
        index = nearest[:, :, None]
        if entries.ndim == 5:
            index = index[..., None].expand(-1, -1, -1, -1, entries.shape[-1])
        return entries.gather(2, index).squeeze(2)

    total = chosen(kernel)[..., None]
    mean = chosen(places) / total.clamp_min(1e-12)
    away = world - mean
    # Deep inside there is no way out to see; then away from the other's centre.
    outwards = world - (partner[..., None] * centres[:, None, None]).sum(-2)
    away = away + 0.1 * reach * torch.nn.functional.normalize(outwards, dim=-1)
    touched = (total > 0) & mask[..., None]
    normals = torch.where(touched, torch.nn.functional.normalize(away, dim=-1), 0.0)
    return BodyContact(
        nearness=(chosen(density) * mask).clamp_max(4),
        normals=normals,
        velocities=torch.where(touched, chosen(speeds) / total.clamp_min(1e-12), 0.0),
        partner=partner.to(world),
    )


def _sums_over_others(values: torch.Tensor, mask: torch.Tensor, near: torch.Tensor, reach: float) -> torch.Tensor:
    """(B, O, O, P, 7): for each point of i, sums over the points of j of the kernel times 1 and their ``values``.

    Args:
        values: (B, O, P, 6), places and velocities.
        near: (B, O, O), which pairs to look at.
    """
    if values.is_cuda:
        return sums_over_others(values.float(), mask, near, reach).to(values.dtype)
    batch, objects, count, width = values.shape
    sums = values.new_zeros(batch, objects, objects, count, width + 1)
    ones = torch.cat([torch.ones_like(values[..., :1]), values], -1) * mask[..., None]
    world = values[..., :3]
    for i in range(objects):
        for j in range(i):
            if near[:, i, j].any():
                squared = _squared_distances(world[:, i], mask[:, i], world[:, j], mask[:, j])
                kernel = squared.mul_(-1 / reach**2).add_(1).clamp_min_(0)
                sums[:, i, j] = kernel @ ones[:, j]
                sums[:, j, i] = kernel.mT @ ones[:, i]
    return sums


def _wall_distances(world: torch.Tensor, walls: torch.Tensor) -> torch.Tensor:
    """(B, O, P, 5), metres."""
    x, y, z = world.unbind(-1)
    x_min, x_max, y_min, y_max, floor = (wall[:, None, None] for wall in walls.unbind(-1))
    return torch.stack([x - x_min, x_max - x, y - y_min, y_max - y, z - floor], -1)


def wall_contact(world: torch.Tensor, mask: torch.Tensor, walls: torch.Tensor, threshold: float) -> WallContact:
    """Distances of world points (B, O, P, 3) to the walls (B, 5) of the box: x_min, x_max, y_min, y_max, floor."""
    distances = _wall_distances(world, walls)
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
