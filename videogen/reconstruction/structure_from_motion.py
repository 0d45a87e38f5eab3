"""Estimate where pictures were taken from, their lens and points of the scene, with COLMAP (Schönberger & Frahm 2016).

COLMAP's library, pycolmap, comes with the extra ``photographs``. Equal pictures give equal cameras: what is drawn at
random begins with the same seed, and what adds up in the order of threads has one.
"""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
from tqdm import tqdm

from gaussians.files.colmap_model import read_colmap_model
from gaussians.stage.errors import InputError
from gaussians.stage.threads import core_count
from videogen.reconstruction.camera_files import LensCameras
from videogen.reconstruction.pictures import FEWEST, Pictures

_SEED = 0
_MOST_PAIRED = 100  # pictures of which every two are compared; of more, each with those that follow it
_MOST_FEATURES = 4096  # in a picture
_LEAST_REGISTERED = 0.5  # share of the pictures
_MOST_ERROR = 2.0  # pixels between where a point is seen and where it should be; worse ones are left out
_DOUBTFUL_ERROR = 0.5  # pixels, on average; what fits has 0.1 to 0.4

_INSTALL = "pip install 'neural-gaussian-force-fields[photographs]', or bash setup_env.sh in the repository"
_ADVICE = "take more pictures that overlap by two thirds, of a scene with texture, or bring cameras"


def estimate_cameras(pictures: Pictures) -> LensCameras:
    """Return the cameras of the pictures that could be placed, in a frame of their own, and points of the scene.

    All have one lens: a focal length and one coefficient of radial distortion. Frames of a video are compared with
    those that follow, photographs all with each other.

    Raises:
        InputError: pycolmap is not installed, or fewer than half of the pictures, or three, could be placed.
    """
    colmap = _library(pictures)
    origin = f"{pictures.source}: structure from motion"
    with (
        tempfile.TemporaryDirectory(prefix="structure_from_motion_") as name,
        tqdm(total=len(pictures), desc="find features", unit="picture", leave=False) as progress,
    ):
        folder = Path(name)
        models = _reconstruct(colmap, folder, pictures, progress)
        if not models:
            raise InputError(f"{origin} did not converge: no two pictures fit each other: {_ADVICE}")
        best = max(models, key=lambda model: (model.num_reg_images(), model.num_points3D()))
        (folder / "best").mkdir()
        _drop_bad_points(best)
        best.write_binary(folder / "best")
        found = read_colmap_model(folder / "best")
    count, total = len(found.names), len(pictures)
    if count < max(FEWEST, _LEAST_REGISTERED * total):
        raise InputError(f"{origin} did not converge: {count} of {total} pictures could be placed: {_ADVICE}")
    # The names of the pictures that COLMAP was given are their numbers, in which it returns them in any order.
    numbers = [int(Path(name).stem) for name in found.names]
    order = sorted(range(count), key=lambda row: numbers[row])
    error = best.compute_mean_reprojection_error()
    placed = f"structure from motion placed {count} of {total} pictures, with {len(found.points)} points"
    notes = [f"{placed}, to {error:.2g} pixels"]
    if error > _DOUBTFUL_ERROR and sum(model.num_reg_images() >= FEWEST for model in models) > 1:
        notes.append(
            f"the pictures fit together in {len(models)} ways, and not well in the one with the most of them: patterns "
            "that repeat, such as checks, mislead structure from motion"
        )
    return LensCameras(
        origin,
        tuple(pictures.names[numbers[row]] for row in order),
        found.viewmats[order],
        tuple(found.lenses[row] for row in order),
        found.points,
        found.colors,
        notes=tuple(notes),
    )


def _library(pictures: Pictures) -> ModuleType:
    try:
        import pycolmap  # only here: it is optional, and slow to import
    except ModuleNotFoundError:
        raise InputError(
            f"{pictures.source}: no cameras beside the pictures (cameras.json, transforms.json, sparse/0), and "
            f"pycolmap, which estimates them, is not installed: {_INSTALL}"
        ) from None
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    pycolmap.set_random_seed(_SEED)
    return pycolmap


def _reconstruct(colmap: ModuleType, folder: Path, pictures: Pictures, progress: tqdm) -> list[Any]:
    """Return COLMAP's reconstructions of the pictures, each of some of them; none where nothing fits."""
    images, database, models = folder / "images", folder / "database.db", folder / "models"
    images.mkdir()
    models.mkdir()
    for number, image in enumerate(pictures.images.numpy()):
        cv2.imwrite(str(images / f"{number:05d}.png"), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    extraction = colmap.FeatureExtractionOptions(num_threads=core_count(), use_gpu=False)
    extraction.sift.max_num_features = _MOST_FEATURES
    # Threads finish in any order: the pictures get their numbers before.
    reader = colmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL")
    colmap.Database.open(database).close()  # makes it
    colmap.import_images(database, images, camera_mode=colmap.CameraMode.SINGLE, options=reader)
    colmap.extract_features(database, images, extraction_options=extraction)
    progress.set_description("compare pictures")
    ordered = pictures.source.is_file() or len(pictures) > _MOST_PAIRED
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = _SEED
    match = colmap.match_sequential if ordered else colmap.match_exhaustive
    matching = colmap.FeatureMatchingOptions(num_threads=core_count(), use_gpu=False)
    match(database, matching_options=matching, verification_options=verification)
    progress.set_description("place cameras")
    options = colmap.IncrementalPipelineOptions(num_threads=1, random_seed=_SEED, min_model_size=FEWEST)
    found = colmap.incremental_mapping(database, images, models, options, next_image_callback=progress.update)
    return list(found.values())


def _drop_bad_points(model: Any) -> None:
    model.update_point_3d_errors()
    for number in [number for number, point in model.points3D.items() if not point.error <= _MOST_ERROR]:
        model.delete_point3D(number)
