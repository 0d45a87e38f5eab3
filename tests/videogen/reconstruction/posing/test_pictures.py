import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from gaussians.files.video import VideoWriter
from gaussians.stage import memory
from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.pictures import chosen_indices, picture_source, read_pictures

WIDTH, HEIGHT = 48, 32


def flat(level: int) -> np.ndarray:
    """A picture of one grey level, with a red corner at the top left."""
    picture = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    picture[:16, :16] = (250, 20, 20)
    return picture


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., None]:
    """Saves a picture: ``save("2.png", 40)``."""

    def write(name: str, level: int, **options: object) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(flat(level)).save(tmp_path / name, **options)

    return write


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 20 frames; the grey of frame k is 5 k + 100."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 25) as writer:
        for frame in range(20):
            writer.write(flat(5 * frame + 100))
    return path


def test_photographs_come_in_natural_order_without_depth(tmp_path: Path, save: Callable[..., None]) -> None:
    for name, level in (("10.png", 4), ("2.png", 2), ("1.JPEG", 1), ("9.png", 3)):
        save(name, 20 * level)
    for name in ("2_depth.png", "._3.png"):
        save(name, 255)
    (tmp_path / "notes.txt").touch()
    pictures = read_pictures(tmp_path)
    assert pictures.names == ("1.JPEG", "2.png", "9.png", "10.png")
    assert pictures.indices == (0, 1, 2, 3)
    levels = pictures.images[:, -1, -1, 0].tolist()
    assert [round(level / 20) for level in levels] == [1, 2, 3, 4]  # JPEG may be a level off


def test_views_are_evenly_spaced_and_do_not_close_an_orbit() -> None:
    assert chosen_indices(100, views=25) == chosen_indices(100, interval=4) == tuple(range(0, 100, 4))
    assert chosen_indices(10, views=4) == (0, 2, 5, 7)
    assert chosen_indices(5, views=9) == (0, 1, 2, 3, 4)


