"""This module turns meshes into Gaussians of their coloured surface and their interior."""

import json
import logging
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from dataset.objects.mesh_interior import sample_inside
from dataset.shapes.covering import ITERATIONS, SAMPLES_PER_CELL, SurfaceSamples, cover_surface, fill_volume
from dataset.shapes.solid import soft_light, surface_share
from gaussians.files.splats.splat_rows import UPRIGHT
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

EXTENT = 0.5
"""Largest extent of an object as it is stored, metres, before its scale."""

MAX_UNPACKED = 2**28
"""The most bytes that an archive of meshes may unpack to."""
MAX_ZEROS = 10**5
"""The most values that an accessor of glTF may have without a buffer."""

PLAIN = (0.72, 0.70, 0.67)
"""Colour (red, green, blue), 0 to 1, of a mesh that has none."""

_Z_UP_SUFFIXES = {".stl", ".ply", ".3mf"}


@dataclass(frozen=True)
class MeshObject:
    """Holds the Gaussians of a mesh, and notes for the user on how they were made."""

    gaussians: Gaussians
    notes: list[str]


def default_up(path: Path) -> str:
    """Return the usual upward axis of a file format: z for STL, PLY and 3MF, y for the others."""
    return "z" if path.suffix.lower() in _Z_UP_SUFFIXES else "y"


def load_mesh(path: Path, up: str) -> list[trimesh.Trimesh]:
    """Read the pieces of a mesh file, z up, centred on the origin, EXTENT metres in their largest extent.

    Args:
        up: the file's axis that points upwards, one of ``UPRIGHT``.

    Raises:
        InputError: the file is missing, of an unknown format, damaged, or has no faces.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)
    try:
        _check_declared_sizes(path)
        with warnings.catch_warnings():  # trimesh goes on without an image that is refused
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Processing would silently drop vertices that are NaN.
            loaded = trimesh.load_scene(path, process=False)
    except InputError:
        raise
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
        turned = (piece.vertices - (low + high) / 2) * (EXTENT / (high - low).max()) @ UPRIGHT[up].double().numpy().T
        piece.vertices = turned
    return pieces


def _check_declared_sizes(path: Path) -> None:
    """Refuse meshes that would take far more memory than their file does.

    Those are archives that unpack to more than ``MAX_UNPACKED`` bytes, and glTF accessors that stand for zeros.

    Raises:
        InputError: the file is one of these.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_UNPACKED:
            raise InputError(f"{path}: unpacks to {size} bytes: expected at most {MAX_UNPACKED}")
    if path.suffix.lower() not in (".glb", ".gltf"):
        return
    data = path.read_bytes()
    if data[:4] == b"glTF":
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    for i, accessor in enumerate(json.loads(data).get("accessors", [])):
        if "bufferView" not in accessor and accessor["count"] > MAX_ZEROS:
            found = accessor["count"]
            raise InputError(f"{path}: accessors.{i}: expected values in a buffer, found {found} zeros declared")


def mesh_gaussians(path: Path, up: str, count: int, rng: np.random.Generator) -> MeshObject:
    """Return ``count`` Gaussians on the surface and inside of the mesh in a file.

    Raises:
        InputError: see ``load_mesh``.
    """
    pieces = load_mesh(path, up)
    notes = _colour_notes(path, pieces)
    whole = _joined(pieces)
    a, b, c = whole.triangles.transpose(1, 0, 2)
    if (a * np.cross(b, c)).sum() < 0:  # this is six times the signed volume: the faces look inwards
        for mesh in (whole, *pieces):
            mesh.invert()
    inside = sample_inside(whole, SAMPLES_PER_CELL * count, rng)
    if inside is None:
        notes.append("encloses no volume, so only its surface becomes Gaussians: close the mesh to get a solid object")
    elif not whole.is_watertight:
        notes.append("is not watertight: its interior is taken to be where the winding number is over 1/2")
    volume = inside.volume if inside else 0.0
    surface_count = surface_share(count, whole.area, volume) if inside else count
    surface = _surface_samples(pieces, SAMPLES_PER_CELL * surface_count, rng)
    shell = cover_surface(surface, surface_count, ITERATIONS, rng)
    if inside is None or surface_count == count:
        return MeshObject(shell, notes)
    deep = inside.depths > 0.5 * np.sqrt(whole.area / surface_count)
    if deep.sum() < 4 * (count - surface_count):  # the mesh is thinner than that: take all of its inside
        deep = inside.depths > 0
    share = volume * deep.mean()
    core = fill_volume(inside.points[deep], share, count - surface_count, surface, rng)
    return MeshObject(Gaussians.cat([shell, core]), notes)


def _joined(pieces: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """Return all pieces as one mesh without colours, with vertices at the same place merged."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = [piece.faces + start for piece, start in zip(pieces, starts, strict=False)]
    return trimesh.Trimesh(np.concatenate([piece.vertices for piece in pieces]), np.concatenate(faces))


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
    """Return the colours (N, 3), 0 to 1, of surface points (N, 3) on faces (N,).

    They come from the mesh's texture, its vertices or faces, or its material.
    """
    visual: Any = mesh.visual
    if visual.kind == "face":
        return np.asarray(visual.face_colors[faces, :3] / 255)
    if visual.kind not in ("texture", "vertex"):
        return np.broadcast_to(PLAIN, points.shape)
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[faces], points)
    if visual.kind == "vertex":
        return np.einsum("nc,ncd->nd", weights, visual.vertex_colors[mesh.faces[faces], :3] / 255)
    image, factor = _image(visual.material), _base_colour(visual.material)
    if image is None or visual.uv is None:
        return np.broadcast_to(factor, points.shape)
    uv = np.einsum("nc,ncd->nd", weights, np.asarray(visual.uv)[mesh.faces[faces]])
    texels = trimesh.visual.color.uv_to_interpolated_color(uv, image.convert("RGBA"))[:, :3] / 255
    # glTF multiplies its texture by a factor; OBJ's diffuse colour stands in where there is no texture.
    return np.asarray(texels * factor if isinstance(visual.material, PBRMaterial) else texels)


def _image(material: Any) -> Any:
    return getattr(material, "baseColorTexture", None) or getattr(material, "image", None)


def _base_colour(material: Any) -> np.ndarray:
    colour = material.baseColorFactor if isinstance(material, PBRMaterial) else material.main_color
    return np.ones(3) if colour is None else np.asarray(colour)[:3] / 255


def _colour_notes(path: Path, pieces: list[trimesh.Trimesh]) -> list[str]:
    visuals: list[Any] = [piece.visual for piece in pieces]
    notes = []
    if all(visual.kind is None for visual in visuals):
        notes.append("has no colours: it becomes light grey")
    textured = [visual for visual in visuals if visual.kind == "texture" and visual.uv is not None]
    if any(_image(visual.material) is None for visual in textured):
        notes.append("has texture coordinates, but its image is not there: its materials' plain colours are used")
    return notes
