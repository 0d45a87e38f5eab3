"""Sample points farthest first (Gonzalez 1985), on the CPU, so that every machine finds the same points.

Points are sorted into the cells of a grid. A cell is skipped where the new point is farther away than each of the
cell's points is from its nearest chosen point: soon that is nearly every cell. The result is that of looking at all.
"""

# mypy: ignore-errors

import numpy as np
import torch
import warp as wp

from gaussians.stage.shape_checks import check_shape
from gaussians.stage.warp_runtime import start_warp

# Fused operations round differently on some machines, which would decide ties differently.
wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_POINTS_IN_CELL = 80  # on average


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
    """Choose points one after the other, all in one thread.

    Args:
        points: (N,), sorted by cell.
        number: (N,), the number that each point had before they were sorted.
        first: (cells + 1,), the place of each cell's first point, and N.
        low, high: (cells,), the corners of a box around each cell's points.
        nearest: (N,), squared distance of each point to the nearest chosen one; infinite at first.
        farthest: (cells,), the largest ``nearest`` in each cell; infinite at first.
        place: (cells,), the place of the point that has it.
        chosen: (count,), places of the chosen points; the first one is given.
    """
    for i in range(1, chosen.shape[0]):
        last = points[chosen[i - 1]]
        best = float(-1.0)
        winner = int(0)
        for cell in range(low.shape[0]):
            # Rounding is monotonic: no point in the box comes out nearer than the box itself.
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
    """Return indices (min(count, N),) int64 of points each of which is farthest from all chosen before it.

    The first one is farthest from the centroid; of points that are equally far the first in order is taken.

    Args:
        points: (N, 3), finite, in any unit.
        count: how many points to choose.
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
    """Return the number (N,) of each point's cell, in a grid of about ``_POINTS_IN_CELL`` points a cell."""
    low, extent = places.min(0), np.ptp(places, axis=0)
    side = max(1, round((len(places) / _POINTS_IN_CELL) ** (1 / 3)))
    indices = ((places - low) / np.maximum(extent, 1e-30) * side).astype(np.int64).clip(0, side - 1)
    return np.ravel_multi_index(tuple(indices.T), (side, side, side))
