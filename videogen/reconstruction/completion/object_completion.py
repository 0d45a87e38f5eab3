"""Complete what no picture shows of objects, their undersides and insides, so that they can be simulated as solids.

An object is taken to be all that its visual hull allows, or, where that explains what was seen as well, the part of the
hull that is symmetric about a plane that lies level or across the object: a hull is larger than the object where no
camera looks, and a plane of symmetry says what is there. Where a network has generated the whole object, that says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from gaussians.cameras import Cameras, look_at
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from videogen.reconstruction.completion.generated_objects import thinned
from videogen.reconstruction.completion.visual_hull import VoxelSolid, see_object, visual_hull, without_shared
from videogen.reconstruction.placement import FLOOR
from videogen.reconstruction.segmentation.pixel_weights import pixel_weights

_LEVEL = 0.7  # least cosine between the vertical and the normal of a plane of symmetry
_TILTS = (-4.0, 0.0, 4.0)  # degrees about two axes
_OFFSETS = 65
_LOST = 0.05  # mean distance of the mirrored surface outside of the hull, in two cells, at most
_LOST_WEIGHT = 16.0  # of that, to the share of the hull: where a ball is widest, offsets lose little at first
_ENOUGH = 2000  # points and cells that planes are tried on
_WIDTH = 0.5  # standard deviation of a new Gaussian, of the spacing
_OUTSIDE = 0.5  # cells beyond the boundary from which on Gaussians are left out
_DEEP = 0.3  # least depth of new Gaussians below the boundary, of the spacing
_CLEAR = 0.6  # least distance between new Gaussians and seen ones, of the spacing
_JITTER = 0.25  # of the spacing
_OPACITY = 0.95
_SHOWN = 0.02  # pixels of a new Gaussian that may show in a picture, on average
_PASSES = 2
_SEEN = 0.05  # pixels of a picture that a Gaussian fills, on average, whose colour is known
_DIRECTIONS = [d for d in product((-1.0, 0.0, 1.0), repeat=3) if any(d)]  # 26 cameras around a generated object
_AROUND_SIDE = 128  # pixels of their pictures
_MOST_OF_IT = 0.99  # of its Gaussians are within its radius
_AWAY = 4.0  # radii that they stand away from its middle
_SOLID = 0.5  # opacity
_WITNESSES = 5  # of them that see a cell before the surface: some look through gaps
_FAINT, _NARROW = 0.05, 0.5  # opacity and width of those that show more


@dataclass(frozen=True)
class Plane:
    """A ``Plane`` holds the points p with normal . p = offset.

    Attributes:
        normal: (3,), unit.
        offset: metres.
    """

    normal: np.ndarray
    offset: float

    def mirrored(self, points: np.ndarray) -> np.ndarray:
        """Return the mirror images of points (N, 3)."""
        return points - 2 * (points @ self.normal - self.offset)[:, None] * self.normal


@dataclass(frozen=True)
class Completion:
    """A ``Completion`` holds objects without gaps.

    Attributes:
        gaussians: of the objects, labelled: those that there were inside of the bodies, then those that were added.
        added: number of those that were added, of each object.
        left_out: number of those that there were outside of its body.
        solids: the body of each object.
        by: what says how each object goes on: "generation", "symmetry" or "visual hull".
    """

    gaussians: Gaussians
    added: list[int]
    left_out: list[int]
    solids: list[VoxelSolid]
    by: list[str]

    def described(self) -> list[dict[str, Any]]:
        """Return what a report says of each object: numbers of Gaussians, its volume in m^3, and how it goes on."""
        assert self.gaussians.labels is not None
        counts = torch.bincount(self.gaussians.labels.cpu().long(), minlength=len(self.solids)).tolist()
        return [
            {"count": count, "added": added, "left_out": left_out, "volume": solid.volume, "by": by}
            for count, added, left_out, solid, by in zip(
                counts, self.added, self.left_out, self.solids, self.by, strict=True
            )
        ]


def complete_objects(
    scene: Gaussians,
    cameras: Cameras,
    count: int,
    floor: float = FLOOR,
    generated: Sequence[Gaussians | None] | None = None,
) -> Completion:
    """Fill ``count`` objects where no picture shows them, and colour there what is there already.

    New Gaussians are as many as there were at the most, and hardly show in the pictures. Gaussians outside of
    their object's body, most of them below it, where no camera looks, are left out: objects would collide by them.

    Args:
        scene: Gaussians in the world, labelled 0 to ``count`` - 1, -1 for all else.
        cameras: those that took the pictures that the Gaussians look like, of their size.
        floor: height below which nothing is, metres.
        generated: whole objects as a network sees them, opaque, where the scene has them; None for those without.
    """
    assert scene.labels is not None
    seen = [see_object(scene, k, cameras, floor) for k in range(count)]
    hulls = without_shared([visual_hull(entry) for entry in seen], seen)
    shown = _weights(scene, cameras) > _SEEN * len(cameras)
    old, new, by, solids, left_out = [], [], [], [], []
    for k, (hull, entry) in enumerate(zip(hulls, seen, strict=True)):
        whole = generated[k] if generated is not None else None
        plane = plane_of_symmetry(hull, entry.points) if whole is None else None
        if whole is not None:
            solids.append(inside_surface(hull, whole))
        else:
            solids.append(symmetric_part(hull, plane) if plane is not None else hull)
        rows = torch.nonzero(scene.labels == k).squeeze(1)
        # What a network says of the object is not so exact that it could take away what was seen.
        held = _inside(scene.means[rows], solids[-1] if whole is None else hull)
        left_out.append(int((~held).sum()))
        rows = rows[held]
        own, own_shown = scene[rows], shown[rows]
        visible, surface = own[own_shown] if own_shown.any() else own, own[:0]
        if whole is not None:
            surface = _unseen(whole.with_sh_degree(own.sh_degree), own, hull)
            visible = Gaussians.cat([visible, surface])
        by.append("generation" if whole is not None else "visual hull" if plane is None else "symmetry")
        old.append(_merge(own, _colored(own, visible, plane), own_shown))
        filling = _colored(_filling(solids[-1], Gaussians.cat([own, surface])), visible, plane)
        new.append(Gaussians.cat([surface, filling]))
    added = _hidden(Gaussians.cat(new), scene, cameras)
    return Completion(
        Gaussians.cat([*old, added]),
        [len(part) for part in new],
        left_out,
        solids,
        by,
    )


def _inside(means: torch.Tensor, body: VoxelSolid) -> torch.Tensor:
    """Return which of an object's Gaussians (N,) are in its body; all, where contradicting masks leave none there."""
    depths = torch.from_numpy(body.depths(means.double().cpu().numpy())).to(means.device)
    inside = (depths > -_OUTSIDE * body.cell) & bool(body.inside.any())
    return inside | ~inside.any()


