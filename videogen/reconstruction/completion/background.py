"""Make a background that objects can move before: without floaters, and with the ground closed where objects stood."""

import cv2
import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, binary_opening
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from gaussians.cameras import Cameras, look_at
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from videogen.reconstruction.placement import FLOOR
from videogen.reconstruction.plane_sweep import unproject
from videogen.reconstruction.segmentation.pixel_weights import pixel_weights

_VIEWS = 2  # pictures that have to show a Gaussian
_SHOWN = 0.05  # pixels of a picture that it has to fill
_AGREES = 0.06  # relative difference of depths
_REACH = 0.5  # around the objects and below, of their extent: the space that they move in
_NEIGHBOURS = 8
_FAR = 2.5  # times the distance that a Gaussian's neighbours usually have
_AROUND = 1.5  # times the objects' extent: the ground that is looked at
_HIGH = 20.0  # times that, to look down from: rays are nearly parallel
_GRID = 64  # cells of the ground along a side
_COVERED = 0.5  # opacity of a ground without a hole
_BLEND = 3.0  # cells around a hole that colour it
_OPACITY = 0.95
_THICK = 0.06  # metres: what is as near to the floor is part of the ground; a cell of the simulation's grid
_SMALL = 0.02  # share of the Gaussians in a cluster that floats


def clean_background(scene: Gaussians, cameras: Cameras, floor: float = FLOOR) -> tuple[Gaussians, dict[str, int]]:
    """Return the Gaussians of no object without floaters, the ground closed, and how many went and came.

    Args:
        scene: labelled Gaussians in the world; they look like the pictures.
        cameras: those that took the pictures, of their size.
        floor: height of the ground, metres.
    """
    assert scene.labels is not None
    background = scene[valid_background(scene, cameras)]
    closing = close_ground(background, scene.means[scene.labels >= 0], floor)
    parts = [background] if closing is None else [background, closing]
    counts = {
        "removed": int((scene.labels < 0).sum()) - len(background),
        "added": 0 if closing is None else len(closing),
    }
    return Gaussians.cat(parts), counts


@torch.no_grad()
def valid_background(scene: Gaussians, cameras: Cameras) -> torch.Tensor:
    """Return (N,) which Gaussians of no object at least two pictures show, and are no floaters.

    Floaters are, in the space that the objects move in, in front of what most of the pictures show where they are, or
    in small clusters apart from all else. Farther away the backdrop is as sparse as they are.

    Args:
        scene: N Gaussians, -1 for those of no object; they look like the pictures.
        cameras: those that took the pictures, of their size.
    """
    assert scene.labels is not None
    shown, through, agrees = _evidence(scene, cameras)
    valid = (scene.labels < 0) & (shown >= _VIEWS)
    rows = valid.nonzero()[:, 0]
    objects = scene.means[scene.labels >= 0]
    near = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    if len(objects):
        low, high = objects.quantile(0.01, dim=0), objects.quantile(0.99, dim=0)
        reach = _REACH * (high - low).max()
        low = torch.cat([low[:2] - reach, low.new_tensor([-torch.inf])])
        near = ((scene.means[rows] > low) & (scene.means[rows] < high + reach)).all(1)
    floats = ~torch.from_numpy(_hold_together(scene.means[rows].double().cpu().numpy())).to(valid.device)
    valid[rows] = ~near | ~(floats | (through > agrees)[rows])
    return valid


