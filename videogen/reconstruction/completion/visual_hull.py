"""Find the space that an object may fill: what its silhouettes allow in all pictures, less what they see through.

A visual hull (Laurentini 1994), carved by depth too, so that hollows that cameras look into stay empty, and cut where
other objects and the floor are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, label, map_coordinates
from scipy.spatial import cKDTree
from torch.nn.functional import grid_sample

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.plane_sweep import unproject

_CELLS = 48  # along the largest extent of an object
_TAIL = 0.01  # share of an object's Gaussians beyond either end of an extent
_ASIDE, _BELOW = 0.15, 0.5  # what is looked at beyond the object's Gaussians, of their extent
_PIXELS = 128  # width and height of a window onto the object
_AGAINST = 4  # votes of pictures that see through a cell: two of each that sees past the object, one of a depth
_WITNESSES = 2  # pictures that show the object where a cell is
_BEFORE = 1.0  # cells that a point has to be before a surface to be in front of it
_STACKED = 4  # Gaussians for one: the surface is where the first of many faint ones are, not at their mean
_FAINT = 0.05  # opacity
_ENOUGH = 5000  # points of a surface
_SMALL = 0.02  # share of the surface in a part of the hull


@dataclass(frozen=True)
class VoxelSolid:
    """A ``VoxelSolid`` is a body of cubic cells.

    Attributes:
        inside: (X, Y, Z) bool.
        origin: (3,), of the lower corner of cell (0, 0, 0), metres.
        cell: side of a cell, metres.
    """

    inside: np.ndarray
    origin: np.ndarray
    cell: float

    @property
    def volume(self) -> float:
        """Return the volume, metres^3."""
        return float(self.inside.sum()) * self.cell**3

    def centers(self) -> np.ndarray:
        """Return the centres (M, 3) of the cells inside, metres."""
        return self.origin + (np.argwhere(self.inside) + 0.5) * self.cell

    def has(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) bool: whether each of points (N, 3) is in a cell inside."""
        cells = np.floor((points - self.origin) / self.cell).astype(int)
        within = ((cells >= 0) & (cells < self.inside.shape)).all(1)
        found = np.zeros(len(points), bool)
        found[within] = self.inside[tuple(cells[within].T)]
        return found

    @cached_property
    def _signed(self) -> np.ndarray:
        """Return the depths, in cells, of all cells' centres and of one more cell on each side."""
        around = np.pad(self.inside, 1)
        return np.where(around, distance_transform_edt(around) - 0.5, 0.5 - distance_transform_edt(~around))

    def depths(self, points: np.ndarray) -> np.ndarray:
        """Return how far below the boundary points (N, 3) are, negative outside, metres."""
        places = (points - self.origin) / self.cell + 0.5
        return self.cell * map_coordinates(self._signed, places.T, order=1, mode="nearest")


@dataclass(frozen=True)
class SeenObject:
    """A ``SeenObject`` holds what V pictures show of an object, in a window onto it.

    Attributes:
        weights: (V, P, P), its share in each pixel of the windows.
        depths: (V, P, P), of its surface where it shows, metres along the viewing axis.
        behind: (V, P, P), of what shows where it does not; infinite where that is nothing.
        points: (M, 3), its surface, metres.
        low, high: (3,), corners of the box to look at, metres.
        extent: of the object, metres.
        windows: V cameras, which see the box alone, however small it is in the pictures.
        cameras: V cameras that took the pictures.
    """

    weights: torch.Tensor
    depths: torch.Tensor
    behind: torch.Tensor
    points: np.ndarray
    low: np.ndarray
    high: np.ndarray
    extent: float
    windows: Cameras
    cameras: Cameras


@torch.no_grad()
def see_object(scene: Gaussians, label: int, cameras: Cameras, floor: float) -> SeenObject:
    """Return what pictures show of the object of a label.

    Args:
        scene: labelled Gaussians of all objects, and of all else; they look like the pictures.
        cameras: V of them, of the pictures' size.
        floor: height below which nothing is, metres.
    """
    assert scene.labels is not None
    means = scene.means[scene.labels == label].double().cpu().numpy()
    low, high = np.quantile(means, (_TAIL, 1 - _TAIL), axis=0)
    extent = float((high - low).max())
    low, high = low - _ASIDE * extent, high + _ASIDE * extent
    low[2] = max(floor, low[2] - (_BELOW - _ASIDE) * extent)
    windows = _windows(cameras, low, high)
    # Silhouettes are where half of what shows is the object; its surface is where the first Gaussians are.
    stacked = 1 - (1 - scene.opacities.clamp_max(0.999)) ** _STACKED
    opaque = replace(scene, opacities=torch.where(scene.opacities > _FAINT, stacked, scene.opacities))
    own = (scene.labels == label).float()
    weights, depths, behind = [], [], []
    for view in range(len(windows)):
        window = windows[view : view + 1]
        along = (scene.means @ window.viewmats[0, 2, :3] + window.viewmats[0, 2, 3]).clamp_min(0)
        # Colours may be larger than 1: depth is drawn as one, so that the object's Gaussians alone count.
        colors = rgb_to_sh(torch.stack([own, own * along, torch.zeros_like(own)], 1))
        weights.append(rasterize(replace(scene, sh=colors), window).rgb[0, ..., 0])
        drawn = rasterize(replace(opaque, sh=colors), window)
        depths.append(drawn.rgb[0, ..., 1] / drawn.rgb[0, ..., 0].clamp_min(1e-3))
        behind.append(torch.where(drawn.alpha[0] > 0.5, drawn.depth[0], torch.inf))
    shares, surface = torch.stack(weights), torch.stack(depths)
    points = unproject(windows, surface)[shares > 0.5]
    return SeenObject(
        shares, surface, torch.stack(behind), points.double().cpu().numpy(), low, high, extent, windows, cameras
    )


