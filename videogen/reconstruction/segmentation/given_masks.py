"""Read masks that the user gives: label pictures in a folder, or a folder of masks for each object."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.pictures import natural_order, photograph_files

_MOST_LABELS = 64  # more values are shades
_MODES = ("1", "L", "P", "I", "I;16")
_ASPECT = 0.01  # the least difference that no rounding makes


def read_masks(
    folder: Path, names: Sequence[str], indices: Sequence[int], source_count: int, width: int, height: int
) -> torch.Tensor:
    """Read masks as label pictures (N, H, W) uint8: 0 where no object shows, else the object's number from 1.

    The folder holds a palette or grey picture of labels for each picture, or a folder for each object, in the natural
    order of their names, with a mask for each picture, white or not 0 where the object shows. Masks belong to the
    pictures of their names, whatever their endings; where no name fits, to all pictures of the source, or to those that
    were chosen, in order. Values that occur are numbered from 1 by their size.

    Args:
        names: what the N pictures are called.
        indices: position of each among all pictures of the source.
        source_count: how many pictures the source has.
        width, height: of the pictures, pixels; masks are scaled to it.

    Raises:
        InputError: the folder is missing, a mask is missing, damaged, coloured or of another shape, or nothing shows in
            any of them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of masks")
    objects = sorted(
        (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")),
        key=lambda path: natural_order(path.name),
    )
    # One picture's masks are in memory at a time: photographs have many pixels.
    layers: Iterator[list[np.ndarray]]
    if objects and not photograph_files(folder):
        _check_count(folder, "objects", len(objects))
        of_objects = [_chosen(path, names, indices, source_count) for path in objects]
        layers = (
            [_resized(_is_shown(_read(file)), file, width, height) for file in files]
            for files in zip(*of_objects, strict=True)
        )
    else:
        files = _chosen(folder, names, indices, source_count)
        found = set[int]().union(*(np.unique(_read(file)).tolist() for file in files))
        values = sorted(value for value in found if value > 0)
        _check_count(folder, "values", len(values))
        layers = (
            [_resized(mask == value, file, width, height) for value in values]
            for mask, file in zip(map(_read, files), files, strict=True)
        )
    labels = np.stack([_label_picture(shares, width, height) for shares in layers])
    if not labels.any():
        raise InputError(f"{folder}: expected masks that show an object, all of them are empty")
    return torch.from_numpy(labels)


def _check_count(folder: Path, what: str, count: int) -> None:
    if count > _MOST_LABELS:
        raise InputError(f"{folder}: expected masks of at most {_MOST_LABELS} labels, found {count} {what}")


def _label_picture(shares: Sequence[np.ndarray], width: int, height: int) -> np.ndarray:
    """Return the label picture (height, width) uint8 of how much of each pixel the objects 1 to K cover."""
    if not shares:
        return np.zeros((height, width), np.uint8)
    stack = np.stack(shares)
    return np.where(stack.max(0) > 0.5, stack.argmax(0) + 1, 0).astype(np.uint8)


def _chosen(folder: Path, names: Sequence[str], indices: Sequence[int], source_count: int) -> list[Path]:
    """Return the mask of each picture."""
    files = photograph_files(folder)
    if not files:
        raise InputError(f"{folder}: expected masks (PNG)")
    by_name = {_key(file.name): file for file in files}
    fitting = [by_name.get(_key(name)) for name in names]
    if any(fitting):
        for name, file in zip(names, fitting, strict=True):
            if file is None:
                raise InputError(f"{folder}: no mask is called as picture {name}")
        return [file for file in fitting if file is not None]
    if len(files) == source_count:
        return [files[index] for index in indices]
    if len(files) == len(names):
        return files
    raise InputError(
        f"{folder}: expected a mask for each of {len(names)} pictures, or of all {source_count}, found {len(files)}"
    )


def _key(name: str) -> str | int:
    """Return what a picture's and its mask's names share: the stem, or its number."""
    stem = Path(name).stem
    return int(stem) if stem.isdecimal() else stem


def _read(file: Path) -> np.ndarray:
    """Return a mask's values (H, W)."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:  # of marks that nobody needs
            if opened.mode not in _MODES:
                raise InputError(f"{file}: expected a grey or palette picture of labels, found mode {opened.mode}")
            return np.array(opened)
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file}: not a readable mask: {error}") from None


def _is_shown(values: np.ndarray) -> np.ndarray:
    """Return where a mask of one object shows it: where it is more than half as bright as it may be."""
    return values > (127 if values.max() > 127 else 0)


def _resized(mask: np.ndarray, file: Path, width: int, height: int) -> np.ndarray:
    """Return how much of each pixel (height, width) a mask covers, 0 to 1."""
    rows, columns = mask.shape
    if abs(columns * height / (rows * width) - 1) > _ASPECT:
        raise InputError(f"{file}: expected the shape of the pictures, {width} x {height}, found {columns} x {rows}")
    interpolation = cv2.INTER_AREA if columns >= width and rows >= height else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=interpolation)
