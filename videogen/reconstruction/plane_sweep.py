"""Estimate depth from posed pictures, and from it the points that an optimisation starts with.

Plane-sweep stereo (Collins 1996): every pixel is moved along its ray, and stays where the other pictures show the same
colours around it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, grid_sample

from gaussians.cameras import Cameras
from videogen.reconstruction.planes import fit_plane
from videogen.reconstruction.posing.posed_pictures import PosedPictures

_STEPS = 64
_NEIGHBOURS = 8
_WINDOW = 5  # pixels
_AROUND = 15  # pixels, whose colours a pixel's is compared with
_COLORS, _CONTRASTS = 0.6, 0.15  # weights of colours, and of how they differ from those around
_NOISE = 0.02  # of colours: differences as small mean nothing
_UNSEEN = 0.3  # cost where no other picture shows a point: twice that of a clear difference in colour
_DOUBT = 0.01
_AS_GOOD = 1.5
_NEAR = 1.4
_AGREES = 0.03  # relative difference of two depths of one point
_WITNESSES = 2
_MOST_LOOKING = 20  # pictures, near and far, that are asked whether they show what is behind a point
_ENOUGH_POINTS = 10
_FEWEST_ON_PLANE = 100  # points that tell whether the scene has a plane
_FLATNESS = 0.01  # of the scene's size: points that far from a plane are on it
_MAIN = 1 / 7  # share of the points that lie on a main plane
_PARALLEL = 1e-4  # mean square sine of the angles between axes
_TOWARDS = 0.9  # cosine of the angle at which a camera still looks at a point


@dataclass(frozen=True)
class SweptDepth:
    """A ``SweptDepth`` holds depth along the viewing axis for N pictures.

    Attributes:
        depth: (N, H, W), in units of the cameras' frame.
        consistent: (N, H, W), whether two other pictures' depths agree, or that of the only one that shows the point.
        refuted: (N, H, W), whether at least two other pictures show something behind the point.
        images: (N, H, W, 3) float32, 0 to 1, the pictures at that size.
        cameras: N cameras of that size.
    """

    depth: torch.Tensor
    consistent: torch.Tensor
    refuted: torch.Tensor
    images: torch.Tensor
    cameras: Cameras


def depth_range(pictures: PosedPictures) -> tuple[float, float]:
    """Return the nearest and farthest depth to look at.

    Known points tell it, else the point that the cameras look at. Where there is neither, as in a room that cameras
    look around in, it is 4 to 100 times as far as the two cameras next to each other are apart.
    """
    cameras = pictures.cameras
    if pictures.points is not None and len(pictures.points) >= _ENOUGH_POINTS:
        points = pictures.points.to(cameras.viewmats)
        depths = points @ cameras.viewmats[:, 2, :3].T + cameras.viewmats[:, 2, 3]
        if len(seen := depths[depths > 0]):
            nearest, farthest = np.quantile(seen.cpu().numpy(), (0.02, 0.98)).tolist()  # PyTorch's takes 2^24 at most
            return 0.5 * nearest, 2 * farthest
    if (found := looked_at(cameras)) is not None:
        return 0.4 * found[1], 3 * found[1]
    spacing = torch.pdist(cameras.positions).min().clamp_min(1e-6).item()
    return 4 * spacing, 100 * spacing


def looked_at(cameras: Cameras) -> tuple[torch.Tensor, float] | None:
    """Return the point (3,) nearest to all optical axes, and the median distance of the cameras from it.

    None where the axes are parallel, or the point is behind a camera or far from the axes.
    """
    positions, axes = cameras.positions, cameras.viewmats[:, 2, :3]
    projections = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None]
    total = projections.sum(0)
    if torch.linalg.eigvalsh(total)[0] / len(cameras) < _PARALLEL:
        return None
    center = torch.linalg.solve(total, (projections @ positions[..., None]).sum(0)).squeeze(-1)
    arms = center - positions
    if not ((arms * axes).sum(1) > _TOWARDS * arms.norm(dim=1)).all():
        return None
    return center, arms.norm(dim=1).median().item()


def nearest_first(cameras: Cameras, view: int = 0) -> list[int]:
    """Return the numbers of the cameras by their distance from that of ``view``, which comes first."""
    distances = (cameras.positions - cameras.positions[view]).norm(dim=1)
    distances[view] = -1  # others may stand in the same place
    return distances.argsort(stable=True).tolist()


def neighbours_of(cameras: Cameras) -> list[list[int]]:
    """Return for each camera those that its picture is compared with, nearest first."""
    return [nearest_first(cameras, view)[1 : _NEIGHBOURS + 1] for view in range(len(cameras))]


def sweep(pictures: PosedPictures, labels: torch.Tensor | None = None, max_side: int = 160) -> SweptDepth:
    """Estimate the depth of every pixel of pictures scaled down to ``max_side``.

    Args:
        pictures: N of them.
        labels: (N, H, W), the object that each pixel shows, 0 for none: pictures differ where these do, too.
    """
    nearest, farthest = depth_range(pictures)
    small = pictures.within(max_side)
    cameras = small.cameras
    images = small.images.float() / 255
    # Where nothing tells depths apart, as in a plain backdrop, the farthest is right.
    doubt = torch.linspace(_DOUBT, 0, _STEPS, device=images.device)[:, None, None]
    inverse = torch.linspace(1 / nearest, 1 / farthest, _STEPS, device=images.device)
    neighbours = neighbours_of(cameras)
    channels = _channels(images)
    if labels is not None and labels.any():
        masks = torch.stack([labels == label for label in range(1, int(labels.max()) + 1)], 1).float()
        channels = torch.cat(
            [channels, 0.5 * torch.nn.functional.adaptive_avg_pool2d(masks, (cameras.height, cameras.width))], 1
        )
    costs = _Costs(channels, cameras, neighbours)
    depths, lowest = [], []
    for view in range(len(cameras)):
        cost = costs.at(view, (1 / inverse)[:, None, None]) + doubt
        best = cost.argmin(0)
        depths.append(1 / _refined(cost, best, inverse))
        lowest.append(cost.gather(0, best[None])[0])
    depth = torch.stack(depths)
    depth = _on_plane(depth, torch.stack(lowest), costs, nearest, farthest)
    consistent = agreed(depth, cameras, costs.neighbours)
    return SweptDepth(depth, consistent, seen_through(depth, consistent, cameras), images, cameras)


@dataclass(frozen=True)
class _Costs:
    """A ``_Costs`` tells how differently pictures show the points at some depth.

    Attributes:
        channels: (N, C, H, W), the pictures, and masks of objects.
        cameras: N cameras.
        neighbours: the pictures that each is compared with, nearest first.
    """

    channels: torch.Tensor
    cameras: Cameras
    neighbours: list[list[int]]

    def at(self, view: int, depths: torch.Tensor) -> torch.Tensor:
        """Return the cost (D, H, W) of D ``depths`` (D, H, W) or (D, 1, 1) in a picture."""
        _, _, height, width = self.channels.shape
        rays = pixel_rays(self.cameras[view : view + 1])[0]
        costs = []
        for other in self.neighbours[view]:
            grid, shown = _project(rays, self.cameras, view, other, depths)
            seen = grid_sample(self.channels[other, None], grid.reshape(1, -1, width, 2), align_corners=False)[0]
            difference = (seen.view(-1, len(depths), height, width) - self.channels[view, :, None]).abs().mean(0)
            around = avg_pool2d(difference[:, None], _WINDOW, 1, _WINDOW // 2, count_include_pad=False)[:, 0]
            costs.append(torch.where(shown, difference + around, torch.inf))
        # The better half of those that show the point: something may stand in front of it in the others.
        ordered = torch.stack(costs).sort(0).values
        shown_by = ordered.isfinite().sum(0)
        counted = ((shown_by + 1) // 2).maximum(shown_by.clamp(1, _WITNESSES))
        mean = ordered.where(ordered.isfinite(), 0).cumsum(0).gather(0, counted[None] - 1)[0] / counted
        return torch.where(shown_by > 0, mean, _UNSEEN)


def _channels(images: torch.Tensor) -> torch.Tensor:
    """Return what is compared of pictures (N, H, W, 3): colours, and how they differ from those around, (N, 6, H, W).

    The latter stay where light and exposure change (Hirschmüller & Scharstein, "Evaluation of stereo matching costs on
    images with radiometric differences", 2009).
    """
    colors = images.permute(0, 3, 1, 2)
    mean, square = (
        avg_pool2d(values, _AROUND, 1, _AROUND // 2, count_include_pad=False) for values in (colors, colors.square())
    )
    deviation = (square - mean.square()).mean(1, keepdim=True).clamp_min(0).sqrt()
    return torch.cat([_COLORS * colors, _CONTRASTS * (colors - mean) / (deviation + _NOISE)], 1)


def _on_plane(
    depth: torch.Tensor, lowest: torch.Tensor, costs: _Costs, nearest: float, farthest: float
) -> torch.Tensor:
    """Return the depth, moved onto the scene's main plane where the pictures agree with that about as well.

    A floor's pattern repeats, and far away it is finer than pixels: the lowest cost is often by chance.
    """
    cameras = costs.cameras
    consistent = agreed(depth, cameras, costs.neighbours)
    # Backdrops are far away and often plain: what is found there is no plane.
    points = unproject(cameras, depth)[consistent & (depth < (nearest * farthest) ** 0.5 * _NEAR)]
    if len(points) < _FEWEST_ON_PLANE:
        return depth
    size = (points - points.median(0).values).norm(dim=1).median().item()
    plane = fit_plane(points, _FLATNESS * size)
    if plane is None or plane.share < _MAIN:
        return depth
    normal = plane.normal.to(depth)
    positions, rotations = cameras.positions, cameras.viewmats[:, :3, :3]
    slopes = pixel_rays(cameras) @ rotations[:, None] @ normal
    there = (plane.offset - positions @ normal)[:, None, None] / slopes
    there = torch.where((there >= nearest) & (there <= farthest), there, torch.inf)
    for view in range(len(cameras)):
        hit = there[view].isfinite()
        cost = costs.at(view, torch.where(hit, there[view], farthest)[None])[0]
        depth[view] = torch.where(hit & (cost < _AS_GOOD * lowest[view] + _DOUBT), there[view], depth[view])
    return depth


def _refined(cost: torch.Tensor, best: torch.Tensor, inverse_depths: torch.Tensor) -> torch.Tensor:
    """Return the inverse depth where the parabola through the best step and its neighbours is lowest."""
    middle = best.clamp(1, len(cost) - 2)
    before, at, after = (cost.gather(0, (middle + step)[None])[0] for step in (-1, 0, 1))
    curvature = (before - 2 * at + after).clamp_min(1e-8)
    offset = torch.where(middle == best, ((before - after) / (2 * curvature)).clamp(-0.5, 0.5), 0.0)
    spacing = inverse_depths[1] - inverse_depths[0]
    return inverse_depths[best] + offset * spacing


def pixel_rays(cameras: Cameras) -> torch.Tensor:
    """Return the directions (C, H, W, 3) from the cameras through pixel centres, 1 along the axis, in their frames."""
    device = cameras.Ks.device
    v, u = torch.meshgrid(
        torch.arange(cameras.height, device=device) + 0.5,
        torch.arange(cameras.width, device=device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], -1)
    return pixels @ torch.linalg.inv(cameras.Ks).mT[:, None]


def unproject(cameras: Cameras, depth: torch.Tensor) -> torch.Tensor:
    """Return the points (C, H, W, 3) that the pixels of depths (C, H, W) show."""
    local = pixel_rays(cameras) * depth[..., None]
    rotations, translations = cameras.viewmats[:, :3, :3], cameras.viewmats[:, :3, 3]
    return (local - translations[:, None, None]) @ rotations[:, None]


def _project(
    rays: torch.Tensor, cameras: Cameras, view: int, other: int, depths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where ``other`` sees points on the rays of ``view``, as ``grid_sample`` takes it, and whether it does."""
    between = cameras.viewmats[other] @ torch.linalg.inv(cameras.viewmats[view])
    direction = rays @ (cameras.Ks[other] @ between[:3, :3]).T
    start = cameras.Ks[other] @ between[:3, 3]
    projected = depths[..., None] * direction + start
    return _on_grid(projected, cameras)


def _on_grid(projected: torch.Tensor, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    depth = projected[..., 2]
    size = torch.tensor([cameras.width, cameras.height]).to(projected)
    grid = projected[..., :2] / depth.clamp_min(1e-9)[..., None] / size * 2 - 1
    return grid, (depth > 0) & (grid.abs() <= 1).all(-1)


def agreed(depth: torch.Tensor, cameras: Cameras, neighbours: list[list[int]]) -> torch.Tensor:
    """Return (N, H, W) whether the depths of two other pictures agree, or that of the only one that shows the point."""
    points = unproject(cameras, depth)
    showing, agreeing = torch.zeros_like(depth, dtype=torch.int32), torch.zeros_like(depth, dtype=torch.int32)
    for view, others in enumerate(neighbours):
        for other in others:
            there, distance, shown = _seen_depth(points[view], depth[other], cameras, other)
            showing[view] += shown
            agreeing[view] += shown & ((there - distance).abs() < _AGREES * there)
    return agreeing >= showing.clamp(1, _WITNESSES)


def seen_through(depth: torch.Tensor, consistent: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """Return (N, H, W) whether at least two pictures see consistent points behind where a pixel's point is."""
    points = unproject(cameras, depth)
    behind = depth.where(consistent, 0.0)
    through = torch.zeros_like(depth, dtype=torch.int32)
    for view in range(len(cameras)):
        others = nearest_first(cameras, view)[1:]
        for other in others[:: max(1, -(-len(others) // _MOST_LOOKING))]:
            there, distance, shown = _seen_depth(points[view], behind[other], cameras, other)
            through[view] += shown & (there > (1 + 2 * _AGREES) * distance)
    return through >= _WITNESSES


def _seen_depth(
    points: torch.Tensor, depth: torch.Tensor, cameras: Cameras, other: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the depth that ``other`` has where it sees points (H, W, 3), theirs, and whether it sees them."""
    local = points @ cameras.viewmats[other, :3, :3].T + cameras.viewmats[other, :3, 3]
    grid, shown = _on_grid(local @ cameras.Ks[other].T, cameras)
    there = grid_sample(depth[None, None], grid[None], mode="nearest", align_corners=False)[0, 0]
    return there, local[..., 2], shown
