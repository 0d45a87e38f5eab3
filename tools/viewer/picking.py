"""Find what a person points at: the surface under a click, and the Gaussians in a rectangle of the picture."""

import torch

from gaussians.covariance import scales_from_covariance
from gaussians.representation import Gaussians
from gaussians.rotations import quaternion_to_matrix
from tools.viewer.scene.poses import Eye

_NEAR = 16.0  # squared distance from a ray in standard deviations within which a Gaussian may matter to it
_OPAQUE = 0.5


def picked_point(gaussians: Gaussians, origin: torch.Tensor, direction: torch.Tensor) -> torch.Tensor | None:
    """Return the point (3,) where a ray meets the surface that Gaussians show, metres; None where it meets none.

    That is where half of the light from behind is absorbed: the median depth of what the picture shows there. The
    alpha of a Gaussian is its opacity times its largest value along the ray, as in ray-traced Gaussian splatting
    (Moenne-Loccoz et al. 2024, equation 8).

    Args:
        gaussians: N of them, that are drawn.
        origin: (3,), metres.
        direction: (3,).
    """
    if not len(gaussians):
        return None
    direction = torch.nn.functional.normalize(direction, dim=0)
    offsets = gaussians.means - origin
    along = offsets @ direction
    # Few Gaussians are near a ray: a bound on their size leaves out most before anything dear is computed.
    covariances = gaussians.covariance()
    reach = covariances[:, [0, 3, 5]].sum(1) * _NEAR
    distances = (offsets - along[:, None] * direction).square().sum(1)
    near = ((distances <= reach) & (along > 0)).nonzero().squeeze(1)
    if not len(near):
        return None
    scales, quaternions = scales_from_covariance(covariances[near])
    axes = quaternion_to_matrix(quaternions) / scales.clamp_min(1e-9)[:, None, :]
    local_offset = (offsets[near][:, None] @ axes).squeeze(1)
    local_direction = (direction @ axes).squeeze(1)
    depths = (local_offset * local_direction).sum(1) / local_direction.square().sum(1)
    gaps = (local_offset - depths[:, None] * local_direction).square().sum(1)
    alphas = gaussians.opacities[near] * torch.exp(-gaps / 2)
    alphas[depths <= 0] = 0
    order = depths.argsort()
    absorbed = 1 - torch.cumprod(1 - alphas[order].clamp(max=0.999), 0)
    if absorbed[-1] < _OPAQUE:
        return None
    first = int((absorbed >= _OPAQUE).nonzero()[0])
    return origin + depths[order][first] * direction


def in_rectangle(points: torch.Tensor, eye: Eye, low: tuple[float, float], high: tuple[float, float]) -> torch.Tensor:
    """Return which points (N, 3) a browser shows in a rectangle of its picture (N,), bool.

    Args:
        low, high: upper left and lower right corner, 0 to 1 from the picture's upper left corner.
    """
    places = eye.image_places(points)[0]
    return ((places >= torch.tensor(low)) & (places <= torch.tensor(high))).all(1)