def inside_surface(hull: VoxelSolid, whole: Gaussians) -> VoxelSolid:
    """Return the part of a hull that is inside the surface of an object: no camera around it sees a cell before it.

    Args:
        whole: the object, opaque.
    """
    centers = torch.from_numpy(hull.centers()).to(whole.means)
    middle = whole.means.median(0).values
    radius = float(np.quantile((whole.means - middle).norm(dim=1).cpu().numpy(), _MOST_OF_IT))
    directions = torch.nn.functional.normalize(torch.tensor(_DIRECTIONS).to(whole.means), dim=1)
    focal = _AROUND_SIDE / 2 * (_AWAY**2 - 1) ** 0.5
    closed = thinned(whole.with_sh_degree(0), hull.cell)  # without the gaps that cameras would see through
    cameras = look_at(middle + _AWAY * radius * directions, middle, _AROUND_SIDE, _AROUND_SIDE, focal)
    outside = torch.zeros(len(centers), dtype=torch.int32, device=centers.device)
    for view in range(len(cameras)):
        drawn = rasterize(closed, cameras[view : view + 1])
        surface = torch.where(drawn.alpha[0] > _SOLID, drawn.depth[0], torch.inf)
        local = centers @ cameras.viewmats[view, :3, :3].T + cameras.viewmats[view, :3, 3]
        column, row = (focal * local[:, :2] / local[:, 2:] + _AROUND_SIDE / 2).floor().long().unbind(1)
        there = (column >= 0) & (row >= 0) & (column < _AROUND_SIDE) & (row < _AROUND_SIDE)
        column, row = column.clamp(0, _AROUND_SIDE - 1), row.clamp(0, _AROUND_SIDE - 1)
        outside += ~there | (local[:, 2] < surface[row, column])
    inside = hull.inside.copy()
    inside[tuple(np.argwhere(inside)[(outside >= _WITNESSES).cpu().numpy()].T)] = False
    return VoxelSolid(inside, hull.origin, hull.cell)


