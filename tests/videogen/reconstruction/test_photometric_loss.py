"""Structural similarity, against scikit-image."""

import pytest
import torch
from skimage.metrics import structural_similarity

from videogen.reconstruction.photometric_loss import photometric_loss, ssim


@pytest.mark.parametrize("size", [(11, 30), (40, 23)])
def test_ssim_is_that_of_wang_et_al(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, *size, generator=generator)
    b = (a + 0.2 * torch.rand(3, *size, generator=generator)).clamp(0, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, full = structural_similarity(a.numpy(), b.numpy(), channel_axis=0, full=True, **options)
    # scikit-image fills windows that reach over the edge; ours stay inside.
    assert ssim(a, b).item() == pytest.approx(full[:, 5 : size[0] - 5, 5 : size[1] - 5].mean(), abs=1e-5)


def test_loss_is_0_for_equal_pictures_and_mixes_both_terms() -> None:
    picture = torch.rand(20, 20, 3, generator=torch.Generator().manual_seed(0))
    assert photometric_loss(picture, picture).item() == pytest.approx(0, abs=1e-6)
    darker = picture - 0.1
    similarity = ssim(darker.movedim(-1, 0), picture.movedim(-1, 0))
    assert photometric_loss(darker, picture, 0.5).item() == pytest.approx(
        0.05 + 0.5 * (1 - similarity.item()), abs=1e-6
    )
