"""Find where an object is in space from its masks in several views: its place by a plane sweep, its shape by carving.

The shape is a visual hull (Laurentini 1994) that weighs evidence: a view in which a voxel is seen outside of the object
speaks strongly against it, one in which it is seen inside speaks weakly for it, because something else on the ray may
be what is seen (Franco and Boyer, "Fusion of multi-view silhouette cues using a space occupancy grid", 2005).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from gaussians.cameras import Cameras
from videogen.reconstruction.plane_sweep import nearest_first

FAR = np.float32(1e9)
"""The depth of a pixel that shows nothing."""

_SIDE = 64  # voxels along a side
_PRIOR = 0.5  # logarithm of the odds in the middle of the box, and against in its corners
_LOST = -8.0  # no view brings back a voxel below
_CUBE = 0.85  # half side, of the object's larger side in the first view
_BEHIND = 0.2  # the middle lies behind the side that the first view sees, of the larger side
_SWEEP_STEPS = 128
_SWEEP_VIEWS = 4
_WORST = 120.0  # sum of three channels' differences: more is hidden or outside


@dataclass(frozen=True)
class Trust:
    """A ``Trust`` says how much a view's mask counts, as logarithms of odds.

    Attributes:
        strongest, weakest: at most and at least, against a voxel that is seen outside of the object.
        inside: for a voxel that is seen inside.
    """

    strongest: float
    weakest: float
    inside: float


TENTATIVE = Trust(2.5, 0.15, 0.2)
"""Of masks that may miss the object: several views have to agree."""
FIRM = Trust(4.0, 0.3, 0.15)
"""Of masks that were found with what all views say."""


class ObjectVolume:
    """An ``ObjectVolume`` is a cube of voxels around an object, with evidence from each view for and against each.

    Args:
        center: (3,) the cube's centre.
        half: half of its side.
        cameras: N cameras of the views, on the CPU.
    """

    def __init__(self, center: np.ndarray, half: float, cameras: Cameras) -> None:
        steps = ((np.arange(_SIDE) + 0.5) / _SIDE * 2 - 1) * half
        offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
        self.center, self.half, self.voxel = center, half, 2 * half / _SIDE
        self._size = cameras.width, cameras.height
        self._viewmats, self._Ks = cameras.viewmats.numpy(), cameras.Ks.numpy()
        self._points = (offsets + center).astype(np.float32)
        self._score = (_PRIOR * (1 - 2 * (offsets**2).sum(1) / half**2)).astype(np.float32)
        self._occupied = self._score > 0
        self._evidence: dict[int, np.ndarray] = {}
        self._projected: dict[int, np.ndarray] = {}

    def draw(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what a view sees of the occupied voxels: depth (H, W), and thickness (H, W), both metres.

        Where there is none the depth is ``FAR`` and the thickness 0. Occupied are the voxels that had odds for them
        when ``settle`` was last called.
        """
        u, v, z = self._project(view)[:, self._occupied]
        width, height = self._size
        pixels = self.voxel * float(self._Ks[view, 0, 0]) / self._depth(view)
        # Voxels must not be smaller than pixels: holes would open between them.
        scale = min(1.0, 1 / (1.2 * pixels))
        columns, rows = int(np.ceil(width * scale)), int(np.ceil(height * scale))
        x, y = np.floor(u * (columns / width)).astype(np.int64), np.floor(v * (rows / height)).astype(np.int64)
        seen = (x >= 0) & (y >= 0) & (x < columns) & (y < rows) & (z > 0)
        index, z = (y * columns + x)[seen], z[seen]
        per_voxel = self.voxel * pixels**2 * (columns / width) * (rows / height)
        thickness = np.bincount(index, minlength=rows * columns).astype(np.float32) * np.float32(per_voxel)
        depth = np.full(rows * columns, FAR, np.float32)
        farthest_first = np.argsort(-z)
        depth[index[farthest_first]] = z[farthest_first]
        return self._enlarged(depth.reshape(rows, columns)), self._enlarged(thickness.reshape(rows, columns))

    def observe(
        self, view: int, mask: np.ndarray, certainty: np.ndarray, hidden_from: np.ndarray, trust: Trust
    ) -> None:
        """Take a view's mask as evidence, instead of what the view said before; it counts once ``settle`` is called.

        Args:
            mask: (H, W) bool, which pixels show the object.
            certainty: (H, W), logarithms of the odds that pixels outside of the mask do not show it; those at minus
                infinity say nothing.
            hidden_from: (H, W), the depth behind which something else hides what is there.
            trust: how much the mask counts.
        """
        against = np.clip(certainty, trust.weakest, trust.strongest)
        against[np.isneginf(certainty)] = 0
        odds = np.maximum(signed_distance(mask) * trust.strongest, -against).astype(np.float32)
        u, v, z = self._project(view)
        evidence = np.clip(_sample(odds, u, v, cv2.INTER_LINEAR), -trust.strongest, trust.inside)
        evidence[z > _sample(hidden_from, u, v, cv2.INTER_NEAREST)] = 0
        if view in self._evidence:
            self._score -= self._evidence[view]
        self._evidence[view] = evidence
        self._score += evidence

    def settle(self) -> None:
        """Let what the views have said decide which voxels are occupied."""
        self._occupied = self._score > 0

    def prune(self, lowest: float = _LOST) -> None:
        """Forget the voxels that no further view can bring back."""
        kept = self._score > lowest
        self._points, self._score, self._occupied = self._points[kept], self._score[kept], self._occupied[kept]
        self._evidence = {view: evidence[kept] for view, evidence in self._evidence.items()}
        self._projected = {view: projected[:, kept] for view, projected in self._projected.items()}

    def _depth(self, view: int) -> float:
        """Return the depth of the cube's centre."""
        return float((self._viewmats[view, :3, :3] @ self.center + self._viewmats[view, :3, 3])[2])

    def _enlarged(self, values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, self._size, interpolation=cv2.INTER_NEAREST)

    def _project(self, view: int) -> np.ndarray:
        """Return (3, M): pixels u and v, and depth, of the voxels' centres."""
        if view not in self._projected:
            viewmat, K = self._viewmats[view], self._Ks[view]
            x, y, z = viewmat[:3, :3] @ self._points.T + viewmat[:3, 3:]
            depth = np.maximum(z, 1e-6)
            u, v = x / depth * K[0, 0] + K[0, 2], y / depth * K[1, 1] + K[1, 2]
            self._projected[view] = np.stack([u, v, z]).astype(np.float32)
        return self._projected[view]


