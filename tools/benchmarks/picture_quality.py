"""How much of a picture is lost: PSNR and SSIM."""

import torch

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(pictures: torch.Tensor, originals: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures of one shape, dB: of the squared error's mean over all of them."""
    error = (pictures.double() - originals.double()).square().mean()
    return float(10 * torch.log10(255**2 / error))


def ssim(pictures: torch.Tensor, originals: torch.Tensor) -> float:
    """Mean structural similarity of 8-bit pictures (..., H, W), at least 11 x 11: 1 for equal ones.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004,
    with its Gaussian window of 1.5 pixels, cut off at 11 x 11.
    """
    x, y = (picture.double().reshape(-1, 1, *picture.shape[-2:]) for picture in (pictures, originals))
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    line = (line / line.sum()).to(x.device)

    def blurred(values: torch.Tensor) -> torch.Tensor:
        rows = torch.nn.functional.conv2d(values, line.view(1, 1, 1, -1))
        return torch.nn.functional.conv2d(rows, line.view(1, 1, -1, 1))

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (var_x + var_y + _C2)).mean())
