"""Stand reconstructed objects on the simulation's floor where no known cameras say where it is, and check the result.

World: z up, metres, the floor at z = -0.94, and objects inside [-1, 1]^3 at the start.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.spatial import cKDTree

from gaussians.cameras import Cameras
from gaussians.files.trajectory_format import PUBLISHED_WALLS
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.planes import Plane, fit_plane

FLOOR = PUBLISHED_WALLS.floor
"""Height of the simulation's floor, metres."""
BOX = 1.0
"""Objects start inside [-BOX, BOX]^3, metres."""
EXTENT = 1.0
"""The largest extent of all objects together, metres, where no scale is given."""

_FILLED = 0.95  # share of the box's height that objects may reach
_TAIL = 0.01  # share of points beyond either end of an extent
_MOST_POINTS = 2000
_FEWEST_POINTS = 200
_NEAR = 1.5  # the ground is looked for within this many extents of the objects' middle
_FLATNESS = 0.02  # of the objects' extent: points that far from a plane are on it
_LEAST_ON_PLANE = 0.1  # share of the points near the objects
_MOST_TILT = math.cos(math.radians(60))  # between the ground's normal and what is up in the pictures,
_LEVEL = math.cos(math.radians(20))  # and where they are sure of that
_CLEAR = 0.25  # share of the points near the objects: the ground's plane is more exact than what is up in pictures
_LOW = 0.1  # share of what is lower than the cameras that is no higher than the ground
_MOST_BELOW = 0.1  # share of objects' points, and of cameras, below the ground
_SIDEWAYS = 0.02  # least variance of the cameras' right-hand directions off a line that tells what is vertical

_OUTSIDE = 0.01  # share of an object's Gaussians that may be outside of the box
_SUNK = 0.05  # metres; no deeper than a cell of the simulation's grid counts as on the floor
_CELLS = 32  # of the grid that overlaps are measured on, along the largest extent of the smaller object
_MOST_CELLS = 256  # of that grid along an axis
_BORDER = 2  # empty cells around it
_OVERLAP = 0.1  # share of an object's volume; objects that touch share a layer of cells


@dataclass(frozen=True)
class GroundPlacement:
    """A ``GroundPlacement`` says how objects come to stand on the floor.

    Attributes:
        similarity: from the frame of the cameras to the world.
        ground_share: share of the background near the objects that lies in the ground's plane.
        extent: largest extent of all objects together afterwards, metres.
        notes: sentences for the user.
    """

    similarity: Similarity
    ground_share: float
    extent: float
    notes: tuple[str, ...]


