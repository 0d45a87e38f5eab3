from dataclasses import replace

import pytest
import torch

from gaussians.cameras import Cameras, look_at
from gaussians.rasterization import instance_masks
from gaussians.representation import Gaussians
from tests.gaussians.rasterization.rasterization_twin import label_weights_twin

WHOLE = torch.tensor([[1.0, 0, 0, 0]])


def blobs(means: list[list[float]], labels: list[int], opacity: float = 0.99, size: float = 0.3) -> Gaussians:
    count = len(means)
    return Gaussians(
        means=torch.tensor(means),
        opacities=torch.full((count,), opacity),
        sh=torch.zeros(count, 1, 3),
        scales=torch.full((count, 3), size),
        quaternions=WHOLE.repeat(count, 1),
        labels=torch.tensor(labels, dtype=torch.int32),
    )


def camera(size: int = 32) -> Cameras:
    """Two metres before the origin along -y."""
    return look_at(torch.tensor([[0.0, -2.0, 0.0]]), torch.zeros(3), size, size, 1.5 * size)


def crowd(count: int, num_objects: int, seed: int) -> Gaussians:
    """Half transparent Gaussians of random objects, some of none, all over each other."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator) * 0.4,
        opacities=torch.rand(count, generator=generator),
        sh=torch.randn(count, 4, 3, generator=generator),
        scales=0.02 + 0.1 * torch.rand(count, 3, generator=generator),
        quaternions=torch.randn(count, 4, generator=generator),
        labels=torch.randint(-1, num_objects, (count,), generator=generator, dtype=torch.int32),
    )


def test_the_nearer_object_hides_the_one_behind_it() -> None:
    mask = instance_masks(blobs([[0, -0.5, 0], [0, 0.5, 0], [0.9, 0, 0]], [1, 0, 2]), camera(), 3)
    assert mask.shape == (1, 32, 32)
    assert mask.dtype == torch.uint8
    assert mask[0, 16, 16] == 2
    assert mask[0, 16, 31] == 3
    assert mask[0, 0, 0] == 0
    assert not (mask == 1).any()


def test_what_is_no_object_hides_objects() -> None:
    scene = blobs([[0, -0.5, 0], [0, 0.5, 0]], [-1, 0])
    assert instance_masks(scene, camera(), 1)[0, 16, 16] == 0
    assert instance_masks(scene[1:], camera(), 1)[0, 16, 16] == 1


def test_faint_objects_do_not_count_as_shown() -> None:
    # 0.4 of the colour is the object's, 0.6 the backdrop's; and the other way round.
    assert instance_masks(blobs([[0, 0, 0]], [0], opacity=0.4), camera(), 1)[0, 16, 16] == 0
    assert instance_masks(blobs([[0, 0, 0]], [0], opacity=0.6), camera(), 1)[0, 16, 16] == 1


@pytest.mark.parametrize("num_objects", [1, 2, 3, 4, 7])
def test_masks_agree_with_the_twin(num_objects: int) -> None:
    assert_agrees_with_twin(crowd(400, num_objects, seed=num_objects), num_objects, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("num_objects", [1, 3, 7])
def test_masks_of_gsplat_agree_with_the_twin(num_objects: int) -> None:
    assert_agrees_with_twin(crowd(400, num_objects, seed=num_objects), num_objects, "cuda")


def assert_agrees_with_twin(scene: Gaussians, num_objects: int, device: str) -> None:
    cameras = look_at(torch.tensor([[0.0, -2.0, 0.3], [1.5, 1.0, -0.4]]), torch.zeros(3), 40, 40, 60.0)
    masks = instance_masks(scene.to(device), cameras, num_objects).cpu()
    weights = label_weights_twin(scene, cameras, num_objects)
    contributions = torch.cat([1 - weights.sum(-1, keepdim=True), weights], -1)
    expected = contributions.argmax(-1).to(torch.uint8)
    best = contributions.sort(-1, descending=True).values
    # Pixels where two contribute alike may go to either; the backends' single precision is good to 1e-5, and a
    # Gaussian at the edge of its visibility adds up to 1 / 255.
    clear = best[..., 0] - best[..., 1] > 0.01
    assert clear.double().mean() > 0.9
    assert len(expected.unique()) == num_objects + 1
    assert torch.equal(masks[clear], expected[clear])


def test_empty_scenes_show_nothing() -> None:
    scene = blobs([[0, 0, 0]], [0])
    assert not instance_masks(scene[:0], camera(), 1).any()
    assert not instance_masks(replace(scene, labels=torch.tensor([-1])), camera(), 0).any()


@pytest.mark.parametrize(
    ("labels", "num_objects", "message"),
    [
        (None, 1, "expected labels"),
        (torch.tensor([2]), 2, "labels: expected at most 1, found 2"),
        (torch.tensor([0]), 256, "num_objects: expected 0 to 255, found 256"),
    ],
)
def test_unusable_labels_are_named(labels: torch.Tensor | None, num_objects: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instance_masks(replace(blobs([[0, 0, 0]], [0]), labels=labels), camera(), num_objects)
