"""Which keypoints touch a wall or another object, without dynamic shapes or synchronisation on a GPU."""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from dynamic_models.contact.contact_search import CHUNK, FAR, nearest_squared, surroundings, touching_bodies


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
    normals: (B, O, P, 3), unit vectors out of the object of which most is in reach; 0 where none is.
    velocities: (B, O, P, 3), of that object near the point, m/s.
    partner: (B, O, P, O), 1 for that object, else 0.
    """

    nearness: torch.Tensor
    normals: torch.Tensor
    velocities: torch.Tensor
    partner: torch.Tensor


def nearest_wall(world: torch.Tensor, walls: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance (B, O, P), metres, negative beyond it, and normal (B, O, P, 3) of each point's nearest wall, floor
    included: in a corner a point feels one of them alone.

    Args:
        world: (B, O, P, 3), metres.
        walls: (B, 5), see ``SceneState``.
    """
    gaps, nearest = _wall_distances(world, walls).min(-1)
    chosen = torch.arange(5, device=world.device) == nearest[..., None]
    x_min, x_max, y_min, y_max, floor = chosen.to(world).unbind(-1)
    return gaps, torch.stack([x_min - x_max, y_min - y_max, floor], -1)


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
        world: (B, O, P, 3), metres; found sooner if in ``contact_search.spatial_order``.
        velocities: (B, O, P, 3), m/s.
        centres: (B, O, 3), of the objects, metres.
        mask: (B, O, P), bool.
        volume: (B, O), m^3 that a point of the object stands for.
        reach: metres.
    """
    count = world.shape[2]
    lacking = (0, 0, 0, -count % CHUNK)
    points = pad(torch.where(mask[..., None], world, FAR), lacking, value=FAR)
    found = touching_bodies(points, pad(velocities, lacking), centres, volume, *surroundings(points, reach), reach)
    return BodyContact(*(tensor[:, :, :count].to(world) for tensor in found))


def _wall_distances(world: torch.Tensor, walls: torch.Tensor) -> torch.Tensor:
    """(B, O, P, 5), metres."""
    x, y, z = world.unbind(-1)
    x_min, x_max, y_min, y_max, floor = (wall[:, None, None] for wall in walls.unbind(-1))
    return torch.stack([x - x_min, x_max - x, y - y_min, y_max - y, z - floor], -1)


def wall_contact(world: torch.Tensor, mask: torch.Tensor, walls: torch.Tensor, threshold: float) -> WallContact:
    """Distances of world points (B, O, P, 3) to the walls (B, 5) of the box: x_min, x_max, y_min, y_max, floor."""
    distances = _wall_distances(world, walls)
    distances = distances.masked_fill(~mask[..., None], FAR)
    return WallContact(distances.amin(-2), (distances < threshold).any(-1))


def pair_contact(world: torch.Tensor, mask: torch.Tensor, threshold: float) -> PairContact:
    """Distances between the points (B, O, P, 3) of every two objects.

    The search runs without gradients; the gaps are then taken once more from the nearest two points, so that they
    have the gradient of the smallest distance.
    """
    objects = world.shape[1]
    with torch.no_grad():
        squared = nearest_squared(world, mask, threshold)
        points = (squared < threshold**2) & mask[:, :, None]
        nearest = squared.argmin(-1)
    batch = torch.arange(len(world), device=world.device)[:, None, None]
    rows = torch.arange(objects, device=world.device)[None, :, None]
    here = world[batch, rows, nearest]
    gaps = (here - here.transpose(1, 2)).square().sum(-1).clamp_min(1e-12).sqrt()
    touching = points.any(-1)
    # Beyond the threshold the search may stop early, and no caller looks at the exact distance.
    gaps = torch.where(touching, gaps, torch.inf)
    return PairContact(gaps, points, touching)
