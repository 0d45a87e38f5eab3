"""Find which keypoints touch a wall or another object, without dynamic shapes or synchronisation on a GPU.

The searches skip what lies outside the boxes around objects and parts of them.
"""

from dataclasses import dataclass
from math import inf

import torch
import warp as wp
from torch.nn.functional import pad

from dynamic_models.contact import contact_kernels as kernels
from gaussians.stage.warp_runtime import as_array, launch

CHUNK = int(kernels.CHUNK)
FAR = 1e9  # metres: where points that do not exist are kept
_BITS = 5  # for each axis of a place along the Morton curve: cells of 1 cm in an object of 0.3 m
_BEHIND = 2 ** (3 * _BITS)  # the first place after the curve's end
_THREADS = 600_000  # enough to fill a GPU: if pairs of points and objects are fewer, several threads share a pair


@dataclass(frozen=True)
class WallContact:
    """A ``WallContact`` says how near objects are to the walls.

    Attributes:
        gaps: (B, O, 5), smallest distance of an object's points to each wall, metres, negative beyond it.
        points: (B, O, P), bool, which points are nearer than the threshold to any wall.
    """

    gaps: torch.Tensor
    points: torch.Tensor


@dataclass(frozen=True)
class PairContact:
    """A ``PairContact`` says how near objects are to each other.

    Attributes:
        gaps: (B, O, O), smallest distance between points of objects i and j, metres.
        points: (B, O, O, P), bool, which points of i are nearer than the threshold to any point of j.
        touching: (B, O, O), bool, whether there is such a point; never for i = j.
    """

    gaps: torch.Tensor
    points: torch.Tensor
    touching: torch.Tensor


@dataclass(frozen=True)
class BodyContact:
    """A ``BodyContact`` says how each point lies to its partner: the other object of which most is in reach.

    Attributes:
        nearness: (B, O, P), 0 for points beyond the reach of other objects, about 1 at their surface, more inside.
        normals: (B, O, P, 3), unit vectors that point out of the partner; 0 where there is none.
        velocities: (B, O, P, 3), velocity of the partner near the point, m/s.
        partner: (B, O, P, O), 1 for the partner, else 0.
    """

    nearness: torch.Tensor
    normals: torch.Tensor
    velocities: torch.Tensor
    partner: torch.Tensor


