import pytest
import torch

from gaussians.cameras import Cameras, look_at
from videogen.reconstruction.posing.posed_pictures import PosedPictures


def three_pictures(height: int = 24, width: int = 36) -> PosedPictures:
    places = torch.tensor([[2.0, 0, 1], [0, 2, 1], [-2, 0, 1]])
    cameras = look_at(places, torch.zeros(3), width, height, 40.0)
    images = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return PosedPictures(images, cameras, ("a", "b", "c"), (0, 4, 8), points=torch.rand(5, 3))


def test_resizing_keeps_every_pixel_on_its_ray() -> None:
    pictures = three_pictures()
    small = pictures.resized(12, 8)
    assert small.images.shape == (3, 8, 12, 3)
    means = pictures.images.float().unflatten(1, (8, 3)).unflatten(3, (12, 3)).mean((2, 4))
    assert (small.images - means).abs().max() <= 0.51  # rounded
    # The middle of the block of pixels (3 j .. 3 j + 3) and the middle of pixel j look in the same direction.
    before = torch.linalg.inv(pictures.cameras.Ks[0]) @ torch.tensor([13.5, 4.5, 1.0])
    after = torch.linalg.inv(small.cameras.Ks[0]) @ torch.tensor([4.5, 1.5, 1.0])
    assert torch.allclose(before, after, atol=1e-6)
    assert small.within(100) is small
    assert (pictures.within(18).cameras.width, pictures.within(18).cameras.height) == (18, 12)


def test_some_of_them_are_whole_and_keep_all_points() -> None:
    pictures = three_pictures()
    some = pictures[[2, 0]]
    assert (some.names, some.indices, len(some)) == (("c", "a"), (8, 0), 2)
    for row, of in enumerate((2, 0)):
        assert torch.equal(some.images[row], pictures.images[of])
        assert torch.equal(some.cameras.viewmats[row], pictures.cameras.viewmats[of])
        assert torch.equal(some.cameras.Ks[row], pictures.cameras.Ks[of])
    assert some.points is pictures.points
    assert len(pictures[[1]].images) == 1


def test_pictures_must_fit_their_cameras() -> None:
    pictures = three_pictures()
    cameras = Cameras(pictures.cameras.viewmats, pictures.cameras.Ks, 24, 36)
    with pytest.raises(ValueError, match="images: expected shape"):
        PosedPictures(pictures.images, cameras, pictures.names, pictures.indices)
    with pytest.raises(ValueError, match="expected 3, found 2 and 3"):
        PosedPictures(pictures.images, pictures.cameras, ("a", "b"), pictures.indices)
