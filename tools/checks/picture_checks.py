"""Check that videos, images, depth, masks, cameras and prompts are what docs/formats.md says and fit one another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from gaussians.cameras import Cameras, read_cameras
from gaussians.files.decoded_video import DecodedVideo, decode
from gaussians.files.hdf5 import check_size, dataset_of, open_hdf5
from gaussians.files.prompts import read_prompts
from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.storage_options import SPLAT_FORMATS
from tools.checks.findings import Findings

VIEW = r"view_\d+|circle360|circle360_jitter"
_MOTION_FILES = rf"{VIEW}|depth\.h5|depth\.json|depth|gaussians|gaussians\.json"


@dataclass(frozen=True)
class ExpectedClip:
    """An ``ExpectedClip`` is what is known of a scene's motion from its trajectory; None for unknown.

    Attributes:
        num_frames: frames of the trajectory.
        fps: frames per second of its videos.
        num_objects: objects of the scene.
    """

    num_frames: int | None = None
    fps: int | None = None
    num_objects: int | None = None


def check_initial(path: Path, scene: str, clip: ExpectedClip, quick: bool, findings: Findings) -> None:
    """Check ``initial/<group>/<scene>/<background>``: frame 0 from all around, and what it shows."""
    known = rf"{re.escape(scene)}\.mp4|cameras\.json|prompts\.json|depth\.h5|depth|masks\.h5|masks"
    records = (f"{scene}.json", "depth.json", "masks.json")
    findings.look_over(path, "|".join([known, *map(re.escape, records)]))
    findings.check_records(path, *records)
    cameras = None
    with findings.reading():
        cameras = read_cameras(path / "cameras.json")
    size = (cameras.width, cameras.height) if cameras else None
    views = len(cameras) if cameras else None
    check_video(path / f"{scene}.mp4", views, None, size, quick, findings)
    if cameras and (path / "prompts.json").is_file():
        with findings.reading():
            _check_prompts(path / "prompts.json", cameras, clip.num_objects, findings)
    _check_depth(path, views, size, quick, findings)
    _check_masks(path, views, size, clip, quick, findings)


def check_motion(path: Path, scene: str, clip: ExpectedClip, quick: bool, findings: Findings) -> None:
    """Check ``dynamic/<group>/<scene>/<background>``: a folder for each view, with its video, images and masks."""
    findings.look_over(path, _MOTION_FILES)
    findings.check_records(path, "depth.json", "gaussians.json")
    expected = clip.num_frames
    views = sorted(folder for folder in path.iterdir() if re.fullmatch(VIEW, folder.name))
    if not views and not (path / "gaussians").is_dir():
        findings.defect(path, "no view: expected folders such as view_0 and circle360")
    for view in views:
        findings.look_over(view, rf"{re.escape(scene)}\.(mp4|json)|rgb|masks\.h5|masks\.json|masks")
        findings.check_records(view, f"{scene}.json", "masks.json")
        video, images = view / f"{scene}.mp4", view / "rgb"
        size = None
        if video.is_file() or not any((view / name).exists() for name in ("rgb", "masks")):
            decoded = check_video(video, expected, clip.fps, None, quick, findings)
            size = (decoded.width, decoded.height) if decoded else None
            # Without a trajectory, the views of a scene must at least agree with each other.
            expected = expected if decoded is None or expected is not None else decoded.declared
        if images.is_dir():
            _check_images(images, expected, size, quick, findings)
        _check_masks(view, expected, size, clip, quick, findings)
    _check_depth(path, None, None, quick, findings)
    if (path / "gaussians").is_dir():
        _check_gaussians(path / "gaussians", quick, findings)


def _check_gaussians(folder: Path, quick: bool, findings: Findings) -> None:
    """Check that the Gaussians of frames can be read, all of their rows."""
    findings.look_over(folder, rf"\d{{4,}}\.({'|'.join(map(re.escape, SPLAT_FORMATS))})")
    files = sorted(path for path in folder.iterdir() if path.stem[:4].isdecimal())
    for k in _chosen(len(files), quick):
        with findings.reading():
            read_splats(files[k], keep_rows=True)


def check_video(
    path: Path, frames: int | None, fps: int | None, size: tuple[int, int] | None, quick: bool, findings: Findings
) -> DecodedVideo | None:
    """Check that all of a video decodes, and its number of frames, frame rate and (width, height); None for any."""
    with findings.reading():
        video = decode(path, whole=not quick)
        expected = video.declared if frames is None else frames
        if video.frames != expected:
            reason = f" ({video.problem})" if video.problem else ""
            findings.defect(path, f"expected {expected} frames, {video.frames} can be decoded{reason}")
        elif video.problem:
            findings.defect(path, f"decodes with errors: {video.problem}")
        if fps is not None and round(video.fps) != fps:
            findings.defect(path, f"expected {fps} frames a second, found {video.fps:g}")
        _check_size(path, (video.width, video.height), size, findings)
        return video
    return None


def _check_size(path: Path, found: Sequence[int], size: tuple[int, int] | None, findings: Findings) -> None:
    """Check a size, of which videos have odd sides one pixel larger."""
    if size is not None and tuple(n + n % 2 for n in found) != tuple(n + n % 2 for n in size):
        findings.defect(path, f"expected {size[0]} x {size[1]} pixels, found {found[0]} x {found[1]}")


def _check_prompts(path: Path, cameras: Cameras, num_objects: int | None, findings: Findings) -> None:
    prompts = read_prompts(path)
    expected = len(prompts) if num_objects is None else num_objects
    for key, found in {"point": prompts.points, "bbox": prompts.boxes, "text": prompts.texts}.items():
        if found is None:
            findings.defect(path, f"{key}: missing")
        elif len(found) != expected:
            findings.defect(path, f"{key}: expected one entry for each of {expected} objects, found {len(found)}")
    for problem in prompts.outside(cameras.width, cameras.height):
        findings.defect(path, problem)


def _check_depth(path: Path, views: int | None, size: tuple[int, int] | None, quick: bool, findings: Findings) -> None:
    file, folder = path / "depth.h5", path / "depth"
    if not (file.exists() or folder.exists()):
        return
    with findings.reading(), open_hdf5(file) as opened:
        depth_max = dataset_of(file, "depth_max", opened)
        if depth_max.shape not in ((), (1,)) or not np.isfinite(depth_max[()]).all() or np.min(depth_max[()]) < 0:
            findings.defect(file, f"depth_max: expected a number of 0 or more, found {depth_max[()]}")
        _check_stack(file, dataset_of(file, "depth", opened), np.uint16, folder, views, size, quick, findings)


def _check_masks(
    path: Path, frames: int | None, size: tuple[int, int] | None, clip: ExpectedClip, quick: bool, findings: Findings
) -> None:
    """Check instance masks, whose pixels are 0 or the label of an object plus one."""
    file, folder = path / "masks.h5", path / "masks"
    if not (file.exists() or folder.exists()):
        return
    with findings.reading(), open_hdf5(file) as opened:
        masks = dataset_of(file, "mask", opened)
        _check_stack(file, masks, np.uint8, folder, frames, size, quick, findings)
        if clip.num_objects is not None and masks.dtype == np.uint8 and masks.ndim == 3:
            highest = max(int(masks[k].max(initial=0)) for k in _chosen(len(masks), quick))
            if highest > clip.num_objects:
                findings.defect(file, f"mask: expected 0 to {clip.num_objects}, found {highest}")


def _check_stack(
    file: Path,
    stack: h5py.Dataset,
    dtype: type,
    folder: Path,
    count: int | None,
    size: tuple[int, int] | None,
    quick: bool,
    findings: Findings,
) -> None:
    """Check pictures (count, H, W) in one dataset, and the same ones as PNGs in ``folder``."""
    name = stack.name.strip("/")
    if stack.dtype != dtype or stack.ndim != 3 or (count is not None and len(stack) != count):
        found = f"found {stack.dtype} {stack.shape}"
        findings.defect(file, f"{name}: expected {np.dtype(dtype)} ({count or 'V'}, H, W), {found}")
        return
    check_size(file, name, stack, rows=1)
    _check_size(file, (stack.shape[2], stack.shape[1]), size, findings)
    pictures = _numbered(folder)
    if len(pictures) != len(stack):
        findings.defect(
            folder, f"expected {len(stack)} PNGs, as many as {file.name} has pictures, found {len(pictures)}"
        )
        return
    for k in _chosen(len(stack), quick):
        picture = _read_png(pictures[k])
        if picture is None:
            findings.defect(pictures[k], "not a readable PNG")
        elif picture.dtype != dtype or picture.shape != stack.shape[1:]:
            found = f"found {picture.dtype} {picture.shape}"
            findings.defect(pictures[k], f"expected {np.dtype(dtype)} {stack.shape[1:]}, {found}")
        # Only with a known count is the order known: that of views of a motion is as they were asked for.
        elif count is not None and not np.array_equal(picture, stack[k]):
            findings.defect(pictures[k], f"differs from picture {k} of {file.name}")


def _check_images(
    folder: Path, count: int | None, size: tuple[int, int] | None, quick: bool, findings: Findings
) -> None:
    """Check the images ``rgb/0000.png`` and so on."""
    pictures = _numbered(folder)
    if count is not None and len(pictures) != count:
        findings.defect(folder, f"expected {count} PNGs, found {len(pictures)}")
    for k in _chosen(len(pictures), quick):
        picture = _read_png(pictures[k])
        if picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
            findings.defect(pictures[k], "expected an RGB image of 8 bits a channel")
        else:
            _check_size(pictures[k], (picture.shape[1], picture.shape[0]), size, findings)


def _read_png(path: Path) -> np.ndarray | None:
    """Read a PNG as (H, W) or (H, W, 3), uint8 or uint16; return None where it cannot be read."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _numbered(folder: Path) -> list[Path]:
    """Return the PNGs of a folder, sorted by the numbers in their names."""

    def order(path: Path) -> tuple[int, str]:
        number = re.search(r"\d+", path.name)
        return (int(number[0]) if number else -1, path.name)

    return sorted((path for path in folder.glob("*.png") if not path.name.startswith(".")), key=order)


def _chosen(count: int, quick: bool) -> list[int]:
    """Return the indices of all of ``count`` pictures, or only of the first and the last."""
    return sorted({0, count - 1} & set(range(count))) if quick else list(range(count))
