"""This module places captures, Gaussians of other programs: upright, in metres, without what floats far around them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.scene_names import scene_of
from dataset.scenes.scene_objects import DEFAULT_DENSITY, DEFAULT_YOUNGS_MODULUS, SceneObject
from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.splats.splat_rows import CAPTURE_UP, UPRIGHT
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

_VISIBLE = 0.02  # opacity; fainter Gaussians do not tell where the object ends
_TAIL = 0.02  # share of the opacity that may lie outside on either side while a size is looked for
_LEAST_SHARE = 0.02  # of the opacity; a part that is not connected to others and has less is not the object's
_CELLS = 24  # along the largest extent; parts that are two cells apart are not connected
_MOST_POINTS = 200_000  # that are looked at; of more, every n-th
_SAMPLES = 2000
_NEIGHBOUR = 4
_MARGIN = 0.25  # of the largest extent; what is farther outside is left out
_BOX = 1.0  # metres; objects start inside [-1, 1]^3
_SMALL = 0.3  # metres; a smaller capture is taken to be in other units
_EXTENT = 1.0  # metres


@dataclass(frozen=True)
class Capture:
    """Holds the Gaussians of a capture, upright.

    Attributes:
        gaussians: the Gaussians, z up.
        rows: (N,) int64, the row of the file that each stood in.
        low, high: (3,), the corners of the box of its dense part.
        notes: sentences for the user on what was assumed and left out.
    """

    gaussians: Gaussians
    rows: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    notes: tuple[str, ...]

    @property
    def extent(self) -> float:
        """Return the largest extent of the dense part."""
        return float((self.high - self.low).max())

    def moved(self, scale: float, centred: bool) -> "Capture":
        """Return the capture scaled about the origin, or about its own centre, which then moves to the origin."""
        gaussians, low, high = self.gaussians, self.low, self.high
        if centred:
            shift = -(low + high) / 2
            gaussians, low, high = gaussians.transformed(translation=shift), low + shift, high + shift
        return Capture(gaussians.transformed(scale=scale), self.rows, low * scale, high * scale, self.notes)


def read_capture(path: Path, up: str | None = None) -> Capture:
    """Read a file of Gaussians that another program wrote, and turn it upright.

    Broken rows and what lies far outside the dense part are left out.

    Args:
        up: the file's axis that points upwards; None: what the file says, else -y.

    Raises:
        InputError: the file is missing, damaged, or of a format that is not read, or all that is visible of it is in
            one place.
    """
    splats = read_splats(path)
    axis = up or splats.up or CAPTURE_UP
    gaussians = splats.gaussians if axis == "z" else splats.gaussians.transformed(rotation=UPRIGHT[axis])
    notes = list(splats.notes)
    if up is None and splats.up is None:
        notes.append(f"its upward axis is taken to be {axis}; --up says otherwise")
    visible = gaussians.opacities > _VISIBLE
    points = gaussians.means[visible].double().numpy()
    bounds = dense_bounds(points, gaussians.opacities[visible].double().numpy())
    if bounds is None:
        raise InputError(f"{path}: has no extent: expected visible Gaussians in more than one place")
    low, high = bounds
    margin = _MARGIN * (high - low).max()
    means = gaussians.means.double().numpy()
    near = torch.from_numpy(((means >= low - margin) & (means <= high + margin)).all(1))
    if not near.all():
        notes.append(f"{int((~near).sum())} of {len(near)} Gaussians lie far outside and are left out")
    corners = torch.from_numpy(np.stack(bounds)).float()
    return Capture(gaussians[near], splats.rows[near], corners[0], corners[1], tuple(notes))


def placed_capture(path: Path, settings: CaptureSettings) -> Capture:
    """Read a capture and place it in the world, metres, where objects are simulated.

    It keeps its place and, without a scale in the settings, its size where all of its dense part then lies in the box
    [-1, 1]^3 and is not tiny; otherwise it becomes 1 m large and moves to the origin.

    Raises:
        InputError: see ``read_capture``.
    """
    capture = read_capture(path, settings.up)
    scale = 1.0 if settings.scale is None else settings.scale
    fits = float(torch.maximum(capture.low.abs(), capture.high.abs()).max()) * scale <= _BOX
    if settings.scale is None and not (fits and capture.extent >= _SMALL):
        scale, fits = _EXTENT / capture.extent, False
    placed = capture.moved(scale, centred=not fits)
    size = f"it is {placed.extent:.3g} m large"
    how = "" if settings.scale is not None else "; --scale says otherwise"
    moved = "" if fits else " and moved to the origin"
    scaled = f", scaled by {scale:.4g}{moved}" if scale != 1 or moved else ""
    return Capture(placed.gaussians, placed.rows, placed.low, placed.high, (*placed.notes, size + scaled + how))


def capture_object(path: Path) -> SceneObject:
    """Return the only object of a capture, made of what stands in for materials that nothing tells."""
    return SceneObject(label=0, name=scene_of(path), youngs_modulus=DEFAULT_YOUNGS_MODULUS, density=DEFAULT_DENSITY)


def dense_bounds(points: np.ndarray, opacities: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the corners (3,) of the box around what nearly all of the opacity lies in.

    Points are connected where they are a small part of the extent apart. Connected parts with little of the opacity,
    floaters, are dropped, then the extent is measured again, until none is dropped any more.

    Args:
        points: (N, 3).
        opacities: (N,), above 0.

    Returns:
        The lowest and the highest coordinates; None where all points are in one place, or there are none.
    """
    if not len(points):
        return None
    everything, step = points, -(-len(points) // _MOST_POINTS)
    points, opacities = points[::step], opacities[::step]
    while True:
        low, high = _weighted_quantiles(points, opacities, (_TAIL, 1 - _TAIL))
        extent = (high - low).max()
        if not extent > 0:
            low, high = points.min(0), points.max(0)
            return (low, high) if (high - low).max() > 0 else None
        cell = max(extent / _CELLS, _spacing(points))
        parts = _connected(points, cell)
        shares = np.bincount(parts, opacities) / opacities.sum()
        kept = shares[parts] >= min(_LEAST_SHARE, shares.max())
        if kept.all():
            low, high = points.min(0), points.max(0)
            if step > 1:  # those that were not looked at reach a bit farther
                near = ((everything >= low - cell) & (everything <= high + cell)).all(1)
                low, high = everything[near].min(0), everything[near].max(0)
            return low, high
        points, opacities = points[kept], opacities[kept]


def _weighted_quantiles(points: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Return, for each share and axis, the coordinate below which that share of the weight lies: (len(shares), 3)."""
    found = np.empty((len(shares), 3))
    for axis in range(3):
        order = np.argsort(points[:, axis])
        below = np.cumsum(weights[order])
        places = np.searchsorted(below, np.multiply(shares, below[-1])).clip(0, len(order) - 1)
        found[:, axis] = points[order[places], axis]
    return found


def _spacing(points: np.ndarray) -> float:
    """Return a distance within which most points have neighbours: twice the median one to the fourth nearest."""
    count = min(_NEIGHBOUR, len(points) - 1)
    if count < 1:
        return 0.0
    some = points[:: max(1, len(points) // _SAMPLES)]
    distances, _ = cKDTree(points).query(some, count + 1)
    return float(2 * np.median(distances[:, -1]))


def _connected(points: np.ndarray, cell: float) -> np.ndarray:
    """Return the number of the connected part of each point (N,); cells that touch each other connect their points."""
    # What is more than two million cells away from the lowest point counts as in the last one.
    places = np.floor(((points - points.min(0)) / cell).clip(0, 2**21 - 1)).astype(np.int64)
    keys, of_point = np.unique(places @ np.array([2**42, 2**21, 1]), return_inverse=True)
    cells = np.stack([keys >> 42, keys >> 21 & 2**21 - 1, keys & 2**21 - 1], 1)
    pairs = cKDTree(cells.astype(np.float64)).query_pairs(1.5, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (len(cells), len(cells)))
    return connected_components(links, directed=False)[1][of_point]
