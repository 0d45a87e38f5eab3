"""This module samples the inside of triangle meshes, watertight or not."""

# mypy: ignore-errors

from dataclasses import dataclass

import numpy as np
import trimesh
import warp as wp

from gaussians.stage.warp_runtime import start_warp

_BATCH = 50_000
_BATCHES = 40
_LEAST_SHARE = 2e-3
"""Share of the mesh's bounding box: a mesh with less inside counts as an open sheet."""


@dataclass(frozen=True)
class Inside:
    """Holds even samples of a mesh's interior.

    Attributes:
        points: (M, 3), metres.
        depths: (M,), their depths below the surface, metres.
        volume: volume of the interior, metres^3.
    """

    points: np.ndarray
    depths: np.ndarray
    volume: float


def sample_inside(mesh: trimesh.Trimesh, count: int, rng: np.random.Generator) -> Inside | None:
    """Draw about ``count`` random points where the winding number (Jacobson et al. 2013) is over 1/2.

    Returns:
        The samples, fewer for very thin bodies, or None where the mesh has hardly any inside.
    """
    start_warp()
    vertices = wp.array(mesh.vertices, dtype=wp.vec3, device="cpu")
    faces = wp.array(np.asarray(mesh.faces, np.int32).ravel(), dtype=wp.int32, device="cpu")
    shape = wp.Mesh(vertices, faces, support_winding_number=True)
    low, extents = mesh.bounds[0], mesh.extents
    found, depths = [], []
    total = tried = 0
    for _ in range(_BATCHES):
        points = low + extents * rng.random((_BATCH, 3))
        signed = wp.empty(_BATCH, dtype=wp.float32, device="cpu")
        queries = wp.array(points, dtype=wp.vec3, device="cpu")
        wp.launch(_signed_distances, _BATCH, [shape.id, queries, signed], device="cpu")
        distances = signed.numpy()
        found.append(points[distances < 0])
        depths.append(-distances[distances < 0])
        total, tried = total + len(found[-1]), tried + _BATCH
        if total < _LEAST_SHARE * tried:
            return None
        if total >= count:
            break
    return Inside(np.concatenate(found), np.concatenate(depths), float(total / tried * extents.prod()))


@wp.kernel(enable_backward=False)
def _signed_distances(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), distances: wp.array(dtype=wp.float32)):
    i = wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[i], 1.0e3)
    closest = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
    distances[i] = query.sign * wp.length(points[i] - closest)
