"""Farthest-point sampling (Gonzalez 1985) on the CPU, so that every machine finds the same points.

Points are sorted into the cells of a grid. What a new point is farther from than any point of a cell is from those
before it need not be looked at, which soon is nearly everything; the result is that of looking at all.
"""

# mypy: ignore-errors

import numpy as np
import torch
import warp as wp

from gaussians.stage.shape_checks import check_shape
from gaussians.stage.warp_runtime import start_warp

# Fused operations would round differently from machine to machine, and decide ties.
wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_POINTS_IN_CELL = 80


@wp.func
def squared_norm(d: wp.vec3) -> float:
    return d[0] * d[0] + d[1] * d[1] + d[2] * d[2]


@wp.kernel
def choose(
    points: wp.array(dtype=wp.vec3),
    number: wp.array(dtype=int),
    first: wp.array(dtype=int),
    low: wp.array(dtype=wp.vec3),
    high: wp.array(dtype=wp.vec3),
    nearest: wp.array(dtype=float),
    farthest: wp.array(dtype=float),
    place: wp.array(dtype=int),
    chosen: wp.array(dtype=int),
):
    """All in one thread: points are chosen one after the other.

    Args:
        points: by cell.
        number: of each point before they were sorted.
        first: of each cell its first point; and of how many points there are.
        low, high: the corners of a box around each cell's points.
        nearest: squared distance of each point to those chosen, infinite.
        farthest: the largest of a cell, infinite.
        place: where it is.
        chosen: places among ``points``, of which the first is given.
    """
    for i in range(1, chosen.shape[0]):
        last = points[chosen[i - 1]]
        best = float(-1.0)
        winner = int(0)
        for cell in range(low.shape[0]):
            # Rounding is monotonic: no point of the box is computed to be nearer than the box.
            if squared_norm(wp.max(wp.max(low[cell] - last, last - high[cell]), wp.vec3())) < farthest[cell]:
                largest = float(-1.0)
                where = int(0)
                for p in range(first[cell], first[cell + 1]):
                    distance = wp.min(nearest[p], squared_norm(points[p] - last))
                    nearest[p] = distance
                    if distance > largest:
                        largest = distance
                        where = p
                farthest[cell] = largest
                place[cell] = where
            found = farthest[cell]
            if found > best or (found == best and number[place[cell]] < number[winner]):
                best = found
                winner = place[cell]
        chosen[i] = winner


def farthest_point_sampling(points: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (min(count, N),) int64 of points each of which is farthest from all before it.

    The first is the one farthest from the centroid; of equals the first in order is taken.

    Args:
        points: (N, 3), finite.
    """
    check_shape("points", points, "N", 3)
    places = points.detach().cpu().numpy().astype(np.float32)
    count = min(count, len(places))
    if count == 0:
        return torch.zeros(0, dtype=torch.int64)
    cells = _cells(places)
    order = np.argsort(cells, kind="stable").astype(np.int32)
    sorted_places = places[order]
    first = np.flatnonzero(np.diff(cells[order], prepend=-1)).astype(np.int32)
    offsets = places - places.mean(0, dtype=np.float64).astype(np.float32)
    start = int(np.square(offsets).sum(1).argmax())
    chosen = np.zeros(count, np.int32)
    chosen[0] = np.flatnonzero(order == start)[0]
    start_warp()
    arrays = [
        (sorted_places, wp.vec3),
        (order, int),
        (np.append(first, np.int32(len(places))), int),
        (np.minimum.reduceat(sorted_places, first), wp.vec3),
        (np.maximum.reduceat(sorted_places, first), wp.vec3),
        (np.full(len(places), np.inf, np.float32), float),
        (np.full(len(first), np.inf, np.float32), float),
        (np.zeros(len(first), np.int32), int),
        (chosen, int),
    ]
    on_cpu = [wp.array(array, dtype=dtype, device="cpu", copy=False) for array, dtype in arrays]
    wp.launch(choose, 1, on_cpu, device="cpu")
    return torch.from_numpy(order[on_cpu[-1].numpy()].astype(np.int64))


def _cells(places: np.ndarray) -> np.ndarray:
    """The number (N,) of each point's cell, in a grid of about ``_POINTS_IN_CELL`` points a cell."""
    low, extent = places.min(0), np.ptp(places, axis=0)
    side = max(1, round((len(places) / _POINTS_IN_CELL) ** (1 / 3)))
    indices = ((places - low) / np.maximum(extent, 1e-30) * side).astype(np.int64).clip(0, side - 1)
    return np.ravel_multi_index(tuple(indices.T), (side, side, side))
