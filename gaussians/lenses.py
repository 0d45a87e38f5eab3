"""Describe lenses with distortion, and turn what they show into pictures of pinhole cameras."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import cv2
import numpy as np

_WIDEST = math.tan(math.radians(60))  # half the field of a picture without distortion: beyond, little fills much of it
_FARTHEST = 50.0  # tangent of the angle from the axis; a fisheye's border may lie beyond 90 degrees
_NEWTON_STEPS = 30
_NEWTON_TOLERANCE = 1e-9  # pixels
_BORDER_POINTS = 64  # along each side of the picture
_SMALLEST_SHIFT = 0.02  # pixels; a distortion that moves nothing farther is none


@dataclass(frozen=True)
class Lens:
    """A ``Lens`` says which pixel shows which direction, for a camera that looks along z (OpenCV's models).

    Pixel coordinates are (0, 0) at the corner of the image and (0.5, 0.5) at the middle of the first pixel, as
    COLMAP's are.

    Attributes:
        width, height: image size, pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels.
        model: ``perspective``, whose distortion is k1, k2, p1, p2, k3, k4, k5, k6 (Brown and the rational model), or
            ``fisheye``, whose distortion is k1, k2, k3, k4 (Kannala and Brandt 2006).
        distortion: the coefficients; those that are left out at the end are 0.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: Literal["perspective", "fisheye"] = "perspective"
    distortion: tuple[float, ...] = ()

    @property
    def intrinsics(self) -> np.ndarray:
        """Return the intrinsics (3, 3), pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def resized(self, width: int, height: int) -> "Lens":
        """Return the same lens with images of another size, pixels."""
        x, y = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y)

    @cached_property
    def is_pinhole(self) -> bool:
        """Whether the lens distorts nothing by as much as a fiftieth of a pixel."""
        if self.model == "perspective" and not any(self.distortion):
            return True
        border = self._border()
        return bool(np.abs(self.projected(_rays(self.intrinsics, border)) - border).max() < _SMALLEST_SHIFT)

    def projected(self, rays: np.ndarray) -> np.ndarray:
        """Return the pixels (N, 2) that show the directions (x, y, 1) for ``rays`` (N, 2)."""
        points, zero = np.ascontiguousarray(rays[:, None], np.float64), np.zeros(3)
        if self.model == "fisheye":
            return cv2.fisheye.distortPoints(points, self.intrinsics, self.coefficients).reshape(-1, 2)
        homogeneous = cv2.convertPointsToHomogeneous(points)
        return cv2.projectPoints(homogeneous, zero, zero, self.intrinsics, self.coefficients)[0].reshape(-1, 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Return the directions (x, y, 1), as (N, 2), that ``pixels`` (N, 2) show: the inverse of ``projected``.

        Directions at more than ``_FARTHEST`` from the axis end there.

        Raises:
            ValueError: no direction is shown there, as the distortion folds the picture over.
        """
        found, step = _rays(self.intrinsics, pixels), 1e-6
        for _ in range(_NEWTON_STEPS):
            error = pixels - self.projected(found)
            if np.abs(error).max() < _NEWTON_TOLERANCE:
                return found
            columns = [(self.projected(found + side) - self.projected(found - side)) for side in np.eye(2) * step]
            jacobians = np.stack(columns, -1) / (2 * step)
            found = found + np.linalg.solve(jacobians, error[..., None])[..., 0]
            length = np.linalg.norm(found, axis=1, keepdims=True)
            found = found * np.minimum(1, _FARTHEST / length.clip(1e-12))
        missed = np.abs(pixels - self.projected(found)).max(1) > 0.1
        if not np.isfinite(found).all() or (missed & (np.linalg.norm(found, axis=1) < 0.99 * _FARTHEST)).any():
            raise ValueError("the distortion folds the picture over")
        return found

    def rectified(self) -> "Lens":
        """Return the pinhole that shows the most of what this lens shows, with its image size and no blank border.

        It keeps the ratio of the focal lengths, so that nothing is stretched.

        Raises:
            ValueError: the distortion folds the picture over, so that there is none.
        """
        if self.is_pinhole:
            return replace(self, model="perspective", distortion=())
        x, y = self.rays(self._border()).reshape(4, _BORDER_POINTS, 2).clip(-_WIDEST, _WIDEST).transpose(2, 0, 1)
        # The sides are left, top, right and bottom: the largest rectangle of rays lies inside all four.
        left, top, right, bottom = x[0].max(), y[1].max(), x[2].min(), y[3].min()
        if not (left < right and top < bottom):
            raise ValueError("the distortion leaves nothing of the picture")
        scale = max(self.width / (self.fx * (right - left)), self.height / (self.fy * (bottom - top)))
        fx, fy = self.fx * scale, self.fy * scale
        # The axis stays where it is in the image as far as the border allows.
        cx = min(max(self.cx, self.width - fx * right), -fx * left)
        cy = min(max(self.cy, self.height - fy * bottom), -fy * top)
        return Lens(self.width, self.height, fx, fy, cx, cy)

    def undistorted(self, image: np.ndarray) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 that ``rectified()`` shows where this lens shows ``image``."""
        if self.is_pinhole:
            return image
        return cv2.remap(image, *_maps(self), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    @property
    def coefficients(self) -> np.ndarray:
        """Return the distortion as OpenCV takes it: 4 or 8 numbers."""
        count = 4 if self.model == "fisheye" else 8
        return np.array((*self.distortion, *[0.0] * count)[:count])

    def _border(self) -> np.ndarray:
        """Return points along the left, top, right and bottom side of the image, (4 * n, 2), pixels."""
        along, zero = np.linspace(0, 1, _BORDER_POINTS), np.zeros(_BORDER_POINTS)
        sides = [(zero, along), (along, zero), (zero + 1, along), (along, zero + 1)]
        return np.concatenate([np.stack(side, 1) for side in sides]) * (self.width, self.height)


def _rays(K: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the directions (x, y, 1), as (N, 2), that ``pixels`` (N, 2) of a pinhole show."""
    return (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]


@lru_cache(maxsize=1)  # pictures of one lens come one after the other
def _maps(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Return the column and the row (H, W) of a lens' picture that each pixel of its pinhole's shows."""
    # OpenCV's (0, 0) is the middle of the first pixel.
    shift = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    K, target, size = lens.intrinsics - shift, lens.rectified().intrinsics - shift, (lens.width, lens.height)
    maps = cv2.fisheye.initUndistortRectifyMap if lens.model == "fisheye" else cv2.initUndistortRectifyMap
    across, down = maps(K, lens.coefficients, np.eye(3), target, size, cv2.CV_32FC1)
    return across, down
