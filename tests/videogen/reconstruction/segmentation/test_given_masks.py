import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaussians.stage.errors import InputError
from videogen.reconstruction.segmentation.given_masks import read_masks

NAMES = ("00000", "00004", "00008")
INDICES = (0, 4, 8)


def picture(*values: int) -> np.ndarray:
    """A column of 4 pixels for each value."""
    return np.repeat(np.array(values, np.uint8)[None], 4, 0)


def write(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(path)


def read(folder: Path, width: int = 3, height: int = 4) -> np.ndarray:
    return read_masks(folder, NAMES, INDICES, 9, width, height).numpy()


def test_labels_are_found_by_name_whatever_their_digits(tmp_path: Path) -> None:
    for number in range(9):
        write(tmp_path / f"{number}.png", picture(0, 1, number % 3), palette=True)
    assert read(tmp_path)[:, 0].tolist() == [[0, 1, 0], [0, 1, 1], [0, 1, 2]]


@pytest.mark.parametrize("count", [3, 9])
def test_labels_are_found_by_order_of_those_chosen_or_of_all(tmp_path: Path, count: int) -> None:
    for number in range(count):
        write(tmp_path / f"mask_{number}.png", picture(number * 9 // count, 20, 0))
    # 0, 3 and 6, or 0, 4 and 8, and 20: numbered from 1 by size.
    assert read(tmp_path)[:, 0].tolist() == [[0, 3, 0], [1, 3, 0], [2, 3, 0]]


def test_each_object_may_have_a_folder(tmp_path: Path) -> None:
    for folder, values in (("2_duck", (0, 255, 255)), ("10_ball", (255, 0, 0))):
        for name in NAMES:
            write(tmp_path / folder / f"{name}.png", picture(*values))
    assert read(tmp_path)[:, 0].tolist() == [[2, 1, 1]] * 3


def test_masks_are_scaled_with_the_pictures(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path / f"{name}.png", picture(0, 1, 2).repeat(2, 0).repeat(2, 1))
    assert read(tmp_path)[0].tolist() == [[0, 1, 2]] * 4


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks: no such folder"):
        read(tmp_path / "masks")
    for number, name in enumerate(("a", "b", "c", "d")):
        write(tmp_path / f"{name}.png", picture(0, number, 0))
    with pytest.raises(InputError, match="a mask for each of 3 pictures, or of all 9, found 4"):
        read(tmp_path)
    (tmp_path / "d.png").rename(tmp_path / "4.png")
    with pytest.raises(InputError, match="no mask is called as picture 00000"):
        read(tmp_path)
    (tmp_path / "4.png").unlink()
    with pytest.raises(InputError, match=r"a\.png: expected the shape of the pictures, 4 x 4, found 3 x 4"):
        read(tmp_path, width=4)
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.png", picture(0, 0, 0))
    with pytest.raises(InputError, match="all of them are empty"):
        read(tmp_path)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"b\.png: not a readable mask"):
        read(tmp_path)
    Image.new("RGB", (3, 4)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: expected a grey or palette picture of labels, found mode RGB"):
        read(tmp_path)


def test_more_objects_than_labels_are_refused(tmp_path: Path) -> None:
    for name in NAMES:
        write(tmp_path / "shades" / f"{name}.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    with pytest.raises(InputError, match="at most 64 labels, found 255 values"):
        read(tmp_path / "shades", 16, 16)
    for number in range(65):
        (tmp_path / "folders" / f"{number}").mkdir(parents=True)
    with pytest.raises(InputError, match="at most 64 labels, found 65 objects"):
        read(tmp_path / "folders")


@pytest.mark.parametrize("folders", [False, True])
def test_large_masks_are_in_memory_one_at_a_time(tmp_path: Path, folders: bool) -> None:
    """Of a million pixels each: all of them in bytes would be 9 million."""
    values = np.zeros((1000, 1000), np.uint8)
    values[:, 500:] = 1
    for number in range(9):
        write(tmp_path / ("ball" if folders else "") / f"{number}.png", values)
    tracemalloc.start()
    masks = read_masks(tmp_path, tuple(map(str, range(9))), tuple(range(9)), 9, 10, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert masks[:, :, 5:].all()
    assert not masks[:, :, :5].any()
    assert peak < 8e6