def _evidence(scene: Gaussians, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return in how many pictures (N,) each Gaussian shows, is in front of what shows there, and is part of that."""
    shown, through, agrees = (torch.zeros(len(scene), dtype=torch.int32, device=scene.device) for _ in range(3))
    for view in range(len(cameras)):
        camera = cameras[view : view + 1]
        shown += pixel_weights(scene, camera)[:, 0] > _SHOWN
        drawn = rasterize(scene, camera)
        surface = torch.where(drawn.alpha[0] > 0.5, drawn.depth[0], torch.inf)
        local = scene.means @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
        pixels = (local @ camera.Ks[0].T)[:, :2] / local[:, 2:].clamp_min(1e-6)
        size = torch.tensor([camera.width, camera.height]).to(pixels)
        inside = (local[:, 2] > 0) & (pixels >= 0).all(1) & (pixels < size).all(1)
        column, row = pixels.where(inside[:, None], 0).long().unbind(1)
        there = surface[row, column]
        through += inside & (local[:, 2] < (1 - _AGREES) * there)
        agrees += inside & ((local[:, 2] - there).abs() <= _AGREES * there)
    return shown, through, agrees


def _hold_together(points: np.ndarray) -> np.ndarray:
    """Return which points (N, 3) are in large clusters, wherever these are dense and wherever sparse."""
    if len(points) <= _NEIGHBOURS:
        return np.ones(len(points), bool)
    distances, neighbours = cKDTree(points).query(points, _NEIGHBOURS + 1)
    near = distances <= _FAR * np.median(distances[:, 1:], 1)[:, None]
    rows, columns = np.nonzero(near)
    links = coo_array((np.ones(len(rows)), (rows, neighbours[rows, columns])), shape=(len(points),) * 2)
    _, cluster = connected_components(links, directed=True, connection="strong")
    return (np.bincount(cluster) >= _SMALL * len(points))[cluster]


@torch.no_grad()
def close_ground(background: Gaussians, objects: torch.Tensor, floor: float) -> Gaussians | None:
    """Return flat Gaussians for the holes of the ground under objects, coloured like what is around; None without any.

    The ground is drawn from above, and what nothing of it covers and all of it surrounds is a hole.

    Args:
        background: Gaussians of no object.
        objects: (M, 3), positions of the objects' Gaussians.
        floor: height of the ground, metres.
    """
    ground = background[(background.means[:, 2] - floor).abs() < _THICK]
    if not len(ground) or not len(objects):
        return None
    low, high = objects[:, :2].quantile(0.01, dim=0), objects[:, :2].quantile(0.99, dim=0)
    side = _AROUND * float((high - low).max())
    middle = (low + high) / 2
    height = _HIGH * side
    focal = _GRID * height / side
    above = torch.cat([middle, middle.new_tensor([floor + height])])
    target = torch.cat([middle, middle.new_tensor([floor])])
    camera = look_at(above[None], target, _GRID, _GRID, focal)
    drawn = rasterize(ground, camera)
    covered = (drawn.alpha[0] > _COVERED).cpu().numpy()
    # Gaps of a cell or two are between sparse Gaussians.
    holes = binary_opening(binary_fill_holes(covered) & ~covered, np.ones((3, 3)))
    if not holes.any():
        return None
    picture = (drawn.rgb[0] / drawn.alpha[0].clamp_min(1e-3)[..., None]).clamp(0, 1).cpu().numpy()
    colors = cv2.inpaint(
        (255 * picture).round().astype(np.uint8), (~covered).astype(np.uint8), _BLEND, cv2.INPAINT_TELEA
    )
    depth = torch.full((1, _GRID, _GRID), height).to(background.means)
    points = unproject(camera, depth)[0][torch.from_numpy(holes).to(background.device)]
    cell = side / _GRID
    like = background.means
    sh = like.new_zeros(len(points), background.sh.shape[1], 3)
    sh[:, :1] = rgb_to_sh(torch.from_numpy(colors[holes]).to(like) / 255)
    return Gaussians(
        means=points,
        opacities=like.new_full((len(points),), _OPACITY),
        sh=sh,
        scales=like.new_tensor([cell, cell, 0.1 * cell]).repeat(len(points), 1),
        quaternions=like.new_tensor([1.0, 0, 0, 0]).repeat(len(points), 1),
        labels=torch.full((len(points),), -1, dtype=torch.int32, device=like.device),
    )
