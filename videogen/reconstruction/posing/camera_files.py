"""Find the file that says where pictures were taken from, and give each picture its camera from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from tqdm import tqdm

from gaussians.cameras import Cameras, read_cameras
from gaussians.files.camera_transforms import read_camera_transforms
from gaussians.files.colmap_model import is_colmap_model, read_colmap_model
from gaussians.lenses import Lens
from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.pictures import FEWEST, Pictures, natural_order
from videogen.reconstruction.posing.posed_pictures import PosedPictures

_LISTS = ("cameras.json", "transforms.json")
_MODELS = ("sparse/0", "colmap/sparse/0", "sparse")
_NO_DISTANCE = 1e-4  # between cameras, as a share of how far they are from the origin
_SHAPES_DIFFER = 0.02  # share by which width over height of a picture and its camera may differ: sizes are rounded


@dataclass(frozen=True)
class LensCameras:
    """A ``LensCameras`` holds C cameras as they were when they took their pictures, with their lenses.

    Attributes:
        origin: what they come from, as messages name it.
        names: of the pictures, or None where only their order tells which camera took which.
        viewmats: (C, 4, 4) float64, world to camera.
        lenses: one for each camera.
        points: (P, 3) float32 of the scene, or None.
        in_world: whether they are in the simulation's world.
        notes: sentences for the user.
    """

    origin: str
    names: tuple[str, ...] | None
    viewmats: torch.Tensor
    lenses: tuple[Lens, ...]
    points: torch.Tensor | None = None
    in_world: bool = False
    notes: tuple[str, ...] = ()


def find_cameras(source: Path) -> Path | None:
    """Return what holds the cameras of a video or a folder of pictures, None where nothing does.

    That is the first of cameras.json, transforms.json (or transforms_<folder>.json), and a COLMAP model in sparse/0,
    colmap/sparse/0 or sparse, beside the pictures or else one level up.

    Args:
        source: a video or a folder, as ``picture_source`` returns it.
    """
    folder = source.resolve() if source.is_dir() else source.resolve().parent
    for place in (folder, folder.parent):
        for name in (*_LISTS, f"transforms_{folder.name}.json"):
            if (place / name).is_file():
                return place / name
        for name in _MODELS:
            if is_colmap_model(place / name):
                return place / name
    return None


def read_camera_file(path: Path, pictures: Pictures) -> LensCameras:
    """Read cameras in any of the formats of ``find_cameras``.

    Raises:
        InputError: the file is missing or damaged, or has a camera whose distortion cannot be undone.
    """
    if path.is_dir():
        model = read_colmap_model(path)
        return LensCameras(str(path), model.names, model.viewmats, model.lenses, model.points)
    if path.name.startswith("transforms"):
        found = read_camera_transforms(path, *pictures.source_size)
        return LensCameras(str(path), found.names, found.viewmats, found.lenses)
    cameras = read_cameras(path)
    lenses = tuple(
        Lens(cameras.width, cameras.height, fx, fy, cx, cy)
        for (fx, _, cx), (_, fy, cy), _ in cameras.Ks.double().tolist()
    )
    return LensCameras(str(path), None, cameras.viewmats.double(), lenses, in_world=True)


def pose_pictures(pictures: Pictures, cameras: LensCameras) -> PosedPictures:
    """Give each picture its camera, and undo the distortion of the lenses.

    Cameras with names belong to the pictures of that name. Others, and cameras of a video's frames, belong to the
    pictures in their order: of all in the source, or of those that were chosen.

    Pictures without a camera are left out, with a note, where at least half of them and three have one.

    Raises:
        InputError: the numbers of cameras and pictures differ, too few pictures have a camera, a camera is of pictures
            of another shape, or all stand in one place.
    """
    rows = _rows_by_name(pictures, cameras.names) if cameras.names is not None else None
    rows = rows or _rows_by_order(pictures, cameras)
    kept = [picture for picture, row in enumerate(rows) if row is not None]
    if len(kept) < max(FEWEST, len(rows) / 2):
        raise InputError(f"{cameras.origin}: {len(kept)} of {len(rows)} pictures have a camera: too few")
    notes = list(cameras.notes)
    if missing := [name for name, row in zip(pictures.names, rows, strict=True) if row is None]:
        notes.append(f"{len(missing)} of {len(rows)} pictures have no camera and are left out: {_listed(missing)}")
    index = [row for row in rows if row is not None]
    height, width = pictures.images.shape[1:3]
    lenses = [_lens_of_size(cameras, row, width, height) for row in index]
    pinholes: dict[Lens, list[list[float]]] = {}  # intrinsics; most pictures have one lens
    images = torch.empty_like(pictures.images[: len(kept)])
    for number, lens in enumerate(tqdm(lenses, desc="undo distortion", leave=False, delay=1)):
        picture = kept[number]
        try:
            if lens not in pinholes:
                pinholes[lens] = lens.rectified().intrinsics.tolist()
            images[number] = torch.from_numpy(lens.undistorted(pictures.images[picture].numpy()))
        except ValueError as error:
            raise InputError(f"{cameras.origin}: camera of {pictures.names[picture]}: {error}") from None
    posed = Cameras(cameras.viewmats[index].float(), torch.tensor([pinholes[lens] for lens in lenses]), width, height)
    places = posed.positions.double()
    if (places - places[0]).norm(dim=1).max() <= _NO_DISTANCE * (1 + places.abs().max()):
        raise InputError(f"{cameras.origin}: all cameras stand in one place, from which no depth can be seen")
    return PosedPictures(
        images,
        posed,
        tuple(pictures.names[picture] for picture in kept),
        tuple(pictures.indices[picture] for picture in kept),
        cameras.points,
        cameras.in_world,
        tuple(notes),
    )


def _rows_by_name(pictures: Pictures, names: Sequence[str]) -> list[int | None] | None:
    """Return which camera is of each picture, None for none; None for all where the names are of something else."""
    paths = [PurePosixPath(name.replace("\\", "/")) for name in names]
    # Of cameras in several folders those of the pictures' own folder go last, and so first.
    in_order = sorted(range(len(paths)), key=lambda row: paths[row].parent.name == pictures.source.name)
    by_name = {paths[row].name: row for row in in_order}
    rows = [by_name.get(name) for name in pictures.names]
    # Some writers leave the suffix out, or pictures were saved in another format since.
    by_stem = {paths[row].stem: row for row in in_order if row not in rows}
    stems = [PurePosixPath(name).stem for name in pictures.names]
    rows = [by_stem.get(stem) if row is None else row for row, stem in zip(rows, stems, strict=True)]
    return rows if any(row is not None for row in rows) else None


def _rows_by_order(pictures: Pictures, cameras: LensCameras) -> list[int | None]:
    count = len(cameras.viewmats)
    if pictures.source.is_dir() and cameras.names is not None:
        example = f"{cameras.names[0]!r}, the pictures {pictures.names[0]!r}"
        raise InputError(f"{cameras.origin}: has no camera of a picture in {pictures.source}: it names {example}")
    # Names of a video's frames are in the order in which they were taken.
    order = list(range(count))
    if (names := cameras.names) is not None:
        order.sort(key=lambda row: natural_order(names[row]))
    if count == pictures.source_count:
        return [order[index] for index in pictures.indices]
    if count == len(pictures):
        return list(order)
    either = "" if len(pictures) == pictures.source_count else f" or {len(pictures)}, the number of those chosen"
    raise InputError(
        f"{cameras.origin}: expected {pictures.source_count} cameras, as {pictures.source} has pictures{either}, "
        f"found {count}"
    )


def _lens_of_size(cameras: LensCameras, row: int, width: int, height: int) -> Lens:
    lens = cameras.lenses[row]
    if abs(lens.width * height / (lens.height * width) - 1) > _SHAPES_DIFFER:
        raise InputError(
            f"{cameras.origin}: camera {row}: expected pictures shaped as {lens.width} x {lens.height} pixels, "
            f"found {width} x {height}"
        )
    return lens.resized(width, height)


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
