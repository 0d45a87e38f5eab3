"""Draw Gaussians with one function, whatever device they are on."""

from dataclasses import dataclass
from typing import Literal

import torch

from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from gaussians.stage.shape_checks import check_shape

Backend = Literal["gsplat", "warp"]
_DEVICE_TYPES: dict[Backend, str] = {"gsplat": "cuda", "warp": "cpu"}


@dataclass(frozen=True)
class Rendered:
    """A ``Rendered`` holds the images of C cameras, float32, on the Gaussians' device.

    Attributes:
        rgb: (C, H, W, 3), 0 where black; not clamped at 1.
        depth: (C, H, W), metres along the viewing axis, 0 where nothing is.
        alpha: (C, H, W), 0 where the background shows to 1 where nothing of it does.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    alpha: torch.Tensor


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: torch.Tensor | None = None,
    sh_degree: int | None = None,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    depth: Literal["expected", "accumulated"] = "expected",
    backend: Backend | None = None,
) -> Rendered:
    """Draw Gaussians as gsplat's "classic" mode does (Kerbl et al. 2023; see ``image_model``).

    A Gaussian with a NaN or infinite mean, shape or opacity is not drawn.

    Args:
        gaussians: N of them, N may be 0; nothing but their shape, opacity and colour matters.
        cameras: C of them, moved to the Gaussians' device if they are elsewhere. Memory does not grow with C but for
            the images.
        background: colour (3,), or (C, 3) for one a camera; black by default.
        sh_degree: use the coefficients up to this degree only; all by default.
        near_plane, far_plane: Gaussians whose centre is not between these are left out, metres along the viewing axis.
        radius_clip: Gaussians whose half extent on the image is at most this are left out, pixels.
        depth: "expected", sum(w z) / sum(w), or "accumulated", sum(w z), over the weights w of a pixel's Gaussians.
        backend: "gsplat" on CUDA devices, "warp" on the CPU; by default the one of the Gaussians' device. Both carry
            gradients to the Gaussians and to ``background``.

    Raises:
        ValueError: ``background`` has another shape, the Gaussians lack the degree asked for or are not on the
            backend's device, or the planes are not 0 < near < far.
    """
    device = gaussians.device
    chosen: Backend = backend or ("gsplat" if device.type == "cuda" else "warp")
    if _DEVICE_TYPES[chosen] != device.type:
        raise ValueError(f"backend: {chosen!r} draws on {_DEVICE_TYPES[chosen]}, the Gaussians are on {device}")
    degree = gaussians.sh_degree if sh_degree is None else sh_degree
    if not 0 <= degree <= gaussians.sh_degree:
        raise ValueError(f"sh_degree: expected 0 to {gaussians.sh_degree}, found {degree}")
    if not 0 < near_plane < far_plane:
        raise ValueError(f"near_plane, far_plane: expected 0 < near < far, found {near_plane} and {far_plane}")
    if background is None:
        background = torch.zeros(3)
    if background.dim() == 1:
        check_shape("background", background, 3)
        background = background.expand(len(cameras), 3)
    check_shape("background", background, len(cameras), 3)

    # Import only the backend that is used: each takes seconds to load, and gsplat is not installed everywhere.
    if chosen == "gsplat":
        from gaussians.rasterization.cuda import draw
    else:
        from gaussians.rasterization.cpu import draw
    rgb, accumulated, alpha = draw(
        gaussians.as_float32(),
        cameras.to(device),
        background.to(device).float(),
        degree,
        near_plane,
        far_plane,
        radius_clip,
    )
    if depth == "expected":
        # The floor keeps empty pixels at 0; no drawn pixel is below it, since MIN_ALPHA is far above.
        accumulated = accumulated / alpha.clamp_min(1e-10)
    return Rendered(rgb, accumulated, alpha)
