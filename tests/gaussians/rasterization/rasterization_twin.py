"""The image model of ``gaussians.rasterization`` once more, in plain PyTorch and double precision.

No tiles and no early stop: every row of pixels looks at every Gaussian that reaches it. Slow, but short enough to be
checked against the papers by eye.
"""

import torch

from gaussians.cameras import Cameras
from gaussians.covariance import unpack_covariance
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb


def rasterize_twin(
    gaussians: Gaussians,
    cameras: Cameras,
    background: torch.Tensor | None = None,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """RGB (C, H, W, 3), accumulated depth (C, H, W) and alpha (C, H, W), double precision."""
    background = torch.zeros(3) if background is None else background
    backgrounds = background.double().expand(len(cameras), 3)
    images = [
        _draw(gaussians, cameras, c, backgrounds[c], near_plane, far_plane, radius_clip) for c in range(len(cameras))
    ]
    rgb, depth, alpha = (torch.stack(parts) for parts in zip(*images, strict=True))
    return rgb, depth, alpha


def label_weights_twin(gaussians: Gaussians, cameras: Cameras, num_objects: int) -> torch.Tensor:
    """Sums of the weights of each object's Gaussians in each pixel (C, H, W, num_objects), double precision.

    The rest to 1 is what all else contributes.
    """
    assert gaussians.labels is not None
    features = torch.nn.functional.one_hot(gaussians.labels.long() + 1, num_objects + 1)[:, 1:].double()
    black = torch.zeros(num_objects, dtype=torch.float64)
    images = [_draw(gaussians, cameras, c, black, 0.01, 1e10, 0.0, features)[0] for c in range(len(cameras))]
    return torch.stack(images)


def _draw(
    gaussians: Gaussians,
    cameras: Cameras,
    index: int,
    background: torch.Tensor,
    near_plane: float,
    far_plane: float,
    radius_clip: float,
    features: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What one camera sees; ``features`` (N, F) take the place of the colours."""
    viewmat, K = cameras.viewmats[index].double(), cameras.Ks[index].double()
    width, height = cameras.width, cameras.height
    world = gaussians.means.double()
    means = world @ viewmat[:3, :3].T + viewmat[:3, 3]
    opacities = gaussians.opacities.double()
    # Sorted by single-precision depths, as the backends are: neighbours closer than that have no order of their own.
    depths = means[:, 2].float()
    visible = ((depths >= near_plane) & (depths <= far_plane) & (opacities >= 1 / 255)).nonzero().squeeze(1)
    order = visible[depths[visible].argsort(stable=True)]
    world, means, opacities = world[order], means[order], opacities[order]

    x, y, z = means.unbind(1)
    (fx, _, cx), (_, fy, cy) = K[0], K[1]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], 1)
    # The Jacobian of the projection, taken no further outside the image than 0.3 of half its size.
    sx = (x / z).clamp(-cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx)
    sy = (y / z).clamp(-cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * sx / z, zero, fy / z, -fy * sy / z], 1).view(-1, 2, 3)
    JW = J @ viewmat[:3, :3]
    covariances = unpack_covariance(_double_covariance(gaussians)[order])
    covariances2d = JW @ covariances @ JW.mT + 0.3 * torch.eye(2, dtype=torch.float64)
    inverses = torch.linalg.inv(covariances2d)

    reach = (2 * torch.log(255 * opacities)).sqrt()  # in standard deviations
    radii = reach[:, None] * covariances2d.diagonal(dim1=1, dim2=2).sqrt()
    kept = (radii.ceil() > radius_clip).any(1)
    position = torch.linalg.inv(viewmat)[:3, 3]
    directions = torch.nn.functional.normalize(world - position, dim=1)
    colors = sh_to_rgb(gaussians.sh[order].double(), directions) if features is None else features[order]

    rows = []
    columns = torch.arange(width) + 0.5
    for row in range(height):
        # Half a pixel more than reached, since this only saves time.
        near = kept & ((row + 0.5 - means2d[:, 1]).abs() <= radii[:, 1] + 0.5)
        dx = columns - means2d[near, 0, None]
        dy = row + 0.5 - means2d[near, 1, None]
        (a, b), (_, c) = inverses[near].permute(1, 2, 0)[..., None]
        alpha = (opacities[near, None] * torch.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))).clamp_max(0.999)
        alpha[alpha < 1 / 255] = 0
        after = torch.cumprod(1 - alpha, 0)
        before = torch.cat([torch.ones(1, width), after[:-1]]) if len(after) else after
        weights = torch.where(after > 1e-4, alpha * before, 0)
        cover = weights.sum(0)
        rgb = weights.T @ colors[near] + (1 - cover)[:, None] * background
        rows.append((rgb, weights.T @ z[near], cover))
    rgb, depth, cover = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return rgb, depth, cover


def _double_covariance(gaussians: Gaussians) -> torch.Tensor:
    if gaussians.covariances is not None:
        return gaussians.covariances.double()
    assert gaussians.scales is not None
    assert gaussians.quaternions is not None
    axes = _rotations(gaussians.quaternions.double()) * gaussians.scales.double()[:, None]
    covariances = axes @ axes.mT
    return covariances[:, (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)]


def _rotations(quaternions: torch.Tensor) -> torch.Tensor:
    """v -> q v q* column by column, a form unlike the one in ``gaussians.rotations``."""
    q = quaternions / quaternions.norm(dim=1, keepdim=True)
    w, v = q[:, :1, None], q[:, 1:]
    skew = torch.linalg.cross(v[:, None].expand(-1, 3, 3), torch.eye(3).double().expand(len(v), 3, 3), dim=2).mT
    return torch.eye(3).double() + 2 * w * skew + 2 * skew @ skew