def place_on_ground(
    objects: torch.Tensor, background: torch.Tensor, cameras: Cameras, scale: float | None = None, seed: int = 0
) -> GroundPlacement:
    """Return the similarity that makes the ground the floor, with the objects in the middle of the box.

    The ground is the plane near the objects that most of the background lies in, among those with the objects and
    cameras above. Where there is none, but the cameras tell what is up, it is level and below the objects. Its normal
    becomes z. In the first picture x then points to the right and y away from the camera.

    Args:
        objects: (N, 3), points on the objects.
        background: (M, 3), points on all else.
        cameras: all that took pictures, in the same frame; the first one gives the direction.
        scale: metres in a unit of that frame; None: so that the largest extent of all objects together is 1 m, or less
            where they would otherwise reach out of the box, as those do that float above the ground.
        seed: of the planes that are tried.

    Raises:
        InputError: the background has no such plane near the objects, and the cameras do not tell what is up.
    """
    check_shape("objects", objects, "N", 3)
    check_shape("background", background, "M", 3)
    points, others = objects.double().cpu().numpy(), background.double().cpu().numpy()
    viewmats = cameras.viewmats.double().cpu().numpy()
    centers = cameras.positions.double().cpu().numpy()
    low, high = _bounds(points)
    middle, extent = (low + high) / 2, float((high - low).max())
    up, sure = up_direction(viewmats)
    near = _near(others, middle, extent, up)
    try:
        ground = _ground(points, near, centers, up, sure, extent, seed)
        notes = [f"{100 * ground.share:.0f} % of the background near the objects lie in the ground's plane"]
    except InputError as error:
        if not sure:
            raise
        ground = Plane(torch.from_numpy(up), float(np.quantile(points @ up, _TAIL)), 0.0)
        notes = [f"{error}: the floor is taken to be level, as the cameras were held, right below the objects"]
    rotation = _frame(ground.normal.numpy(), viewmats[0])
    turned = points @ rotation.T
    low, high = _bounds(turned)
    fitting = min(
        EXTENT / float((high - low).max()), _FILLED * (BOX - FLOOR) / max(float(high[2]) - ground.offset, 1e-12)
    )
    factor = fitting if scale is None else scale
    size = float((high - low).max()) * factor
    how = "; --scale says otherwise" if scale is None else ""
    notes.append(f"the objects are {size:.3g} m large together, {factor:.4g} m to a unit of the cameras' frame{how}")
    center = (low + high) / 2
    shift = np.array([-factor * center[0], -factor * center[1], FLOOR - factor * ground.offset])
    similarity = Similarity(factor, torch.from_numpy(rotation), torch.from_numpy(shift))
    return GroundPlacement(similarity, ground.share, size, tuple(notes))


