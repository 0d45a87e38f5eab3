"""Make the picture that an object is generated from, and remember which pixels it shows."""

from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from gaussians.stage.shape_checks import check_shape

SIZE = 256
"""Width and height of the pictures of an object, pixels."""
_LONGER_SIDE = 204  # of the object, pixels: four fifths of the picture


@dataclass(frozen=True)
class ConditioningPicture:
    """A ``ConditioningPicture`` shows an object alone on white, and in its middle.

    The object's own view is DiffSplat's view 0: the Gaussian at row r, column c of that view is what this picture
    shows at (c + 0.5, r + 0.5), and the input at ``in_input`` of it.

    Attributes:
        rgb: (3, 256, 256), 0 to 1.
        inside: (256, 256) bool, pixels that the object covers by half at least.
        box: x0, y0, x1, y1 of the object in the input, pixels, ends excluded.
        offset: x, y of the box's corner in this picture, pixels.
        scale: pixels of this picture to one of the input, along x and y; they differ by rounding alone.
    """

    rgb: torch.Tensor
    inside: torch.Tensor
    box: tuple[int, int, int, int]
    offset: tuple[int, int]
    scale: tuple[float, float]

    def in_input(self, points: torch.Tensor) -> torch.Tensor:
        """Return where points (..., 2) of this picture are in the input: x, y, pixels, with pixel centres at 0.5."""
        corner, offset, scale = (torch.tensor(pair).to(points) for pair in (self.box[:2], self.offset, self.scale))
        return corner + (points - offset) / scale


def make_conditioning_picture(image: torch.Tensor, mask: torch.Tensor) -> ConditioningPicture:
    """Cut an object out, give its longer side 204 of 256 pixels, and put it on white.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool, the object.

    Raises:
        ValueError: the mask is empty, or the shapes differ.
    """
    check_shape("image", image, "H", "W", 3)
    check_shape("mask", mask, *image.shape[:2])
    if not mask.any():
        raise ValueError("mask: expected an object, found no pixel of one")
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    cut = mask[y0:y1, x0:x1].float()
    darkness = (image[y0:y1, x0:x1].float() / 255 - 1) * cut[..., None]  # 0 where the picture is white
    longest = max(x1 - x0, y1 - y0)
    width, height = (max(1, round(_LONGER_SIDE * side / longest)) for side in (x1 - x0, y1 - y0))
    layers = torch.cat([darkness, cut[..., None]], -1).permute(2, 0, 1)[None]
    layers = interpolate(layers, size=(height, width), mode="bilinear", antialias=True)[0]
    left, top = (SIZE - width) // 2, (SIZE - height) // 2
    canvas = torch.zeros(4, SIZE, SIZE, device=image.device)
    canvas[:, top : top + height, left : left + width] = layers
    return ConditioningPicture(
        rgb=(canvas[:3] + 1).clamp(0, 1),
        inside=canvas[3] >= 0.5,
        box=(x0, y0, x1, y1),
        offset=(left, top),
        scale=(width / (x1 - x0), height / (y1 - y0)),
    )
