"""Measure how deep objects are inside each other, from clouds of points that may be hollow, concave and deformed.

An undeformed object is a solid on a grid: the cells that hold its points, and those that they enclose. A point of
another object is carried back into that solid with the keypoint nearest to it, and its depth is looked up there.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from gaussians.rotations import polar_rotation

_CELLS = 48  # at most, along the longest side
_SPACINGS = 1.6  # side of a cell over the distance of neighbouring points, so that few cells of a surface are empty
_FEW = 0.02  # share of the points whose neighbours may be farther away than that distance
_MARGIN = 2  # empty cells around an object


class Interior:
    """An ``Interior`` is the inside of an undeformed object.

    Attributes:
        resolution: cell size of its grid, metres; depths are good to about half of it, and what is thinner has none.
    """

    def __init__(self, points: torch.Tensor) -> None:
        """Take the inside to be what the points enclose.

        Args:
            points: (N, 3), points of its surface or of all of it, metres, in frame 0.
        """
        cloud = points.double().numpy()
        extent = float(np.ptp(cloud, axis=0).max())
        neighbours = cKDTree(cloud).query(cloud, k=[min(2, len(cloud))])[0]
        self.resolution = max(extent / _CELLS, _SPACINGS * float(np.quantile(neighbours, 1 - _FEW)), 1e-6)
        # So many cells that the centres of the outermost ones are nearest to the outermost points, alike on both sides.
        counts = np.rint(np.ptp(cloud, axis=0) / self.resolution).astype(int) + 1
        middle = (cloud.min(0) + cloud.max(0)) / 2
        self._origin = middle - (counts / 2 + _MARGIN) * self.resolution
        cells = np.floor((cloud - self._origin) / self.resolution).astype(int)
        held = np.zeros(counts + 2 * _MARGIN, bool)
        held[tuple(cells.T)] = True
        inside = ndimage.binary_fill_holes(ndimage.binary_closing(held, np.ones((3, 3, 3))))
        # Surfaces run through the middle of the cells that hold them: there the depth is 0.
        layers = ndimage.distance_transform_edt(inside) - 1
        beyond = -ndimage.distance_transform_edt(~inside)
        self._depths = np.where(inside, layers, beyond) * self.resolution

    def depths(self, points: np.ndarray) -> np.ndarray:
        """Return how deep below the surface points (M, 3) in frame 0 are, (M,), metres; 0 for those outside."""
        places = (points - self._origin) / self.resolution - 0.5
        depths = ndimage.map_coordinates(self._depths, places.T, order=1, mode="nearest")
        return depths.clip(0)


def penetration_depths(positions: torch.Tensor, mask: torch.Tensor, interiors: Sequence[Interior]) -> torch.Tensor:
    """Return the depth (T,) in each frame of the keypoint deepest inside another object, metres; 0 where none is.

    Args:
        positions: (T, O, P, 3), metres; objects are undeformed in frame 0.
        mask: (O, P), bool, which keypoints exist.
        interiors: the insides of the O objects, as they lie in frame 0.
    """
    own = [positions[:, i, mask[i]].double() for i in range(len(mask))]  # (T, P_i, 3) each
    deepest = torch.zeros(len(positions), dtype=torch.float64)
    for j, outer in enumerate(own):
        others = torch.cat([outer[:, :0], *own[:j], *own[j + 1 :]], 1)
        inside = ((others > outer.amin(1, keepdim=True)) & (others < outer.amax(1, keepdim=True))).all(-1)
        if not inside.any():
            continue
        frames, candidates = inside.nonzero()[:, 0], others[inside]
        trees = {t: cKDTree(outer[t].numpy()) for t in frames.unique().tolist()}
        found = [tree.query(others[t, inside[t]].numpy())[1] for t, tree in trees.items()]
        nearest = torch.from_numpy(np.concatenate(found))
        arms = candidates - outer[frames, nearest]
        undone = outer[0, nearest] + (arms[:, None] @ _rotations(outer)[frames]).squeeze(1)
        depths = torch.from_numpy(interiors[j].depths(undone.numpy()))
        deepest = deepest.scatter_reduce(0, frames, depths, "amax")
    return deepest


def _rotations(points: torch.Tensor) -> torch.Tensor:
    """Return the rotations (T, 3, 3) of an object's keypoints (T, P, 3) from frame 0 to every frame."""
    arms = points - points.mean(1, keepdim=True)
    return polar_rotation(arms.mT @ arms[:1])