def nearest_wall(world: torch.Tensor, walls: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distance (B, O, P), metres, and the normal (B, O, P, 3) of each point's nearest wall, floor included.

    Distances are negative beyond a wall. In a corner a point feels one wall alone.

    Args:
        world: (B, O, P, 3), metres.
        walls: (B, 5), see ``SceneState``.
    """
    gaps, nearest = wall_distances(world, walls).min(-1)
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
    """Return how each point lies to the other objects, from sums over their points.

    The sums have the kernel 1 - (distance / reach)^2, as in smoothed-particle hydrodynamics, and change smoothly. They
    have no gradients: how contact changes with the places of the points is stiff, and would drown all else that longer
    rollouts have to learn.

    Args:
        world: (B, O, P, 3), metres; the search is faster if points are in ``spatial_order``.
        velocities: (B, O, P, 3), m/s.
        centres: (B, O, 3), centres of the objects, metres.
        mask: (B, O, P), bool.
        volume: (B, O), m^3 that a point of the object stands for.
        reach: distance at which points begin to touch, metres.
    """
    count = world.shape[2]
    lacking = (0, 0, 0, -count % CHUNK)
    points = pad(torch.where(mask[..., None], world, FAR), lacking, value=FAR)
    found = touching_bodies(points, pad(velocities, lacking), centres, volume, *surroundings(points, reach), reach)
    return BodyContact(*(tensor[:, :, :count].to(world) for tensor in found))


def wall_distances(world: torch.Tensor, walls: torch.Tensor) -> torch.Tensor:
    """Return the distance (B, O, P, 5) of each point to each wall, metres."""
    x, y, z = world.unbind(-1)
    x_min, x_max, y_min, y_max, floor = (wall[:, None, None] for wall in walls.unbind(-1))
    return torch.stack([x - x_min, x_max - x, y - y_min, y_max - y, z - floor], -1)


def wall_contact(world: torch.Tensor, mask: torch.Tensor, walls: torch.Tensor, threshold: float) -> WallContact:
    """Return how near objects are to the walls.

    Args:
        world: (B, O, P, 3), metres.
        mask: (B, O, P), bool, which points exist.
        walls: (B, 5), see ``SceneState``.
        threshold: distance at which points begin to touch, metres.
    """
    distances = wall_distances(world, walls)
    distances = distances.masked_fill(~mask[..., None], FAR)
    return WallContact(distances.amin(-2), (distances < threshold).any(-1))


def pair_contact(world: torch.Tensor, mask: torch.Tensor, threshold: float) -> PairContact:
    """Return how near every two objects are.

    The search runs without gradients; the gaps are then taken once more from the nearest two points, so that they
    have the gradient of the smallest distance.

    Args:
        world: (B, O, P, 3), metres.
        mask: (B, O, P), bool, which points exist.
        threshold: distance at which points begin to touch, metres.
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
    # Beyond the threshold the search may stop early, and no caller needs the exact distance.
    gaps = torch.where(touching, gaps, torch.inf)
    return PairContact(gaps, points, touching)


@torch.library.custom_op("dynamic_models::nearest_squared", mutates_args=())
def nearest_squared(world: torch.Tensor, mask: torch.Tensor, reach: float) -> torch.Tensor:
    """Return the squared distance of each point of i to the nearest point of j, (B, O, O, P) float32, metres^2.

    Args:
        world: (B, O, P, 3), metres.
        mask: (B, O, P), bool, which points exist.
        reach: metres; where the nearest point is further away, the answer may be infinite, as it is for i = j.
    """
    batch, objects, count = mask.shape
    squared = world.new_full((batch, objects, objects, count), inf, dtype=torch.float32)
    shares = _shares(world)
    arguments = [_points(world, mask, reach), shares, as_array(squared, wp.float32)]
    launch(kernels.search, (batch * objects**2, shares, count), arguments, world.device)
    return squared


@nearest_squared.register_fake
def _(world: torch.Tensor, mask: torch.Tensor, reach: float) -> torch.Tensor:
    batch, objects, count = mask.shape
    return world.new_empty(batch, objects, objects, count, dtype=torch.float32)


@torch.library.custom_op("dynamic_models::touching_bodies", mutates_args=())
def touching_bodies(
    points: torch.Tensor,
    velocities: torch.Tensor,
    centres: torch.Tensor,
    volumes: torch.Tensor,
    boxes: torch.Tensor,
    object_boxes: torch.Tensor,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the tensors of ``BodyContact``, in float32.

    Args:
        points: (B, O, P, 3), metres, with P a multiple of ``CHUNK``; those that do not exist are at ``FAR``.
        velocities: (B, O, P, 3), m/s.
        centres: (B, O, 3), centres of the objects, metres.
        volumes: (B, O), m^3 that a point of the object stands for.
        boxes, object_boxes: what ``surroundings`` returns.
        reach: metres.
    """
    batch, objects, count, _ = points.shape
    sums = as_array(torch.zeros(7, batch * objects**2, count, device=points.device), wp.float32)
    shares = _shares(points)
    arguments = [
        _vectors(points),
        _vectors(velocities),
        *(as_array(each, wp.float32) for each in (boxes, object_boxes)),
        reach,
        shares,
        sums,
    ]
    launch(kernels.add_up, (batch * objects**2, shares, count), arguments, points.device)
    found = _found(points)
    types = wp.float32, wp.vec3, wp.vec3, wp.float32
    outputs = [as_array(tensor, dtype) for tensor, dtype in zip(found, types, strict=True)]
    arguments = [_vectors(points), _vectors(centres), as_array(volumes, wp.float32), reach, sums, *outputs]
    launch(kernels.choose, (batch, objects, count), arguments, points.device)
    return found


@touching_bodies.register_fake
def _found(points: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Allocate what ``touching_bodies`` returns, for kernels to fill."""
    batch, objects, count, three = points.shape
    nearness = points.new_empty(batch, objects, count, dtype=torch.float32)
    vectors = (batch, objects, count, three)
    return (
        nearness,
        nearness.new_empty(vectors),
        nearness.new_empty(vectors),
        nearness.new_empty(batch, objects, count, objects),
    )


def surroundings(points: torch.Tensor, reach: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes around every ``CHUNK`` points and their reach, (B, O, P / CHUNK, 6), and around objects, (B, O, 6).

    A box is its low corner, and its high corner times -1, metres. A box of no points contains no place.

    Args:
        points: (B, O, P, 3), metres; those that do not exist at ``FAR``.
        reach: metres, (B, O, 1, 1) or one for all objects.
    """
    corners = torch.cat([points, torch.where(points < FAR, -points, FAR)], -1)
    boxes = corners.unflatten(2, (-1, CHUNK)).amin(-2) - reach
    return boxes, boxes.amin(-2)


def spatial_order(points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return an order (B, O, P), int64, of every object's points in which neighbours follow each other.

    It follows a Morton curve; points that do not exist come last.

    Args:
        points: (B, O, P, 3), metres, in the body's axes, so that the order does not change when an object moves.
        mask: (B, O, P), bool.
    """
    exists = mask[..., None]
    low = torch.where(exists, points, inf).amin(-2, keepdim=True)
    size = (torch.where(exists, points, -inf).amax(-2, keepdim=True) - low).amax(-1, keepdim=True)
    cells = ((points - low) / size * (2**_BITS - 1)).nan_to_num(0.0).clamp(0, 2**_BITS - 1).long()
    places = torch.arange(3 * _BITS, device=mask.device).view(_BITS, 3)  # places of the bits of each axis
    curve = ((cells[..., None, :] >> places[:, :1] // 3 & 1) << places).sum((-2, -1))
    return torch.where(mask, curve, _BEHIND).argsort(dim=-1, stable=True)


def _shares(points: torch.Tensor) -> int:
    """Return how many threads look at one object for one point (B, O, P, 3) of another."""
    batch, objects, count, _ = points.shape
    return max(1, min(count // CHUNK, _THREADS // (batch * objects**2 * count))) if points.is_cuda else 1


def _points(world: torch.Tensor, mask: torch.Tensor, reach: float) -> kernels.Points:
    exists = mask[..., None]
    low, high = torch.where(exists, world, inf).amin(-2), torch.where(exists, world, -inf).amax(-2)
    points = kernels.Points()
    points.world, points.mask = _vectors(world), as_array(mask, wp.bool)
    points.low, points.high = _vectors(low - reach), _vectors(high + reach)
    return points


def _vectors(tensor: torch.Tensor) -> wp.array:
    return as_array(tensor, wp.vec3)
