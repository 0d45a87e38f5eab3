"""Read Gaussians from a dictionary of tensors in a .pt file, as reconstructions are published.

The file holds raw parameters, as a PLY file does: logarithms of the scales and logits of the opacities. It is read
without unpickling code.
"""

from pathlib import Path
from typing import Any

import torch

from gaussians.files.labels import int32_labels
from gaussians.files.splats.splat_rows import RowChecks, Splats
from gaussians.files.torch_file import load_dictionary, tensor_of
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import MAX_DEGREE
from gaussians.stage.errors import InputError

_SHAPES = {"means": (3,), "scales": (3,), "rotations": (4,), "opacities": ()}


def read_tensor_file(path: str | Path) -> Gaussians:
    """Read a .pt file of Gaussians, all rows of it, see ``read_tensor_splats``.

    Returns:
        Gaussians on the CPU, float32, with unit quaternions.

    Raises:
        InputError: as ``read_tensor_splats``, or a row has a value without a meaning or a zero quaternion.
    """
    return read_tensor_splats(path, keep_rows=True).gaussians


def read_tensor_splats(path: str | Path, keep_rows: bool = False) -> Splats:
    """Read a .pt file of Gaussians.

    It holds ``means`` (N, 3), ``scales`` (N, 3), ``rotations`` (N, 4) wxyz, ``opacities`` (N,), ``harmonics`` (N, K, 3)
    and, where objects are told apart, ``labels`` (N,). Every array may have a leading dimension of 1. Coefficients
    beyond degree 3 are cut off. A logit of +-inf is an opacity of 1 or 0, a logarithm of -inf a scale of 0.

    Args:
        keep_rows: whether a row with a value without a meaning, or a zero quaternion, is an error; otherwise it is left
            out.

    Raises:
        InputError: the file is missing, damaged, holds anything but tensors and plain values, lacks one of the arrays,
            one has another shape, or no row is left.
    """
    path = Path(path)
    contents = load_dictionary(path)
    means = _array(path, contents, "means", None)
    count = len(means)
    if count == 0:
        raise InputError(f"{path}: means: expected at least one Gaussian")
    checks = RowChecks(path, count, keep_rows)

    def checked(name: str, values: torch.Tensor, *infinities: float) -> torch.Tensor:
        good = values.isfinite()
        for infinity in infinities:
            good |= values == infinity
        checks.expect(good, lambda row: f"{name}: expected finite values, found {values[row].tolist()}")
        return values

    scales = checked("scales", _array(path, contents, "scales", count), -torch.inf).exp()
    checks.expect(
        scales.isfinite() | scales.isnan(),
        lambda row: "scales: expected logarithms of metres, found a value past float32's range",
    )
    gaussians = Gaussians(
        means=checked("means", means),
        opacities=checked("opacities", _array(path, contents, "opacities", count), torch.inf, -torch.inf).sigmoid(),
        sh=checked("harmonics", _harmonics(path, contents, count)),
        scales=scales,
        quaternions=checked("rotations", _array(path, contents, "rotations", count)),
        labels=_labels(path, contents, count),
    )
    return checks.splats(gaussians, quaternion="rotations")


def _array(path: Path, contents: dict[str, Any], name: str, count: int | None) -> torch.Tensor:
    """Return the float32 array ``name``, (count, ...), without a leading 1; with ``count`` None any number of rows."""
    tensor, shape = tensor_of(path, contents, name).float(), _SHAPES[name]
    if name == "opacities" and tensor.ndim and tensor.shape[-1] == 1 != count:
        tensor = tensor.squeeze(-1)  # (N, 1)
    if tensor.ndim == len(shape) + 2 and tensor.shape[0] == 1:
        tensor = tensor.squeeze(0)
    if tensor.ndim != len(shape) + 1 or tensor.shape[1:] != shape or len(tensor) != (count or len(tensor)):
        expected = ", ".join(str(size) for size in ("N" if count is None else count, *shape))
        raise InputError(f"{path}: {name}: expected shape ({expected}), found {tuple(tensor.shape)}")
    return tensor


def _harmonics(path: Path, contents: dict[str, Any], count: int) -> torch.Tensor:
    sh = tensor_of(path, contents, "harmonics").float()
    if sh.ndim == 4 and sh.shape[0] == 1:
        sh = sh.squeeze(0)
    if sh.ndim == 2:
        sh = sh[:, None]  # degree 0 alone
    if sh.ndim == 3 and sh.shape[1] == 3 != sh.shape[2]:
        sh = sh.mT
    if sh.ndim != 3 or sh.shape[0] != count or sh.shape[2] != 3 or round(sh.shape[1] ** 0.5) ** 2 != sh.shape[1]:
        raise InputError(f"{path}: harmonics: expected shape ({count}, (degree + 1)^2, 3), found {tuple(sh.shape)}")
    return sh[:, : (MAX_DEGREE + 1) ** 2].contiguous()


def _labels(path: Path, contents: dict[str, Any], count: int) -> torch.Tensor | None:
    if contents.get("labels") is None:
        return None
    labels = tensor_of(path, contents, "labels")
    if labels.is_floating_point() or labels.numel() != count:
        raise InputError(f"{path}: labels: expected {count} whole numbers, found {labels.dtype} {tuple(labels.shape)}")
    return torch.from_numpy(int32_labels(f"{path}: labels", labels.reshape(count).numpy()))
