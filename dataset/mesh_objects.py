"""Meshes turned into Gaussian objects: surface with its colours, and interior."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
import warp as wp

from dataset.shapes.covering import SAMPLES_PER_CELL, SurfaceSamples, cover_surface, fill_volume
from dataset.shapes.solid import soft_light, surface_share
from gaussians.errors import InputError
from gaussians.representation import Gaussians

EXTENT = 0.5
"""Largest extent of a stored object, metres, before its scale."""

PLAIN = (0.72, 0.70, 0.67)
"""The colour of a mesh without colours."""

# Rows are the world's x, y and z in the mesh's axes; what faces the viewer there faces -y here.
_UPRIGHT = {
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "-x": ((0, -1, 0), (0, 0, 1), (-1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
UP_AXES = tuple(_UPRIGHT)

_Z_UP_SUFFIXES = {".stl", ".ply", ".3mf"}
_INTERIOR_BATCH = 50_000
_INTERIOR_BATCHES = 40
_LEAST_INSIDE = 2e-3


@dataclass(frozen=True)
class MeshObject:
    """Gaussians of a mesh, and what a person should know about how they were made."""

    gaussians: Gaussians
    notes: list[str]


def default_up(path: Path) -> str:
    """The usual upward axis of a file format: z for STL, PLY and 3MF, y for the others."""
    return "z" if path.suffix.lower() in _Z_UP_SUFFIXES else "y"


def load_mesh(path: Path, up: str) -> list[trimesh.Trimesh]:
    """The pieces of a mesh file, z up, centred on the origin, EXTENT metres in their largest extent.

    Raises:
        InputError: the file is missing, of an unknown format, damaged, or has no faces.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)
    try:
        loaded = trimesh.load_scene(path)
    except Exception as error:  # the formats' readers raise whatever they meet
        raise InputError(f"{path}: cannot be read as a mesh: {type(error).__name__}: {error}") from None
    pieces = [piece for piece in loaded.dump() if isinstance(piece, trimesh.Trimesh) and len(piece.faces)]
    if not pieces:
        raise InputError(f"{path}: has no faces: expected a triangle mesh")
    vertices = np.concatenate([piece.vertices for piece in pieces])
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: expected finite vertices, found NaN or infinite ones")
    low, high = vertices.min(0), vertices.max(0)
    if not (high - low).max() > 0:
        raise InputError(f"{path}: has no extent: all vertices are in one place")
    for piece in pieces:
        turned = (piece.vertices - (low + high) / 2) * (EXTENT / (high - low).max()) @ np.array(_UPRIGHT[up]).T
        piece.vertices = turned
    return pieces


def mesh_gaussians(path: Path, up: str, count: int, rng: np.random.Generator) -> MeshObject:
    """``count`` Gaussians on the surface and inside of a mesh.

    Raises:
        InputError: see ``load_mesh``.
    """
    pieces = load_mesh(path, up)
    notes = _colour_notes(path, pieces)
    whole = trimesh.util.concatenate([trimesh.Trimesh(p.vertices, p.faces, process=False) for p in pieces])
    inside = _inside_samples(whole, SAMPLES_PER_CELL * count, rng)
    if inside is None:
        notes.append("encloses no volume, so only its surface becomes Gaussians: close the mesh to get a solid object")
    elif not whole.is_watertight:
        notes.append("is not watertight: its interior is taken to be where the winding number is over 1/2")
    volume = inside.volume if inside else 0.0
    surface_count = surface_share(count, whole.area, volume) if inside else count
    surface = _surface_samples(pieces, SAMPLES_PER_CELL * surface_count, rng)
    shell = cover_surface(surface, surface_count, 8, rng)
    if inside is None or surface_count == count:
        return MeshObject(shell, notes)
    deep = inside.depths > 0.5 * np.sqrt(whole.area / surface_count)
    if deep.sum() < 4 * (count - surface_count):  # thinner than that: whatever is inside
        deep = inside.depths > 0
    share = volume * deep.mean()
    core = fill_volume(inside.points[deep], share, count - surface_count, surface, rng)
    return MeshObject(Gaussians.cat([shell, core]), notes)


@dataclass(frozen=True)
class _Inside:
    """Even samples (M, 3) of a mesh's interior, their depths (M,), and its volume."""

    points: np.ndarray
    depths: np.ndarray
    volume: float


