"""Define what reads points, cameras and Gaussians from the tokens of patches, with the checkpoint's names.

All of it runs in float32.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize, pixel_shuffle, relu, softplus

from externals.pi3_splat.transformer import PATCH
from gaussians.rotations import polar_rotation
from gaussians.spherical_harmonics import MAX_DEGREE

_SCALE, _LARGEST_SCALE = 1e-3, 0.3
_HIGHER_DEGREES = 0.1  # what their coefficients are multiplied by, and once more by a power of the next
_EACH_DEGREE = 0.25


class PixelHead(nn.Module):
    """A ``PixelHead`` reads the values of each pixel from the token of its patch."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, channels * PATCH**2)

    def forward(self, tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Return (N, H, W, channels) for tokens (N, rows * columns, width)."""
        grid = self.proj(tokens).mT.unflatten(2, (rows, columns))
        return pixel_shuffle(grid, PATCH).permute(0, 2, 3, 1)


class _ResidualLayers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv1 = nn.Linear(width, width)
        self.res_conv2 = nn.Linear(width, width)
        self.res_conv3 = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + relu(self.res_conv3(relu(self.res_conv2(relu(self.res_conv1(x))))))


class CameraHead(nn.Module):
    """A ``CameraHead`` reads each view's pose from the tokens of its patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv = nn.Sequential(_ResidualLayers(width), _ResidualLayers(width))
        self.more_mlps = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_rot = nn.Linear(width, 9)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return camera-to-world matrices (N, 4, 4) for tokens (N, P, width)."""
        features = self.more_mlps(self.res_conv(tokens).mean(1))
        poses = torch.eye(4, device=tokens.device).repeat(len(tokens), 1, 1)
        poses[:, :3, :3] = polar_rotation(normalize(self.fc_rot(features).unflatten(1, (3, 3)), dim=-1))
        poses[:, :3, 3] = self.fc_t(features)
        return poses


class _ResidualConvolutions(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(width, width), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = _convolution(width, width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.norm2(self.conv2(relu(self.norm1(self.conv1(x))))) + x)


def _convolution(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)


def _convolved(width_in: int, width_out: int) -> list[nn.Module]:
    return [_convolution(width_in, width_out), nn.BatchNorm2d(width_out), nn.ReLU()]


class _Upsampling(nn.Module):
    """An ``_Upsampling`` takes features of patches (N, C, H / 14, W / 14) to ones of pixels (N, features, H, W)."""

    def __init__(self, width: int, widths: tuple[int, int, int], features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_out in widths:
            layers += _convolved(width, width_out)
            layers += [_ResidualConvolutions(width_out), _ResidualConvolutions(width_out)]
            width = width_out
        layers.append(nn.ConvTranspose2d(width, features, PATCH, PATCH))
        self.model = nn.Sequential(*layers, *_convolved(features, features), *_convolved(features, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class _PictureFeatures(nn.Module):
    """A ``_PictureFeatures`` adds what patches lose: features (N, features, H, W) of the picture itself."""

    def __init__(self, features: int) -> None:
        super().__init__()
        first = nn.Sequential(*_convolved(3, features))
        self.layers = nn.Sequential(first, *(_ResidualConvolutions(features) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class PixelGaussians:
    """A ``PixelGaussians`` holds a Gaussian for each pixel, in its camera's frame and without its place.

    Attributes:
        opacities: (N, H, W).
        scales: (N, H, W, 3), units of the reconstruction.
        quaternions: (N, H, W, 4), wxyz.
        sh: (N, H, W, K, 3).
    """

    opacities: torch.Tensor
    scales: torch.Tensor
    quaternions: torch.Tensor
    sh: torch.Tensor


class FeatureHead(nn.Module):
    """A ``FeatureHead`` reads a Gaussian for each pixel, from the tokens of patches and the picture."""

    def __init__(self, width: int, widths: tuple[int, int, int], features: int, sh_degree: int) -> None:
        super().__init__()
        self.upsample_proj = _Upsampling(width, widths, features)
        self.conv_net = _PictureFeatures(features)
        self.down_proj = nn.Linear(2 * features, 8 + 3 * (sh_degree + 1) ** 2)

    def forward(self, tokens: torch.Tensor, images: torch.Tensor) -> PixelGaussians:
        """Return the Gaussians of normalised images (N, 3, H, W) and tokens (N, P, width), view after view.

        Views do not depend on each other here, and one at a time takes a fraction of the memory. Colours of a degree
        that ``gaussians.spherical_harmonics`` has not are cut off.
        """
        rows, columns = images.shape[-2] // PATCH, images.shape[-1] // PATCH
        grids = tokens.mT.unflatten(2, (rows, columns))
        views = [self._view(*view) for view in zip(grids.split(1), images.split(1), strict=True)]
        return PixelGaussians(*(torch.cat(parts) for parts in zip(*views, strict=True)))

    def _view(self, grid: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = torch.cat([self.upsample_proj(grid), self.conv_net(image)], 1)
        raw = self.down_proj(features.permute(0, 2, 3, 1))
        x, y, z, w = normalize(raw[..., 4:8], dim=-1).unbind(-1)
        sh = raw[..., 8:].unflatten(-1, (3, -1)).mT[..., : (MAX_DEGREE + 1) ** 2, :]
        degrees = torch.arange(sh.shape[-2], device=raw.device).add(0.5).sqrt().floor()
        factors = torch.where(degrees == 0, 1.0, _HIGHER_DEGREES * _EACH_DEGREE**degrees)
        scales = (_SCALE * softplus(raw[..., 1:4])).clamp_max(_LARGEST_SCALE)
        return raw[..., 0].sigmoid(), scales, torch.stack([w, x, y, z], -1), sh * factors[:, None]
