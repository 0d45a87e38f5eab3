"""Read evenly spaced pictures of a scene from a video or a folder of photographs."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from gaussians.files.decoded_video import decode
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError
from gaussians.stage.memory import check_memory
from gaussians.stage.shape_checks import check_shape
from gaussians.stage.threads import core_count

VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FEWEST = 3
"""Fewer pictures do not show where things are."""

_NO_PHOTOGRAPHS = ("_depth.png",)  # ends of names; depth of a published picture lies beside it
_SUBFOLDERS = ("images", "rgb")  # where tools that make cameras put their pictures
_PROMISED = 0.9  # of the frames that a video's index names; where fewer decode, the file broke off


@dataclass(frozen=True)
class Pictures:
    """A ``Pictures`` holds N pictures of one size.

    Attributes:
        images: (N, H, W, 3) uint8, RGB.
        names: what each is called: of a photograph its file's name, of a video's frame its number.
        indices: position of each among all pictures of the source, from 0.
        source: the video, or the folder that the photographs lie in.
        source_count: how many pictures the source has.
        source_size: (width, height) in the source, pixels.
    """

    images: torch.Tensor
    names: tuple[str, ...]
    indices: tuple[int, ...]
    source: Path
    source_count: int
    source_size: tuple[int, int]

    def __post_init__(self) -> None:
        check_shape("images", self.images, len(self.names), "H", "W", 3)

    def __len__(self) -> int:
        return len(self.names)


def read_pictures(path: Path, interval: int = 1, views: int | None = None, max_side: int | None = None) -> Pictures:
    """Read pictures from a video or a folder, as the camera was held (EXIF), in the natural order of their names.

    Only those that are chosen are kept in memory, at the size that is asked for.

    Args:
        path: a video; or a folder of photographs, or one that has them in ``images`` or ``rgb``, or holds one video.
        interval: take every n-th picture.
        views: take this many, evenly spaced, whatever ``interval`` is; all where there are fewer.
        max_side: the larger of width and height, pixels, to which larger pictures are scaled down.

    Raises:
        InputError: there is no such path, a video or picture does not decode, sizes are mixed, fewer than three
            pictures are found or chosen, or they do not fit into memory.
    """
    source = picture_source(path)
    if source.is_file():
        return _video_frames(source, interval, views, max_side)
    return _photographs(source, interval, views, max_side)


def picture_source(path: Path) -> Path:
    """Return the video or the folder of photographs that ``path`` stands for; see ``read_pictures``.

    Raises:
        InputError: there is no such path, or it holds neither photographs nor one video.
    """
    if path.is_file():
        if path.suffix.lower() in PHOTOGRAPHS:
            raise InputError(f"{path}: expected a video or a folder of pictures, found one picture")
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    for folder in (path, *(path / name for name in _SUBFOLDERS)):
        if folder.is_dir() and photograph_files(folder):
            return folder
    videos = [file for file in _visible_files(path) if file.suffix.lower() in VIDEOS]
    if len(videos) > 1:
        raise InputError(f"{path}: expected one video, found {len(videos)}: name one of them")
    if videos:
        return videos[0]
    raise InputError(f"{path}: expected pictures ({', '.join(PHOTOGRAPHS)}) or a video{_other_formats(path)}")


def photograph_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder, without those of depth, in the natural order of their names (2 before 10)."""
    return [
        file
        for file in _visible_files(folder)
        if file.suffix.lower() in PHOTOGRAPHS and not file.name.endswith(_NO_PHOTOGRAPHS)
    ]


