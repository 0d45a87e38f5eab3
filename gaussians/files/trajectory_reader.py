"""Read trajectories from disk frame by frame."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import h5py
import torch

from gaussians.files.hdf5 import dataset_of, open_hdf5, read_values, values_of
from gaussians.files.labels import read_labels
from gaussians.files.storage_options import FIELDS
from gaussians.files.trajectory_format import PUBLISHED_FRAME_DT, Frame, read_meta
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rotate_sh
from gaussians.stage.errors import InputError

_FRAME_NAME = re.compile(r"\d{4,}\.h5")


class TrajectoryReader:
    """A ``TrajectoryReader`` reads a trajectory directory, ours or a published one, frame by frame.

    It holds no more than one frame in memory.

    Attributes:
        path: the directory.
        meta: the contents of meta.json, None for published data.
        num_frames: frames that can be read.
        frame_dt: seconds from frame to frame.
        count: N, the number of Gaussians.
        labels: (N,) int32, the object of each Gaussian; None where the directory does not tell them apart.

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
        if opacities.ndim not in (1, 2) or not 0 < opacities.numel() == len(opacities):
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

    @cached_property
    def moving(self) -> int:
        """Return how many Gaussians move, the first ones of all; the others stay where they are in every frame.

        meta.json says it, or the number of rotations in published files; else those at the end that no frame moves.

        Raises:
            InputError: a frame is damaged.
        """
        known = [entry.moving for entry in self.meta.objects] if self.meta else []
        counts = [count for count in known if count is not None]
        if counts and len(counts) == len(known):
            return sum(counts)
        if self.meta is None:
            with self._datasets(0, ("rot",)) as datasets:
                if "rot" in datasets:
                    return len(datasets["rot"])
        start = self.positions(0)
        moved = torch.zeros(self.count, dtype=torch.bool)
        for k in {self.num_frames // 2, self.num_frames - 1} - {0}:
            moved |= (self.positions(k) != start).any(1)
        return int(moved.nonzero().max()) + 1 if moved.any() else self.count

    @property
    def opacities(self) -> torch.Tensor:
        """Return the opacities (N,), 0 to 1."""
        return self._opacities

    @property
    def sh(self) -> torch.Tensor:
        """Return the spherical-harmonic coefficients (N, K, 3) in the orientation of frame 0."""
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
        """Read frame ``k``: the positions, and those of ``fields`` that its file holds.

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
        """Yield those of ``fields`` that frame ``k`` holds, in the open file, their shapes checked."""
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
        """Open every frame without reading its values, which is enough to find files cut short.

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
        """Read the means (N, 3) of frame ``k``, metres."""
        return self.frame(k, ("pos",)).means

    def frames(self) -> Iterator[Frame]:
        """Read all frames in order."""
        return (self.frame(k) for k in range(self.num_frames))

    def gaussians(self, k: int, sh_degree: int | None = None) -> Gaussians:
        """Read frame ``k`` as Gaussians ready to draw, their colours turned along with them.

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
    """Return ``gaussians`` as they are at ``frame``, which holds covariances.

    The colours of ``gaussians`` are in the orientation of frame 0. Both arguments are on one device.
    """
    sh = gaussians.sh
    if frame.rotations is not None and sh.shape[1] > 1:
        sh = rotate_sh(sh, frame.rotations)
    return Gaussians(frame.means, gaussians.opacities, sh, covariances=frame.covariances, labels=gaussians.labels)