def free_place(background: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Return points (N, 3) where objects can be added to a scene without any: on the ground where pictures show it.

    They fill a ball whose diameter is a quarter of the median distance from the cameras to the background. Where no
    ground is found it is as high as the lowest tenth of what is lower than the cameras.

    Args:
        background: (M, 3), points of the scene.
    """
    points, centers = background.double().cpu().numpy(), cameras.positions.double().cpu().numpy()
    up, sure = up_direction(cameras.viewmats.double().cpu().numpy())
    distances = np.linalg.norm(points - centers.mean(0), axis=1)
    size = float(np.median(distances))
    near = points[distances < 2 * size]
    try:
        ground = _ground(centers, near, centers, up, sure, size, 0)
        normal, offset = ground.normal.numpy(), ground.offset
    except InputError:
        below = near[near @ up < (centers @ up).min()] @ up
        normal, offset = up, float(np.quantile(below, _LOW)) if len(below) else float((centers @ up).min() - size)
    heights = near @ normal - offset
    shown = near[np.abs(heights) < _FLATNESS * size]
    middle = np.median(shown if len(shown) else near, axis=0)
    radius = size / 8
    middle = middle + (radius + offset - middle @ normal) * normal
    directions = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(middle) + radius * torch.nn.functional.normalize(directions, dim=1)


def stand_on_floor(objects: torch.Tensor) -> Similarity:
    """Return the shift along z after which a hundredth of the objects' points (N, 3) lies below the floor.

    The lowest points alone may float below the objects.
    """
    check_shape("objects", objects, "N", 3)
    lowest = float(np.quantile(objects[:, 2].double().cpu().numpy(), _TAIL))
    shift = torch.tensor([0.0, 0.0, FLOOR - lowest], dtype=torch.float64)
    return Similarity(1.0, torch.eye(3, dtype=torch.float64), shift)


def up_direction(viewmats: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the unit vector (3,) that is up for people who hold cameras (N, 4, 4; world to camera), and if it is sure.

    It is at right angles to what is on the right of all pictures; where all look in the same direction, or cameras are
    rolled, it is the mean of what is up in them, and not sure.
    """
    right, up = viewmats[:, 0, :3], -viewmats[:, 1, :3]
    mean = up.mean(0)
    mean = mean / max(np.linalg.norm(mean), 1e-12)
    variances, directions = np.linalg.eigh(right.T @ right / len(right))
    level = directions[:, 0] * np.sign(directions[:, 0] @ mean)
    tells = variances[1] > _SIDEWAYS and variances[0] < 0.1 * variances[1] and level @ mean > _MOST_TILT
    return (level, True) if tells else (mean, False)


def placement_problems(means: torch.Tensor, labels: torch.Tensor, names: Sequence[str]) -> list[str]:
    """Return sentences that say which objects cannot be simulated where they are; none if all can.

    Objects have to be inside the box, above the floor, and not inside one another. The volume of an object is taken to
    be all cells that have its points on both sides along x, along y and along z, so that hollow ones count as full and
    cups do not.

    Args:
        means: (N, 3), of Gaussians, metres.
        labels: (N,), the object of each, 0 to K-1; others are of none.
        names: of the K objects.
    """
    check_shape("means", means, "N", 3)
    check_shape("labels", labels, len(means))
    clouds = [means[labels == label].double().cpu().numpy() for label in range(len(names))]
    titles = [f"{name} (object {label})" for label, name in enumerate(names)]  # several may have one name
    problems = []
    for title, points in zip(titles, clouds, strict=True):
        if not len(points):
            problems.append(f"{title} has no Gaussians")
            continue
        # What is below the box is below the floor.
        outside = ((np.abs(points[:, :2]) > BOX).any(1) | (points[:, 2] > BOX)).mean()
        if outside > _OUTSIDE:
            problems.append(f"{100 * outside:.0f} % of {title} is outside of the box [-1, 1]^3")
        depth = FLOOR - np.quantile(points[:, 2], _TAIL)
        if depth > _SUNK:
            problems.append(f"{title} reaches {depth:.2f} m below the floor at z = {FLOOR}")
    for (i, first), (j, second) in itertools.combinations(enumerate(clouds), 2):
        if len(first) and len(second) and (share := overlap(first, second)) > _OVERLAP:
            problems.append(f"{titles[i]} and {titles[j]} share {100 * share:.0f} % of the smaller one's volume")
    return problems


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of the smaller one's volume that two objects, points (N, 3) and (M, 3), have in common."""
    bounds = [_bounds(points) for points in (first, second)]
    low, high = np.maximum(bounds[0][0], bounds[1][0]), np.minimum(bounds[0][1], bounds[1][1])
    if (low >= high).any():
        return 0.0
    union = np.minimum(bounds[0][0], bounds[1][0]), np.maximum(bounds[0][1], bounds[1][1])
    smallest = min(float((high - low).max()) for low, high in bounds) / _CELLS
    cell = max(smallest, float((union[1] - union[0]).max()) / _MOST_CELLS, _spacing(first), _spacing(second), 1e-9)
    origin = union[0] - _BORDER * cell
    shape = tuple((np.ceil((union[1] - union[0]) / cell).astype(int) + 1 + 2 * _BORDER).tolist())
    solids = [_solid(points, origin, cell, shape) for points in (first, second)]
    return float((solids[0] & solids[1]).sum() / min(solid.sum() for solid in solids))


def _spacing(points: np.ndarray) -> float:
    """Return the median distance of points (N, 3) to the fourth nearest: cells of that size leave few gaps."""
    if len(points) < 2:
        return 0.0
    some = points[:: max(1, len(points) // _MOST_POINTS)]
    distances, _ = cKDTree(points).query(some, min(5, len(points)))
    return float(np.median(distances[:, -1]))


def _solid(points: np.ndarray, origin: np.ndarray, cell: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return which cells of a grid are in or between an object's points along every axis, (X, Y, Z) bool."""
    cells = np.floor((points - origin) / cell).astype(int)
    cells = cells[((cells >= 0) & (cells < shape)).all(1)]
    occupied = np.zeros(shape, bool)
    occupied[tuple(cells.T)] = True
    # Sparse Gaussians leave gaps in the surface, which a layer around them closes; it is taken off again.
    thick, full = binary_dilation(occupied), np.ones(shape, bool)
    for axis in range(3):
        before = np.logical_or.accumulate(thick, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(thick, axis), axis), axis)
        full &= before & after
    return occupied | binary_erosion(full)


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (3,) of the box around all but the outermost hundredth of points (N, 3) along each axis."""
    low, high = np.quantile(points, (_TAIL, 1 - _TAIL), axis=0)
    return low, high


def _near(points: np.ndarray, middle: np.ndarray, extent: float, up: np.ndarray) -> np.ndarray:
    """Return the points (N, 3) around and below the objects, farther ones too until there are enough."""
    arms = points - middle
    heights = arms @ up
    # What stands still in the air is farther above the ground than aside of it.
    distances = np.hypot(np.linalg.norm(arms - heights[:, None] * up, axis=1), heights / 2)
    reach = _NEAR * extent
    if (distances < reach).sum() < _FEWEST_POINTS:
        reach = np.inf if len(points) <= _FEWEST_POINTS else np.partition(distances, _FEWEST_POINTS)[_FEWEST_POINTS]
    return points[distances < reach]


def _ground(
    objects: np.ndarray,
    near: np.ndarray,
    centers: np.ndarray,
    up: np.ndarray,
    sure: bool,
    extent: float,
    seed: int,
) -> Plane:
    """Return the plane that most of the points ``near`` lie in.

    Its normal points to the side of the cameras' ``centers``, where the objects are, too. Where few points lie in it,
    and the cameras are sure of what is up, a level one is better.
    """
    failed = "no ground found: expected a plane under the objects that a tenth of the background around them lies in"
    if len(near) < 3:
        raise InputError(f"{failed}, found {len(near)} points there")
    thickness = _FLATNESS * extent
    above = objects[:: max(1, len(objects) // _MOST_POINTS)]

    def possible(normals: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        directions, distances = normals.numpy(), offsets.numpy()[:, None]
        upward = directions @ up
        allowed = np.abs(upward) > (_LEVEL if sure else _MOST_TILT)
        for points, depth in ((above, thickness), (centers, 0.0)):
            heights = np.sign(upward)[:, None] * (directions @ points.T - distances)
            allowed &= (heights < -depth).mean(1) <= _MOST_BELOW
        return torch.from_numpy(allowed)

    plane = fit_plane(torch.from_numpy(near), thickness, possible, seed)
    if plane is None:
        raise InputError(f"{failed}, with the objects and cameras above it")
    if sure and plane.share < _CLEAR:
        highest = min(float(np.quantile(above @ up, _MOST_BELOW)) + thickness, float((centers @ up).min()))
        plane = _level_plane(near, up, highest, thickness) or plane
    if plane.share < _LEAST_ON_PLANE:
        raise InputError(f"{failed}, found {100 * plane.share:.0f} %")
    return plane if plane.normal.numpy() @ up > 0 else Plane(-plane.normal, -plane.offset, plane.share)


def _level_plane(points: np.ndarray, up: np.ndarray, highest: float, thickness: float) -> Plane | None:
    """Return the plane at right angles to ``up``, below ``highest``, that most points are near; None without points."""
    heights = np.sort(points @ up)
    levels = heights[heights < highest]
    if not len(levels):
        return None
    first, last = (np.searchsorted(heights, levels + side * thickness) for side in (-1, 1))
    best = int((last - first).argmax())
    offset = float(np.median(heights[first[best] : last[best]]))
    return Plane(torch.from_numpy(up), offset, float((np.abs(heights - offset) < thickness).mean()))


def _frame(normal: np.ndarray, viewmat: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) after which z is the normal and y leads away from a camera (4, 4)."""
    away = viewmat[2, :3] - (viewmat[2, :3] @ normal) * normal
    if np.linalg.norm(away) < 1e-3:  # it looks straight down: then y is what is up in its picture
        away = -viewmat[1, :3] + (viewmat[1, :3] @ normal) * normal
    away = away / np.linalg.norm(away)
    return np.stack([np.cross(away, normal), away, normal])