def _inside_samples(mesh: trimesh.Trimesh, count: int, rng: np.random.Generator) -> _Inside | None:
    """Random points where the winding number (Jacobson et al. 2013) is over 1/2, or None if there is hardly any."""
    vertices = wp.array(mesh.vertices, dtype=wp.vec3, device="cpu")
    faces = wp.array(np.asarray(mesh.faces, np.int32).ravel(), dtype=wp.int32, device="cpu")
    shape = wp.Mesh(vertices, faces, support_winding_number=True)
    low, extents = mesh.bounds[0], mesh.extents
    found: list[np.ndarray] = []
    depths: list[np.ndarray] = []
    total = tried = 0
    for _ in range(_INTERIOR_BATCHES):
        points = low + extents * rng.random((_INTERIOR_BATCH, 3))
        signed = wp.empty(len(points), dtype=wp.float32, device="cpu")
        queries = wp.array(points, dtype=wp.vec3, device="cpu")
        wp.launch(_signed_distances, len(points), [shape.id, queries, signed], device="cpu")
        distances = signed.numpy()
        found.append(points[distances < 0])
        depths.append(-distances[distances < 0])
        total, tried = total + len(found[-1]), tried + len(points)
        if total >= count or total < _LEAST_INSIDE * tried:
            break
    if total < _LEAST_INSIDE * tried:
        return None
    return _Inside(np.concatenate(found), np.concatenate(depths), float(total / tried * extents.prod()))


@wp.kernel
def _signed_distances(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), distances: wp.array(dtype=wp.float32)):  # type: ignore[no-untyped-def, valid-type]
    i = wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[i], 1.0e3)
    closest = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
    distances[i] = query.sign * wp.length(points[i] - closest)


def _surface_samples(pieces: list[trimesh.Trimesh], count: int, rng: np.random.Generator) -> SurfaceSamples:
    areas = np.array([piece.area for piece in pieces])
    shares = np.maximum(np.round(count * areas / areas.sum()).astype(int), 1)
    shares[shares.argmax()] += max(0, count - shares.sum())
    points, normals, colours = [], [], []
    for piece, share in zip(pieces, shares, strict=True):
        where, faces = trimesh.sample.sample_surface(piece, share, seed=int(rng.integers(2**31)))
        points.append(np.asarray(where))
        normals.append(piece.face_normals[faces])
        colours.append(surface_colours(piece, points[-1], faces))
    normal = np.concatenate(normals)
    lit = np.concatenate(colours) * soft_light(normal)[:, None]
    return SurfaceSamples(np.concatenate(points), normal, np.clip(lit, 0, 1), float(areas.sum()))


def surface_colours(mesh: trimesh.Trimesh, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours (N, 3), 0 to 1, of surface points (N, 3) on faces (N,): texture, vertex or face colours, or material."""
    visual = mesh.visual
    if visual.kind == "texture":
        material = visual.material
        factor = np.asarray(_base_colour(material)[:3]) / 255
        image = _image(material)
        if image is None or visual.uv is None:
            return np.broadcast_to(factor, points.shape)
        barycentric = trimesh.triangles.points_to_barycentric(mesh.triangles[faces], points)
        uv = np.einsum("nc,ncd->nd", barycentric, np.asarray(visual.uv)[mesh.faces[faces]])
        texels = trimesh.visual.color.uv_to_interpolated_color(uv, image.convert("RGBA"))[:, :3] / 255
        return texels * factor if isinstance(material, trimesh.visual.material.PBRMaterial) else texels
    if visual.kind == "vertex":
        barycentric = trimesh.triangles.points_to_barycentric(mesh.triangles[faces], points)
        return np.einsum("nc,ncd->nd", barycentric, visual.vertex_colors[mesh.faces[faces], :3] / 255)
    if visual.kind == "face":
        return visual.face_colors[faces, :3] / 255
    return np.broadcast_to(PLAIN, points.shape)


def _image(material):  # type: ignore[no-untyped-def]
    return getattr(material, "baseColorTexture", None) or getattr(material, "image", None)


def _base_colour(material) -> np.ndarray:  # type: ignore[no-untyped-def]
    factor = getattr(material, "baseColorFactor", None)
    if isinstance(material, trimesh.visual.material.PBRMaterial):
        return np.full(4, 255) if factor is None else np.asarray(factor)
    return np.asarray(material.main_color)


def _colour_notes(path: Path, pieces: list[trimesh.Trimesh]) -> list[str]:
    kinds = {piece.visual.kind for piece in pieces}
    notes = []
    if kinds == {None}:
        notes.append("has no colours: it becomes light grey")
    if any(
        p.visual.kind == "texture" and p.visual.uv is not None and _image(p.visual.material) is None for p in pieces
    ):
        notes.append(
            f"has texture coordinates but no readable image beside {path.name}: its plain material colours are used"
        )
    return notes
