"""Write trajectories to disk frame by frame."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch

from gaussians.files.hdf5 import write_hdf5
from gaussians.files.storage_options import FIELDS, Compression
from gaussians.files.trajectory_format import FORMAT_VERSION, Frame, TrajectoryMeta
from gaussians.stage.atomic_files import atomic_path, writable
from gaussians.stage.errors import InputError, Terminated
from gaussians.stage.json_files import write_json
from gaussians.stage.shape_checks import check_shape


class TrajectoryWriter:
    """A ``TrajectoryWriter`` is a context manager that writes a trajectory directory frame by frame.

    ``meta.json`` says ``"complete": false`` from the first moment until ``finish``; leaving the block without it
    leaves the directory marked incomplete, or empty after SIGTERM. Frames of an earlier run are removed at the start.

    Args:
        path: the directory, made if absent.
        meta: what will stand in meta.json; ``complete`` and ``frame_count`` are set here.
        opacities: (N,), 0 to 1.
        sh: (N, K, 3).
        labels: (N,) int32.
        source_index: (N,), the row in the scene's PLY of each Gaussian.
        dtype: the type of positions, rotations, velocities, opacities and colours; covariances stay float32, because
            float16 spacing is coarser than small Gaussians are.
        fields: the datasets of a frame; ``("pos",)`` suffices for training.
        compression: how arrays are stored; any but "none" takes longer and detects damaged bytes.

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
            try:
                self._begin(opacities, sh, {"labels.npy": labels, "source_index.npy": source_index})
            except Terminated:
                self._drop()
                raise

    def _begin(self, opacities: torch.Tensor, sh: torch.Tensor, rows: dict[str, torch.Tensor | None]) -> None:
        """Write what stands beside the frames, ``meta.json`` first."""
        self._write_meta()
        self._remove_arrays()
        self._write("opacity.h5", {"opacity": opacities[:, None]})
        self._write("shs.h5", {"shs": sh})
        for name, array in rows.items():
            if array is not None:
                check_shape(name, array, self.count)
                with atomic_path(self.path / name) as temporary:
                    np.save(temporary, array.cpu().numpy().astype(np.int32))

    def __enter__(self) -> "TrajectoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the files after SIGTERM; otherwise nothing is left to do, since each file is closed once written."""
        if kind is Terminated and not self.meta.complete:
            self._drop()

    def _drop(self) -> None:
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
