"""Trajectories on disk: Gaussians in motion, one HDF5 file a frame, read and written frame by frame.

A directory holds ``opacity.h5`` and ``shs.h5`` once, ``0000.h5``, ``0001.h5``, ... with ``pos`` and, unless left out,
``cov3D``, ``rot`` and ``vel``; and what the published format lacks: ``labels.npy``, ``source_index.npy`` and
``meta.json``. docs/formats.md describes all of it. Frame k is the state at time k * frame_dt.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from gaussians.files.hdf5 import Compression, dataset_of, open_hdf5, read_values, values_of, write_hdf5
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rotate_sh
from gaussians.stage.atomic_files import atomic_path, read_json, writable, write_json
from gaussians.stage.errors import InputError, Terminated
from gaussians.stage.shape_checks import check_shape
from gaussians.stage.validation import validated

FORMAT_VERSION = 1
PUBLISHED_FRAME_DT = 0.02
FIELDS = ("pos", "cov3D", "rot", "vel")
_FRAME_NAME = re.compile(r"\d{4,}\.h5")


class _Record(BaseModel):
    # Files of a later version may hold more than we know.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class TrajectoryObject(_Record):
    """One object of a trajectory."""

    name: str
    label: int
    """Its value in labels.npy."""
    index: int
    """Its number in the catalogue, 100 and up for objects that people added, -1 for unknown."""
    count: int
    """Its number of Gaussians."""
    material: str = "jelly"
    youngs_modulus: float
    """Pa"""
    nu: float
    """Poisson's ratio"""
    density: float
    """kg/m^3"""
    mass: float
    """kg"""
    volume: float
    """m^3"""


class Walls(_Record):
    """World positions of the simulation box, metres; the box is open above."""

    x: tuple[float, float]
    y: tuple[float, float]
    floor: float


class TrajectoryMeta(_Record):
    """meta.json: what produced a trajectory and how much of it is there."""

    format_version: int = FORMAT_VERSION
    complete: bool = False
    frame_dt: float = Field(gt=0)
    """seconds from frame to frame"""
    substep_dt: float = Field(gt=0)
    """seconds"""
    frame_count: int = Field(ge=0)
    """frames that a complete directory holds"""
    dx: float = Field(gt=0)
    """cell size of the simulation grid, metres"""
    gravity: tuple[float, float, float]
    """m/s^2"""
    walls: Walls | None = None
    objects: list[TrajectoryObject] = []
    seed: int = 0
    settings: dict[str, Any] = {}
    """the simulation's configuration"""
    hashes: dict[str, str] = {}
    """SHA-256 of each input"""
    code_version: str = ""
    wall_time: float | None = None
    """seconds that the simulation took"""


@dataclass(frozen=True)
class Frame:
    """The moving part of N Gaussians at one moment; what a file leaves out is None.

    Attributes:
        means: (N, 3), metres.
        covariances: (N, 6), metres^2.
        rotations: (N, 3, 3), from the initial orientation to this one.
        velocities: (N, 3), metres per second.
    """

    means: torch.Tensor
    covariances: torch.Tensor | None = None
    rotations: torch.Tensor | None = None
    velocities: torch.Tensor | None = None


