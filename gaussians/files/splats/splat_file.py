"""Read .splat files, which hold 32 bytes for each Gaussian and nothing else (antimatter15's viewer and its kin)."""

from pathlib import Path

import numpy as np
import torch

from gaussians.files.splats.splat_rows import RowChecks, Splats
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quaternion", "u1", 4)])


def read_splat_file(path: str | Path, keep_rows: bool = False) -> Splats:
    """Read a .splat file: means and scales in the file's units, 8-bit colours, opacities and quaternions.

    Args:
        keep_rows: whether a row that holds no Gaussian is an error; otherwise it is left out.

    Raises:
        InputError: the file is missing, its size is no multiple of 32 bytes, or it has no row left.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size == 0 or size % _ROW.itemsize:
            raise InputError(f"{path}: expected {_ROW.itemsize} bytes for each Gaussian, found {size} bytes")
        rows = np.fromfile(path, _ROW)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    checks = RowChecks(path, len(rows), keep_rows)
    means, scales = (torch.from_numpy(rows[name].astype(np.float32)) for name in ("mean", "scale"))
    checks.expect(means.isfinite(), lambda row: f"position: expected finite values, found {means[row].tolist()}")
    checks.expect(
        scales.isfinite() & (scales >= 0), lambda row: f"scale: expected 0 or more, found {scales[row].tolist()}"
    )
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32)) / 255
    gaussians = Gaussians(
        means=means,
        opacities=rgba[:, 3],
        sh=rgb_to_sh(rgba[:, :3]),
        scales=scales,
        quaternions=torch.from_numpy((rows["quaternion"].astype(np.float32) - 128) / 128),
    )
    return checks.splats(gaussians)