def test_photographs_stand_upright(tmp_path: Path, save: Callable[..., None]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held so that the top of the scene is at the right of the file
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        save(name, 60, exif=exif)
    pictures = read_pictures(tmp_path)
    assert pictures.source_size == (HEIGHT, WIDTH)
    assert pictures.images.shape == (3, WIDTH, HEIGHT, 3)
    # The file's top left is then the picture's top right.
    red = pictures.images[0, :, :, 0].int() - pictures.images[0, :, :, 1].int() > 100
    rows, columns = red.nonzero().unbind(1)
    assert rows.max() < 18
    assert columns.min() > HEIGHT - 18


def test_larger_pictures_are_scaled_down_by_means(tmp_path: Path) -> None:
    checks = np.indices((HEIGHT, WIDTH)).sum(0) % 2 * 255
    for name in "abc":
        Image.fromarray(checks.astype(np.uint8)).save(tmp_path / f"{name}.png")
    pictures = read_pictures(tmp_path, max_side=WIDTH // 2)
    assert pictures.images.shape == (3, HEIGHT // 2, WIDTH // 2, 3)
    assert pictures.source_size == (WIDTH, HEIGHT)
    assert set(pictures.images.unique().tolist()) <= {127, 128}
    assert read_pictures(tmp_path, max_side=1000).images.shape == (3, HEIGHT, WIDTH, 3)


def test_cut_out_objects_stand_on_white(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[0, 0] = (10, 20, 30, 255)
    for name in "abc":
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    image = read_pictures(tmp_path).images[0]
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[4, 4].tolist() == [255, 255, 255]


def test_video_gives_the_chosen_frames(video: Path) -> None:
    for arguments, expected in (
        ({"interval": 6}, (0, 6, 12, 18)),
        ({"views": 3}, (0, 6, 13)),
        ({}, tuple(range(20))),
    ):
        pictures = read_pictures(video, **arguments)  # type: ignore[arg-type]
        assert pictures.indices == expected
        assert pictures.source_count == 20
        levels = pictures.images[:, 24, 40].float().mean(1)
        assert torch.allclose(levels, torch.tensor([5.0 * k + 100 for k in expected]), atol=2)  # of the encoder
    assert read_pictures(video.parent).source == video
    assert read_pictures(video, views=4, max_side=24).images.shape == (4, 16, 24, 3)


def test_a_video_of_a_turned_phone_stands_upright(video: Path) -> None:
    turned = video.with_name("turned.mp4")
    options = ["-loglevel", "error", "-display_rotation", "90", "-i", video, "-c", "copy", turned]
    subprocess.run([get_ffmpeg_exe(), *options], check=True)
    pictures = read_pictures(turned, views=3, max_side=24)
    assert pictures.source_size == (HEIGHT, WIDTH)
    assert pictures.images.shape == (3, 24, 16, 3)
    red = pictures.images[0, :, :, 0].int() - pictures.images[0, :, :, 1].int() > 100
    rows, columns = red.nonzero().unbind(1)
    assert rows.min() > 24 - 10  # a quarter anticlockwise: what was at the top left is at the bottom left
    assert columns.max() < 10


def test_frames_of_a_film_are_spread_over_all_of_it(real_data: Path) -> None:
    pictures = read_pictures(real_data / "video" / "example.mp4", views=5)
    assert pictures.images.shape == (5, 480, 640, 3)
    assert pictures.indices == (0, 23, 46, 70, 93)
    assert pictures.source_count == 117


def test_pictures_of_a_capture_may_lie_in_a_folder_below(tmp_path: Path, save: Callable[..., None]) -> None:
    save("images/1.png", 10)
    assert picture_source(tmp_path) == tmp_path / "images"


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, {}, r"expected pictures \(.*\) or a video$"),
        ({"a.heic": b"", "b.HEIC": b""}, {}, r"or a video; save its 2 HEIC or raw pictures as JPEG$"),
        ({"a.mp4": b"", "b.mp4": b""}, {}, "expected one video, found 2"),
        ({"a.mp4": b"nothing"}, {}, r"a\.mp4: not a readable video"),
        ({"a.png": 1, "b.png": 1}, {}, "expected at least 3 pictures, --interval 1 takes 2 of 2"),
        ({"a.png": 1, "b.png": 1, "c.png": 1}, {"interval": 2}, "--interval 2 takes 2 of 3"),
        ({"a.png": 1, "b.png": 1, "c.png": 1}, {"views": 2}, "--views 2 takes 2 of 3"),
        ({"a.png": 1, "b.png": 1, "c.png": b"text"}, {}, r"c\.png: not a readable picture"),
    ],
)
def test_unusable_folders_are_named(
    tmp_path: Path, save: Callable[..., None], files: dict[str, object], arguments: dict[str, int], message: str
) -> None:
    for name, contents in files.items():
        if isinstance(contents, bytes):
            (tmp_path / name).write_bytes(contents)
        else:
            save(name, 50)
    with pytest.raises(InputError, match=message):
        read_pictures(tmp_path, **arguments)  # type: ignore[arg-type]


def test_mixed_sizes_are_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    for name in ("1.png", "3.png", "4.png"):
        save(name, 50)
    Image.fromarray(flat(50)[:, :40]).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"2\.png: expected 48 x 32 pixels as 1\.png has, found 40 x 32"):
        read_pictures(tmp_path)


def test_damaged_files_are_named(tmp_path: Path, save: Callable[..., None]) -> None:
    for name in ("1.png", "2.png", "3.png"):
        save(f"photos/{name}", 50)
    whole = (tmp_path / "photos" / "2.png").read_bytes()
    (tmp_path / "photos" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"2\.png: not a readable picture"):
        read_pictures(tmp_path / "photos")
    video = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(video, 25) as writer:
        for _ in range(20):
            writer.write(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    contents = video.read_bytes()
    video.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(InputError, match=r"clip\.mp4: \d+ of its 20 frames can be decoded \("):
        read_pictures(video)
    with pytest.raises(InputError, match="found one picture"):
        read_pictures(tmp_path / "photos" / "1.png")
    with pytest.raises(InputError, match="no such file or folder"):
        read_pictures(tmp_path / "absent")


def test_more_pictures_than_memory_holds_are_refused(
    tmp_path: Path, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save(f"{number}.png", 100)
    needed = 2 * 3 * 3 * WIDTH * HEIGHT
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    assert len(read_pictures(tmp_path)) == 3
    monkeypatch.setattr(memory, "free_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="3 pictures of 48 x 32; --interval and --views take fewer: takes at least"):
        read_pictures(tmp_path)