def _unseen(whole: Gaussians, seen: Gaussians, hull: VoxelSolid) -> Gaussians:
    """Return Gaussians of a generated object where none were seen, as far apart as those, and only in the hull."""
    means = seen.means.double().cpu().numpy()
    tree = cKDTree(means)
    spacing = float(np.median(tree.query(means, min(2, len(means)))[0].reshape(len(means), -1)[:, -1]))
    spacing = max(spacing, hull.cell)
    kept = thinned(whole, spacing)
    points = kept.means.double().cpu().numpy()
    chosen = hull.has(points) & (tree.query(points)[0] > spacing)
    assert seen.labels is not None
    kept = kept[torch.from_numpy(chosen).to(kept.device)]
    return replace(kept, labels=seen.labels[:1].repeat(len(kept)), opacities=torch.full_like(kept.opacities, _OPACITY))


def plane_of_symmetry(hull: VoxelSolid, points: np.ndarray) -> Plane | None:
    """Return the plane whose symmetric part of a hull is small and holds points (N, 3) of the seen surface.

    None if no plane that lies nearly level has such a part.
    """
    surface = points[:: 1 + len(points) // _ENOUGH]
    start = _outside(hull, surface)
    surface, start = surface[start < 1], start[start < 1]
    if len(surface) < 4:
        return None
    some = hull.centers()
    some = some[:: 1 + len(some) // _ENOUGH]
    lowest, chosen = np.inf, None
    for normal in _normals(surface):
        heights = surface @ normal
        for offset in np.linspace(heights.min(), heights.max(), _OFFSETS).tolist():
            plane = Plane(normal, offset)
            lost = (_outside(hull, plane.mirrored(surface)) - start).mean()
            share = hull.has(plane.mirrored(some)).mean()
            cost = share + _LOST_WEIGHT * max(lost, 0)
            if lost <= _LOST and share <= 1 - _LOST and cost < lowest:
                lowest, chosen = cost, plane
    return chosen


def _outside(solid: VoxelSolid, points: np.ndarray) -> np.ndarray:
    """Return (N,) how far points (N, 3) are outside of a body, 0 for inside and 1 for two cells and more."""
    return np.clip(-solid.depths(points) / (2 * solid.cell), 0, 1)


def symmetric_part(hull: VoxelSolid, plane: Plane) -> VoxelSolid:
    """Return the part of a hull whose mirror image is in the hull, too."""
    inside = hull.inside.copy()
    inside[tuple(np.argwhere(inside)[~hull.has(plane.mirrored(hull.centers()))].T)] = False
    return VoxelSolid(inside, hull.origin, hull.cell)


def _normals(points: np.ndarray) -> list[np.ndarray]:
    """Return the vertical and the principal axes of points (N, 3) that are not far from it, and directions around."""
    _, axes = np.linalg.eigh(np.cov(points.T))
    vertical = np.array([0.0, 0.0, 1.0])
    bases = [vertical, *(axis * np.sign(axis[2]) for axis in axes.T if abs(axis[2]) > _LEVEL)]
    first, second = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    tilts = np.tan(np.radians(_TILTS))
    tilted = [base + a * first + b * second for base in bases for a in tilts for b in tilts]
    return [normal / np.linalg.norm(normal) for normal in tilted]


def _filling(solid: VoxelSolid, seen: Gaussians, seed: int = 0) -> Gaussians:
    """Return round Gaussians that fill a body where there are none, smaller next to its boundary."""
    if not solid.inside.any():  # masks that contradict each other leave nothing
        return seen[:0]
    means = seen.means.double().cpu().numpy()
    tree = cKDTree(means)
    own = float(np.median(tree.query(means, min(2, len(means)))[0].reshape(len(means), -1)[:, -1]))
    spacing = max(own, (solid.volume / len(means)) ** (1 / 3))
    centers = solid.centers()
    lines = [np.arange(low - spacing, high + spacing, spacing) for low, high in zip(*_ends(centers), strict=True)]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    points = points + np.random.default_rng(seed).uniform(-_JITTER, _JITTER, points.shape) * spacing
    depths = solid.depths(points)
    kept = (depths > _DEEP * spacing) & (tree.query(points)[0] > _CLEAR * spacing)
    count, like = int(kept.sum()), seen.means
    assert seen.labels is not None
    return Gaussians(
        means=torch.from_numpy(points[kept]).to(like),
        opacities=like.new_full((count,), _OPACITY),
        sh=like.new_zeros(count, seen.sh.shape[1], 3),
        scales=torch.from_numpy(np.minimum(_WIDTH * spacing, depths[kept])).to(like)[:, None].repeat(1, 3),
        quaternions=torch.tensor([1.0, 0, 0, 0]).to(like).repeat(count, 1),
        labels=seen.labels[:1].repeat(count),
    )


def _ends(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.min(0), points.max(0)


def _colored(gaussians: Gaussians, visible: Gaussians, plane: Plane | None) -> Gaussians:
    """Return Gaussians with the colours of the nearest of those that pictures show, or of their mirror images."""
    means = gaussians.means.double().cpu().numpy()
    tree = cKDTree(visible.means.double().cpu().numpy())
    distances, nearest = tree.query(means)
    if plane is not None:
        far, mirrored = tree.query(plane.mirrored(means))
        nearest = np.where(far < distances, mirrored, nearest)
    sh = torch.zeros_like(gaussians.sh)
    sh[:, :1] = visible.sh[torch.from_numpy(nearest).to(visible.device), :1]
    return replace(gaussians, sh=sh)


def _merge(gaussians: Gaussians, others: Gaussians, first: torch.Tensor) -> Gaussians:
    return replace(gaussians, sh=torch.where(first[:, None, None], gaussians.sh, others.sh))


def _weights(gaussians: Gaussians, cameras: Cameras) -> torch.Tensor:
    """Return how many pixels of all pictures together each of N Gaussians fills."""
    weights = torch.zeros(len(gaussians), device=gaussians.device)
    for view in range(len(cameras)):
        weights += pixel_weights(gaussians, cameras[view : view + 1])[:, 0]
    return weights


def _hidden(new: Gaussians, scene: Gaussians, cameras: Cameras) -> Gaussians:
    """Return new Gaussians, small and faint where pictures would show them: what was seen keeps its looks."""
    for _ in range(_PASSES):
        weights = _weights(Gaussians.cat([scene, new]), cameras)[len(scene) :]
        shown = (weights > _SHOWN * len(cameras)) & (new.opacities > _FAINT)
        if not shown.any():
            break
        assert new.scales is not None
        scales = torch.where(shown[:, None], _NARROW * new.scales, new.scales)
        new = replace(new, scales=scales, opacities=new.opacities.masked_fill(shown, _FAINT))
    return new
