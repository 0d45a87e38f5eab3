"""Collect what a file of Gaussians holds, whichever program wrote it, and leave out the rows that hold no Gaussian."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gaussians.limits import LARGEST
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

CAPTURE_UP = "-y"
"""The usual upward axis of captures: they are trained in the axes of a camera, whose y points down."""

UPRIGHT = {
    "x": torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-x": torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]]),
    "y": torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "z": torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "-z": torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
}
"""By the axis of a file that points upwards, the rotation (3, 3) that makes z point upwards.

What faces the viewer in the file then faces -y.
"""


@dataclass(frozen=True)
class Splats:
    """A ``Splats`` holds the Gaussians of a file in the axes and units of that file, and what is to be known of it.

    Attributes:
        gaussians: N Gaussians on the CPU, float32, with scales and unit quaternions.
        rows: (N,) int64, the row of the file that each Gaussian stood in, ascending.
        up: the axis that points upwards, such as ``"z"`` or ``"-y"``, where the file says so; None where it does not.
        notes: sentences for the user, such as how many rows were left out.
    """

    gaussians: Gaussians
    rows: torch.Tensor
    up: str | None = None
    notes: tuple[str, ...] = ()


class RowChecks:
    """A ``RowChecks`` collects which rows of a file hold no Gaussian, and refuses them or leaves them out.

    Args:
        path: the file.
        count: N, its number of rows.
        keep_rows: whether every row counts, as where labels count rows: then a broken one is an error.
    """

    def __init__(self, path: Path, count: int, keep_rows: bool) -> None:
        self.path, self._keep_rows = path, keep_rows
        self._good = torch.ones(count, dtype=torch.bool)
        self._first = ""

    def expect(self, good: torch.Tensor, problem: Callable[[int], str]) -> None:
        """Take rows for broken where ``good`` (N,) or (N, ...) is False.

        Args:
            problem: tells in words what is wrong with a row, by its number.

        Raises:
            InputError: a row is broken and every row counts.
        """
        good = good.reshape(len(self._good), -1).all(1)
        if good.all():
            return
        row = int((~good).nonzero()[0, 0])
        message = f"{problem(row)} in row {row}"
        if self._keep_rows:
            raise InputError(f"{self.path}: {message}")
        self._first = self._first or message
        self._good &= good

    def splats(self, gaussians: Gaussians, up: str | None = None, quaternion: str = "properties rot_*") -> Splats:
        """Return the rows that hold a Gaussian.

        Args:
            gaussians: all N rows; what broken ones hold does not matter.
            up: the axis that points upwards, where the file says so.
            quaternion: what the file calls quaternions, for messages of errors.

        Raises:
            InputError: a quaternion is zero or a scale is past the largest number and every row counts, or no row is
                left.
        """
        scales, quaternions = gaussians.scales_and_quaternions()
        self.expect(
            scales.abs() <= LARGEST, lambda row: f"scale: expected at most {LARGEST:g}, found {scales[row].max():g}"
        )
        norms = quaternions.double().norm(dim=1, keepdim=True)  # squares of float32 may leave the range of float32
        self.expect(norms > 0, lambda row: f"{quaternion}: expected a non-zero quaternion, found zero")
        gaussians = replace(gaussians, scales=scales, quaternions=(quaternions / norms).float())
        if not self._good.any():
            raise InputError(f"{self.path}: no row holds a Gaussian: {self._first}")
        rows = self._good.nonzero().squeeze(1)
        notes: tuple[str, ...] = ()
        if len(rows) < len(self._good):
            notes = (f"{len(self._good) - len(rows)} of {len(self._good)} rows are left out: {self._first}",)
            gaussians = gaussians[rows]
        return Splats(gaussians, rows, up, notes)
