"""Estimate where pictures were taken from, their lens and points of the scene, with COLMAP (Schönberger & Frahm 2016).

COLMAP's library, pycolmap, comes with the extra ``photographs``. Equal pictures give equal cameras.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from pydantic import BaseModel
from tqdm import tqdm

from gaussians.files.colmap_model import read_colmap_model
from gaussians.stage.atomic_files import writable
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as
from gaussians.stage.threads import core_count
from videogen.reconstruction.posing.camera_files import LensCameras
from videogen.reconstruction.posing.pictures import FEWEST, Pictures

_MOST_PAIRED = 100  # pictures of which every two are compared; of more, each with those that follow it
_LEAST_REGISTERED = 0.5  # share of the pictures
_DOUBTFUL_ERROR = 0.5  # pixels, on average; what fits has 0.1 to 0.4

_INSTALL = "pip install 'neural-gaussian-force-fields[photographs]', or bash setup_env.sh in the repository"
_ADVICE = "take more pictures that overlap by two thirds, of a scene with texture, or bring cameras"


class _Summary(BaseModel):
    """A ``_Summary`` is what the process that runs COLMAP says of its models."""

    images: list[int]
    error: float | None


def estimate_cameras(pictures: Pictures) -> LensCameras:
    """Return the cameras of the pictures that could be placed, in a frame of their own, and points of the scene.

    All have one lens: a focal length and one coefficient of radial distortion. Frames of a video are compared with
    those that follow, photographs all with each other.

    Raises:
        InputError: pycolmap is not installed, or fewer than half of the pictures, or three, could be placed.
    """
    try:
        installed = importlib.util.find_spec("pycolmap") is not None
    except ValueError:
        installed = False
    if not installed:
        raise InputError(
            f"{pictures.source}: no cameras beside the pictures (cameras.json, transforms.json, sparse/0), and "
            f"pycolmap, which estimates them, is not installed: {_INSTALL}"
        )
    failed = f"{pictures.source}: structure from motion did not converge"
    with tempfile.TemporaryDirectory(prefix="structure_from_motion_") as name:
        folder = Path(name)
        _run(folder, pictures)
        summary = read_json_as(folder / "summary.json", _Summary)
        if not summary.images or summary.error is None:
            raise InputError(f"{failed}: no two pictures fit each other: {_ADVICE}")
        found = read_colmap_model(folder / "best")
    count, total = len(found.names), len(pictures)
    if count < max(FEWEST, _LEAST_REGISTERED * total):
        raise InputError(f"{failed}: {count} of {total} pictures could be placed: {_ADVICE}")
    # The names of the pictures that COLMAP was given are their numbers, in which it returns them in any order.
    numbers = [int(Path(name).stem) for name in found.names]
    order = sorted(range(count), key=lambda row: numbers[row])
    placed = f"structure from motion placed {count} of {total} pictures, with {len(found.points)} points"
    notes = [f"{placed}, to {summary.error:.2g} pixels"]
    if summary.error > _DOUBTFUL_ERROR and len(summary.images) > 1:
        notes.append(
            f"the pictures fit together in {len(summary.images)} ways, and not well in the one with the most of them: "
            "patterns that repeat, such as checks, mislead structure from motion"
        )
    return LensCameras(
        f"{pictures.source}: structure from motion",
        tuple(pictures.names[numbers[row]] for row in order),
        found.viewmats[order],
        tuple(found.lenses[row] for row in order),
        found.points,
        notes=tuple(notes),
    )


def _run(folder: Path, pictures: Pictures) -> None:
    """Let a process of its own run COLMAP on the pictures, in a folder, and end it with this one.

    Raises:
        InputError: it failed, or the disk is full.
    """
    (folder / "images").mkdir()
    for number, image in enumerate(pictures.images.numpy()):
        file = folder / "images" / f"{number:05d}.png"
        _, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        with writable(file):  # ``imwrite`` raises nothing where the disk is full
            file.write_bytes(encoded.tobytes())
    ordered = pictures.source.is_file() or len(pictures) > _MOST_PAIRED
    script = Path(__file__).with_name("colmap_process.py")
    arguments = [str(folder), "sequential" if ordered else "exhaustive", str(core_count())]
    # With -P, modules beside the script are no libraries. In a process group of its own, Ctrl-C does not reach it.
    with (
        (folder / "complaints.txt").open("w+", errors="replace") as complaints,
        tqdm(total=len(pictures), unit="picture", leave=False) as progress,
        subprocess.Popen(
            [sys.executable, "-P", str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            process_group=0,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("placed"):
                    progress.update()
                else:
                    progress.set_description(line.strip())
            status = process.wait()
        finally:
            process.kill()
        if status:
            complaints.seek(0)
            reason = (complaints.read().strip().splitlines() or [f"it ended with status {status}"])[-1]
            raise InputError(f"{pictures.source}: structure from motion failed: {reason}")