def _windows(cameras: Cameras, low: np.ndarray, high: np.ndarray) -> Cameras:
    """Return cameras that see just the box between two corners (3,)."""
    choices = np.stack(np.meshgrid(*([0, 1],) * 3), -1).reshape(-1, 3)
    corners = torch.from_numpy(np.where(choices, high, low)).to(cameras.viewmats)
    local = corners @ cameras.viewmats[:, :3, :3].mT + cameras.viewmats[:, None, :3, 3]
    rays = local[..., :2] / local[..., 2:].clamp_min(0.1 * local[..., 2:].mean())
    first, last = rays.amin(1), rays.amax(1)
    focal = _PIXELS / (last - first).amax(1)
    Ks = torch.eye(3).to(corners).repeat(len(cameras), 1, 1)
    Ks[:, 0, 0] = Ks[:, 1, 1] = focal
    Ks[:, :2, 2] = _PIXELS / 2 - focal[:, None] * (first + last) / 2
    return Cameras(cameras.viewmats, Ks, _PIXELS, _PIXELS)


def visual_hull(seen: SeenObject) -> VoxelSolid:
    """Return the space that an object may fill."""
    cell = seen.extent / _CELLS
    shape = np.ceil((seen.high - seen.low) / cell).astype(int)
    centers = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3) + 0.5
    against, shown = _votes(seen, torch.from_numpy(seen.low + centers * cell).to(seen.weights))
    inside = ((against < _AGAINST) & (shown >= _WITNESSES)).cpu().numpy().reshape(shape)
    return VoxelSolid(_around(inside, seen.points, seen.low, cell), seen.low, cell)


def seen_through(seen: SeenObject, points: torch.Tensor) -> torch.Tensor:
    """Return (N,) bool: whether pictures see past the object, or through to it, where points (N, 3) are."""
    return _votes(seen, points.to(seen.weights))[0] >= _AGAINST


def _votes(seen: SeenObject, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N,) the votes of pictures that see through each of points (N, 3), and how many show the object there.

    Points that have votes enough against them are not looked at again.
    """
    margin = _BEFORE * seen.extent / _CELLS
    rows = torch.arange(len(points), device=points.device)
    against = torch.zeros(len(points), dtype=torch.int32, device=points.device)
    shown = torch.zeros_like(against)
    for view in range(len(seen.cameras)):
        sees_through, shows = _observe(seen, view, points[rows], margin)
        # Depths err more than silhouettes do.
        against[rows] += torch.where(shows, 1, 2) * sees_through
        shown[rows] += shows
        rows = rows[against[rows] < _AGAINST]
    return against, shown


def _in_pictures(cameras: Cameras, view: int, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where a camera sees points (M, 3), as ``grid_sample`` takes it, their depths, and whether it does."""
    local = points @ cameras.viewmats[view, :3, :3].T + cameras.viewmats[view, :3, 3]
    projected = local @ cameras.Ks[view].T
    size = torch.tensor([cameras.width, cameras.height]).to(points)
    grid = projected[:, :2] / local[:, 2:].clamp_min(1e-6) / size * 2 - 1
    return grid, local[:, 2], (local[:, 2] > 0) & (grid.abs() < 1).all(1)


def _observe(seen: SeenObject, view: int, points: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (M,) whether a camera sees through each of points (M, 3), and whether it shows the object there."""
    grid, depth, in_window = _in_pictures(seen.windows, view, points)
    in_view = in_window & _in_pictures(seen.cameras, view, points)[2]

    def at(pictures: torch.Tensor, mode: str) -> torch.Tensor:
        return grid_sample(pictures[view][None, None], grid[None, None], mode=mode, align_corners=False)[0, 0, 0]

    shows = at(seen.weights, "bilinear") > 0.5
    surface = torch.where(shows, at(seen.depths, "nearest"), at(seen.behind, "nearest"))
    return in_view & (depth < surface - margin), in_view & shows


def _around(inside: np.ndarray, points: np.ndarray, origin: np.ndarray, cell: float) -> np.ndarray:
    """Return the connected parts (X, Y, Z) of ``inside`` that the object's surface, points (P, 3), lies in."""
    parts, count = label(inside)
    cells = np.floor((points - origin) / cell).astype(int)
    cells = cells[((cells >= 0) & (cells < inside.shape)).all(1)]
    sizes = np.bincount(parts[tuple(cells.T)], minlength=count + 1)
    sizes[0] = 0
    return (sizes > _SMALL * sizes.sum())[parts]


def without_shared(hulls: Sequence[VoxelSolid], seen: Sequence[SeenObject]) -> list[VoxelSolid]:
    """Return hulls without the cells that others may fill, too, and whose surfaces are nearer to them."""
    trees = [cKDTree(entry.points[:: 1 + len(entry.points) // _ENOUGH]) for entry in seen]
    parted = []
    for own, tree in zip(hulls, trees, strict=True):
        centers, cells, inside = own.centers(), np.argwhere(own.inside), own.inside.copy()
        for hull, other in zip(hulls, trees, strict=True):
            if hull is not own:
                shared = np.flatnonzero(hull.has(centers))
                nearer = other.query(centers[shared])[0] < tree.query(centers[shared])[0]
                inside[tuple(cells[shared[nearer]].T)] = False
        parted.append(replace(own, inside=inside))
    return parted