class TrajectoryReader:
    """Streams a trajectory directory, ours or published; holds no more than one frame in memory.

    Attributes:
        path: the directory.
        meta: the contents of meta.json, None for published data.
        num_frames: frames that can be read.
        frame_dt: seconds from frame to frame.
        count: N, the number of Gaussians.
        labels: (N,) int32, the object of each Gaussian, or None where the directory does not say.

    Raises:
        InputError: no trajectory is there, a file is damaged, a frame is missing, or the trajectory is incomplete
            and ``allow_incomplete`` is not set.
    """

    def __init__(self, path: str | Path, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such directory: expected a trajectory")
        self.meta = read_meta(self.path)
        if self.meta is not None and not self.meta.complete and not allow_incomplete:
            raise InputError(
                f"{self.path}: incomplete: its simulation was interrupted or still runs; simulate it again"
            )
        self.frame_dt = self.meta.frame_dt if self.meta else PUBLISHED_FRAME_DT
        self.num_frames = self._count_frames(allow_incomplete)
        opacities = read_values(self.path / "opacity.h5", "opacity")
        if opacities.ndim not in (1, 2) or opacities.numel() != len(opacities):
            found = tuple(opacities.shape)
            raise InputError(f"{self.path / 'opacity.h5'}: opacity: expected shape (N, 1), found {found}")
        self.count = len(opacities)
        self._opacities = opacities.reshape(-1)
        self._sh: torch.Tensor | None = None
        self.labels = self._read_labels()

    def __len__(self) -> int:
        return self.num_frames

    def _count_frames(self, allow_incomplete: bool) -> int:
        numbers = sorted(int(file.stem) for file in self.path.glob("*.h5") if _FRAME_NAME.fullmatch(file.name))
        if not numbers:
            raise InputError(f"{self.path}: no frame: expected 0000.h5")
        present = next((i for i, number in enumerate(numbers) if i != number), len(numbers))
        expected = self.meta.frame_count if self.meta else numbers[-1] + 1
        if present < expected and not (allow_incomplete and present):
            raise InputError(f"{self._frame_path(present)}: no such frame: expected frames 0 to {expected - 1}")
        return min(present, expected)

    def _frame_path(self, k: int) -> Path:
        return self.path / f"{k:04d}.h5"

    def _read_labels(self) -> torch.Tensor | None:
        for name in ("labels.npy", "segmentation.npy"):
            if (self.path / name).is_file():
                labels = read_labels(self.path / name)
                if len(labels) != self.count:
                    raise InputError(f"{self.path / name}: expected {self.count} labels, found {len(labels)}")
                return labels
        return None

    @property
    def opacities(self) -> torch.Tensor:
        """(N,), 0 to 1."""
        return self._opacities

    @property
    def sh(self) -> torch.Tensor:
        """(N, K, 3), in the orientation of frame 0."""
        if self._sh is None:
            file = self.path / "shs.h5"
            sh = read_values(file, "shs")
            if sh.ndim != 3 or sh.shape[0] != self.count or sh.shape[1] not in (1, 4, 9, 16) or sh.shape[2] != 3:
                raise InputError(
                    f"{file}: shs: expected shape ({self.count}, (degree + 1)^2, 3), found {tuple(sh.shape)}"
                )
            self._sh = sh
        return self._sh

    def frame(self, k: int, fields: Sequence[str] = FIELDS) -> Frame:
        """Frame ``k``; of ``fields``, those that the file holds.

        Raises:
            IndexError: there is no frame k.
            InputError: the file is missing, damaged, or holds an array of another shape or non-finite values.
        """
        n, path = self.count, self._frame_path(k)
        with self._datasets(k, fields) as datasets:
            arrays = {name: values_of(path, name, dataset) for name, dataset in datasets.items()}
        if "rot" in arrays and len(arrays["rot"]) < n:
            arrays["rot"] = torch.cat([arrays["rot"], torch.eye(3).expand(n - len(arrays["rot"]), 3, 3)])
        rotations = arrays["rot"].mT if "rot" in arrays else None  # stored transposed, as published
        return Frame(arrays["pos"], arrays.get("cov3D"), rotations, arrays.get("vel"))

    @contextmanager
    def _datasets(self, k: int, fields: Sequence[str]) -> Iterator[dict[str, h5py.Dataset]]:
        """Those of ``fields`` that frame ``k`` holds, in the open file, their shapes checked."""
        if not 0 <= k < self.num_frames:
            raise IndexError(f"frame {k} of {self.num_frames}")
        path, n = self._frame_path(k), self.count
        datasets = {}
        with open_hdf5(path) as file:
            for name, shape in (("pos", (n, 3)), ("cov3D", (n, 6)), ("rot", (n, 3, 3)), ("vel", (n, 3))):
                if name != "pos" and (name not in file or name not in fields):
                    continue
                dataset = dataset_of(path, name, file)
                # Published files leave out the rotations of rows that the simulation does not move.
                rows = min(n, len(dataset)) if name == "rot" and dataset.ndim else n
                if dataset.shape != (rows, *shape[1:]):
                    raise InputError(f"{path}: {name}: expected shape {shape}, found {dataset.shape}")
                datasets[name] = dataset
            yield datasets

    def check_frames(self, drawable: bool = True) -> None:
        """Look at every frame without reading its values: enough to find files cut short.

        Args:
            drawable: whether frames of positions alone are an error.

        Raises:
            InputError: a frame is missing or damaged, cannot be drawn, or holds an array of another shape.
        """
        for k in range(self.num_frames):
            with self._datasets(k, FIELDS) as datasets:
                if drawable and "cov3D" not in datasets:
                    raise self._cannot_be_drawn(k)

    def _cannot_be_drawn(self, k: int) -> InputError:
        return InputError(f"{self._frame_path(k)}: no dataset 'cov3D': this trajectory holds positions only")

    def positions(self, k: int) -> torch.Tensor:
        """Means (N, 3) of frame ``k``, metres."""
        return self.frame(k, ("pos",)).means

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        return (self.frame(k) for k in range(self.num_frames))

    def gaussians(self, k: int, sh_degree: int | None = None) -> Gaussians:
        """Frame ``k`` as Gaussians ready to draw, their colours turned along with them.

        Args:
            sh_degree: cut the coefficients off at this degree first, which saves time.

        Raises:
            InputError: the trajectory holds positions only.
        """
        frame = self.frame(k, ("pos", "cov3D", "rot"))
        if frame.covariances is None:
            raise self._cannot_be_drawn(k)
        sh = self.sh if sh_degree is None else self.sh[:, : (sh_degree + 1) ** 2]
        still = Gaussians(frame.means, self.opacities, sh, covariances=frame.covariances, labels=self.labels)
        return moved(still, frame)


def moved(gaussians: Gaussians, frame: Frame) -> Gaussians:
    """``gaussians``, their colours in the orientation of frame 0, at ``frame``, which holds covariances.

    Both are on one device.
    """
    sh = gaussians.sh
    if frame.rotations is not None and sh.shape[1] > 1:
        sh = rotate_sh(sh, frame.rotations)
    return Gaussians(frame.means, gaussians.opacities, sh, covariances=frame.covariances, labels=gaussians.labels)


class TrajectoryWriter:
    """Writes a trajectory directory frame by frame; a context manager.

    ``meta.json`` says ``"complete": false`` from the first moment until ``finish``; leaving the block without it
    leaves the directory marked incomplete, or empty after SIGTERM. Frames of an earlier run are removed at the start.

    Args:
        path: the directory, made if absent.
        meta: what will stand in meta.json; ``complete`` and ``frame_count`` are set here.
        opacities: (N,), 0 to 1.
        sh: (N, K, 3).
        labels: (N,) int32.
        source_index: (N,), the row in the scene's PLY of each Gaussian.
        dtype: type of positions, rotations, velocities, opacities and colours; covariances stay float32, because
            float16 spacing is coarser than small Gaussians are.
        fields: the datasets of a frame; ``("pos",)`` suffices for training.
        compression: how arrays lie in the files; any but "none" takes longer and detects damaged bytes.

    Raises:
        InputError: the directory cannot be written to.
    """

    def __init__(
        self,
        path: str | Path,
        meta: TrajectoryMeta,
        opacities: torch.Tensor,
        sh: torch.Tensor,
        labels: torch.Tensor | None = None,
        source_index: torch.Tensor | None = None,
        dtype: Literal["float32", "float16"] = "float32",
        fields: Sequence[str] = FIELDS,
        compression: Compression = "none",
    ) -> None:
        unknown = set(fields) - set(FIELDS)
        if unknown or "pos" not in fields:
            raise InputError(f"trajectory fields: expected 'pos' and any of {FIELDS}, found {sorted(fields)}")
        self.path, self.fields, self.dtype, self.compression = Path(path), tuple(fields), dtype, compression
        self.count, self.num_frames = len(opacities), 0
        check_shape("opacities", opacities, "N")
        check_shape("sh", sh, self.count, "K", 3)
        self.meta = meta.model_copy(update={"complete": False, "format_version": FORMAT_VERSION})
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_meta()
            self._remove_arrays()
            self._write("opacity.h5", {"opacity": opacities[:, None]})
            self._write("shs.h5", {"shs": sh})
            for name, array in (("labels.npy", labels), ("source_index.npy", source_index)):
                if array is not None:
                    check_shape(name, array, self.count)
                    with atomic_path(self.path / name) as temporary:
                        np.save(temporary, array.cpu().numpy().astype(np.int32))

    def __enter__(self) -> "TrajectoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Every file is closed once it is written; SIGTERM drops them."""
        if kind is Terminated and not self.meta.complete:
            self._remove_arrays()
            (self.path / "meta.json").unlink(missing_ok=True)

    def _remove_arrays(self) -> None:
        for file in self.path.iterdir():
            if file.suffix == ".h5" or file.name in ("labels.npy", "source_index.npy"):
                file.unlink()

    def write(self, frame: Frame) -> None:
        """Write the next frame.

        Raises:
            ValueError: a field to be stored is None or has another shape.
        """
        rotations = None if frame.rotations is None else frame.rotations.mT
        arrays = {"pos": frame.means, "cov3D": frame.covariances, "rot": rotations, "vel": frame.velocities}
        shapes = {"pos": (3,), "cov3D": (6,), "rot": (3, 3), "vel": (3,)}
        stored: dict[str, torch.Tensor] = {}
        for name in self.fields:
            array = arrays[name]
            if array is None:
                raise ValueError(f"frame {self.num_frames}: {name} is to be stored and is None")
            check_shape(name, array, self.count, *shapes[name])
            stored[name] = array
        self._write(f"{self.num_frames:04d}.h5", stored)
        self.num_frames += 1

    def finish(self, **changes: Any) -> None:
        """Mark the trajectory complete, with any last ``changes`` to its meta data."""
        changes |= {"complete": True, "frame_count": self.num_frames}
        self.meta = self.meta.model_copy(update=changes)
        self._write_meta()

    def _write_meta(self) -> None:
        write_json(self.path / "meta.json", self.meta.model_dump())

    def _write(self, name: str, arrays: dict[str, torch.Tensor]) -> None:
        datasets = {
            key: array.cpu().numpy().astype("float32" if key == "cov3D" else self.dtype, copy=False)
            for key, array in arrays.items()
        }
        write_hdf5(self.path / name, datasets, self.compression)


def read_meta(path: str | Path) -> TrajectoryMeta | None:
    """meta.json of a trajectory directory, or None where there is none (published data).

    Raises:
        InputError: the file is damaged, lacks a field, or is of a later format version.
    """
    file = Path(path) / "meta.json"
    if not file.is_file():
        return None
    contents = read_json(file)
    version = contents.get("format_version") if isinstance(contents, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InputError(f"{file}: format_version: expected at most {FORMAT_VERSION}, found {version}")
    return validated(file, contents, TrajectoryMeta)


def read_labels(path: str | Path) -> torch.Tensor:
    """An .npy file of object labels, (N,) int32.

    Raises:
        InputError: the file is missing, damaged, or holds anything but whole numbers in one dimension.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # a damaged header goes through Python's own parser, which has many
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: expected one whole number for each Gaussian")
    return torch.from_numpy(labels.astype(np.int32))