def chosen_indices(count: int, interval: int = 1, views: int | None = None) -> tuple[int, ...]:
    """Return which of ``count`` pictures are chosen: every ``interval``-th, or ``views`` of them evenly spaced.

    The last one is not aimed at, so that of a closed orbit the first view is not taken twice.
    """
    if views is None:
        return tuple(range(0, count, interval))
    wanted = min(views, count)
    return tuple(number * count // wanted for number in range(wanted))


def size_within(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Return (width, height), pixels, scaled down so that neither exceeds ``max_side``."""
    if max_side is None or max(width, height) <= max_side:
        return width, height
    factor = max_side / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def scaled_picture(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 at another size; scaled down, a pixel is the mean of those that it covers."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _video_frames(path: Path, interval: int, views: int | None, max_side: int | None) -> Pictures:
    video = decode(path, threads=core_count())
    reason = f" ({video.problem})" if video.problem else ""
    if not video.frames:
        raise InputError(f"{path}: no frame of it can be decoded{reason}")
    if video.problem and video.frames < _PROMISED * video.declared:
        raise InputError(f"{path}: {video.frames} of its {video.declared} frames can be decoded{reason}")
    indices = _enough(path, video.frames, interval, views)
    size = size_within(video.width, video.height, max_side)
    reader = read_video(path, chosen=indices, size=size)
    images, count = _room(path, len(indices), *size), 0
    for frame in tqdm(reader, desc=f"read {path.name}", total=len(indices), unit="frame", leave=False):
        images[count] = torch.from_numpy(frame)
        count += 1
    if count < len(indices):
        raise InputError(f"{path}: {count} of {len(indices)} chosen frames can be decoded{reason}")
    names = tuple(f"{index:05d}" for index in indices)
    return Pictures(images, names, indices, path, video.frames, (video.width, video.height))


def _photographs(folder: Path, interval: int, views: int | None, max_side: int | None) -> Pictures:
    files = photograph_files(folder)
    indices = _enough(folder, len(files), interval, views)
    chosen = [files[index] for index in indices]
    images, expected = torch.empty(0, dtype=torch.uint8), (0, 0)
    for number, file in enumerate(tqdm(chosen, desc="read pictures", unit="picture", leave=False)):
        picture = _read_photograph(file)
        height, width = picture.shape[:2]
        size = size_within(width, height, max_side)
        if number == 0:
            expected = (width, height)
            images = _room(folder, len(chosen), *size)
        if (width, height) != expected:
            raise InputError(
                f"{file}: expected {expected[0]} x {expected[1]} pixels as {chosen[0].name} has, "
                f"found {width} x {height}"
            )
        images[number] = torch.from_numpy(scaled_picture(picture, *size))
    return Pictures(images, tuple(file.name for file in chosen), indices, folder, len(files), expected)


def _enough(path: Path, count: int, interval: int, views: int | None) -> tuple[int, ...]:
    """Return the indices that are chosen among ``count``, at least three."""
    indices = chosen_indices(count, interval, views)
    if len(indices) < FEWEST:
        setting = f"--interval {interval}" if views is None else f"--views {views}"
        raise InputError(f"{path}: expected at least {FEWEST} pictures, {setting} takes {len(indices)} of {count}")
    return indices


def _room(path: Path, count: int, width: int, height: int) -> torch.Tensor:
    """Return an empty tensor for pictures (count, height, width, 3), if they fit into memory twice.

    They are there twice while the distortion of their lenses is undone.
    """
    what = f"{path}: {count} pictures of {width} x {height}; --interval and --views take fewer"
    check_memory(2 * 3 * count * width * height, what)
    return torch.empty(count, height, width, 3, dtype=torch.uint8)


def _read_photograph(file: Path) -> np.ndarray:
    """Return a photograph (H, W, 3) uint8 as the camera was held."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:  # of marks that nobody needs
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{file}: expected 8 bits a channel, found mode {opened.mode}")
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:  # of cut-out objects; white is what renderers of such data sets show
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.array(image.convert("RGB"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: not a readable picture: {error}") from None


def _visible_files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    return sorted(files, key=lambda file: natural_order(file.name))


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts runs of digits in names by their number: 2 before 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts], name


def _other_formats(folder: Path) -> str:
    """Return what the message of a folder without pictures adds about pictures that are not read."""
    others = sum(file.suffix.lower() in (".heic", ".heif", ".dng") for file in _visible_files(folder))
    return f"; save its {others} HEIC or raw pictures as JPEG" if others else ""