def place_object(mask: np.ndarray, depth: float, cameras: Cameras) -> ObjectVolume:
    """Return the volume around an object whose mask (H, W) and depth in the first of N cameras are known."""
    viewmat, K = cameras.viewmats[0].double().numpy(), cameras.Ks[0].double().numpy()
    v, u = np.nonzero(mask)
    side = (max(int(np.ptp(u)), int(np.ptp(v))) + 1) * depth / K[0, 0]
    middle = np.array([(u.min() + u.max() + 1) / 2, (v.min() + v.max() + 1) / 2, 1.0])
    local = np.linalg.inv(K) @ middle * depth + np.array([0, 0, _BEHIND * side])
    return ObjectVolume(viewmat[:3, :3].T @ (local - viewmat[:3, 3]), _CUBE * side, cameras)


def sweep_depth(images: np.ndarray, mask: np.ndarray, cameras: Cameras, nearest: float, farthest: float) -> float:
    """Return the depth in the first view at which its pixels in ``mask`` look like the pictures of the nearest cameras.

    All of them are taken to lie in a plane parallel to the image (Collins, "A space-sweep approach to true multi-image
    matching", 1996).

    Args:
        images: (N, H, W, 3) uint8.
        mask: (H, W) bool.
        cameras: N of them, on the CPU.
        nearest, farthest: limits of the depth, metres along the viewing axis.
    """
    viewmats, Ks = cameras.viewmats.double().numpy(), cameras.Ks.double().numpy()
    neighbors = nearest_first(cameras)[1 : 1 + _SWEEP_VIEWS]
    blurred = {view: cv2.GaussianBlur(images[view], (0, 0), 1.0) for view in (0, *neighbors)}
    v, u = np.nonzero(mask)
    rays = np.stack([u + 0.5, v + 0.5, np.ones(len(u))]).T @ np.linalg.inv(Ks[0]).T
    colors = blurred[0][v, u].astype(float)
    depths = 1 / np.linspace(1 / nearest, 1 / farthest, _SWEEP_STEPS)
    costs = []
    for depth in depths:
        points = (rays * depth - viewmats[0, :3, 3]) @ viewmats[0, :3, :3]
        differences = []
        for view in neighbors:
            local = points @ viewmats[view, :3, :3].T + viewmats[view, :3, 3]
            pixels = local @ Ks[view].T / np.maximum(local[:, 2:], 1e-6)
            x, y = pixels[:, 0], pixels[:, 1]
            inside = (local[:, 2] > 0) & (x >= 0) & (y >= 0) & (x < cameras.width) & (y < cameras.height)
            found = _sample(blurred[view], x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
            difference = np.minimum(np.abs(found - colors).sum(1), _WORST)
            differences.append(np.where(inside, difference, _WORST).mean())
        # The worst view may be one that something hides the object from.
        costs.append(np.mean(sorted(differences)[: max(2, len(differences) * 3 // 4)]))
    return float(depths[int(np.argmin(costs))])


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance (H, W) of pixels' centres from the edge of a mask, positive inside, pixels."""
    inside = mask.astype(np.uint8)
    if mask.all() or not mask.any():
        return np.full(mask.shape, np.inf if mask.all() else -np.inf)
    return np.where(
        mask,
        cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5) - 0.5,
        0.5 - cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5),
    )


def _sample(values: np.ndarray, u: np.ndarray, v: np.ndarray, interpolation: int) -> np.ndarray:
    """Return the values of a picture (H, W) or (H, W, C) at pixels u, v (M,) float32; outside, those of its edge."""
    if len(u) == 0:
        return np.zeros((0, *values.shape[2:]), values.dtype)
    columns = 512  # OpenCV's limit on rows and columns is 32767
    rest = -len(u) % columns
    x, y = (np.pad(coordinate - np.float32(0.5), (0, rest)).reshape(-1, columns) for coordinate in (u, v))
    found = cv2.remap(values, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, *values.shape[2:])[: len(u)]
