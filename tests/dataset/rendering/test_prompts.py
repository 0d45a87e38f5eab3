import numpy as np
import pytest
import torch

from dataset.rendering.prompts import object_prompts
from gaussians.cameras import Cameras, Orbit
from gaussians.rasterization import instance_masks
from gaussians.representation import Gaussians

SIZE = 100
CAMERA = Orbit((0.0, 0.0, 0.0), 0.0, 0.0, 2.0).cameras([0], SIZE)
FOCAL = 1.5 * SIZE


def at(right: float, down: float, forward: float) -> torch.Tensor:
    """The world position of a point given in the camera's frame, metres."""
    rotation, translation = CAMERA.viewmats[0, :3, :3], CAMERA.viewmats[0, :3, 3]
    return rotation.T @ (torch.tensor([right, down, forward]) - translation)


def scene(*positions: torch.Tensor, size: float = 0.1, opacity: float = 0.99) -> Gaussians:
    """An opaque ball for each position, each an object."""
    count = len(positions)
    return Gaussians(
        means=torch.stack(positions),
        opacities=torch.full((count,), opacity),
        sh=torch.zeros(count, 1, 3),
        covariances=size**2 * torch.tensor([1.0, 0, 0, 1, 0, 1]).repeat(count, 1),
        labels=torch.arange(count, dtype=torch.int32),
    )


def prompts(gaussians: Gaussians, camera: Cameras = CAMERA) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (K, 2), boxes (K, 4) and the mask (H, W), after checking what holds for all."""
    count = len(gaussians)
    mask = instance_masks(gaussians, camera, count)[0].numpy()
    found = object_prompts(gaussians, camera, [str(i) for i in range(count)], mask)
    assert found.texts == tuple(str(i) for i in range(count))
    points, boxes = np.array(found.points), np.array(found.boxes)
    assert (boxes >= 0).all()
    assert (boxes <= SIZE - 1).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 2 - 1e-9).all()
    assert (boxes[:, :2] <= points + 1e-3).all()
    assert (points <= boxes[:, 2:] + 1e-3).all()
    return points, boxes, mask


def test_a_ball_is_bounded_by_the_pixels_that_show_it() -> None:
    points, boxes, mask = prompts(scene(at(0, 0, 2)))
    assert points[0] == pytest.approx([50, 50], abs=1)
    # Half of the colour is the ball's up to sqrt(2 ln(2 * 0.99)) = 1.17 standard deviations.
    radius = 1.17 * 0.1 * FOCAL / 2
    assert boxes[0] == pytest.approx([49.5 - radius, 49.5 - radius, 49.5 + radius, 49.5 + radius], abs=1)
    v, u = np.nonzero(mask == 1)
    assert boxes[0].tolist() == [u.min(), v.min(), u.max(), v.max()]


def test_a_partly_hidden_object_is_prompted_where_it_shows() -> None:
    """A ball half behind another: its box ends where the other begins, and the point is on what is left of it."""
    points, boxes, mask = prompts(scene(at(-0.15, 0, 1.9), at(0, 0, 2.1)))
    u, v = points[1].astype(int)
    assert mask[v, u] == 2
    # Alone it would begin at 50 - 1.17 * 0.1 * 150 / 2.1.
    assert boxes[1, 0] > 43
    assert boxes[1, 2] == pytest.approx(49.5 + 1.17 * 0.1 * FOCAL / 2.1, abs=1.5)


def test_an_object_partly_outside_the_image_is_bounded_by_its_edge() -> None:
    _, boxes, _ = prompts(scene(at(-2 / 3, 0, 2)))  # its centre on the left edge
    assert boxes[0, 0] == 0
    assert boxes[0, 2] == pytest.approx(1.17 * 0.1 * FOCAL / 2, abs=1)


def test_a_hollow_object_is_prompted_on_its_shell() -> None:
    angles = torch.linspace(0, 2 * torch.pi, 100)[:-1]
    ring = scene(*(at(0.4 * float(torch.cos(a)), 0.4 * float(torch.sin(a)), 2) for a in angles), size=0.03)
    ring = Gaussians(
        ring.means, ring.opacities, ring.sh, covariances=ring.covariances, labels=torch.zeros(99, dtype=torch.int32)
    )
    mask = instance_masks(ring, CAMERA, 1)[0].numpy()
    assert mask[50, 50] == 0
    ((u, v),) = object_prompts(ring, CAMERA, ["ring"], mask).points or ()
    assert mask[int(v), int(u)] == 1


def test_a_hidden_object_is_prompted_where_it_would_be_seen() -> None:
    points, boxes, mask = prompts(scene(at(0, 0, 1.0), at(0.05, 0.05, 3)))
    assert not (mask == 2).any()
    assert points[1] == pytest.approx([50 + 0.05 * FOCAL / 3] * 2, abs=0.01)
    assert boxes[1] == pytest.approx([51.5, 51.5, 53.5, 53.5], abs=0.01)


def test_objects_outside_the_image_or_behind_the_camera_stay_inside_it() -> None:
    points, boxes, mask = prompts(scene(at(0, -5, 2), at(30, 30, 2), at(0, 0, -1)))
    assert not mask.any()
    assert points[0] == pytest.approx([50, 0])
    assert boxes[0] == pytest.approx([49, 0, 51, 2])
    assert boxes[1] == pytest.approx([97, 97, 99, 99])
    assert points[2] == pytest.approx([50, 50])


def test_labels_are_needed() -> None:
    gaussians = scene(at(0, 0, 2))
    bare = Gaussians(gaussians.means, gaussians.opacities, gaussians.sh, covariances=gaussians.covariances)
    with pytest.raises(ValueError, match="expected labels"):
        object_prompts(bare, CAMERA, ["a"], np.zeros((SIZE, SIZE), np.uint8))
