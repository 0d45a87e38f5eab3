import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from externals.sam2 import ObjectPrompt
from gaussians.cameras import Cameras, Orbit
from gaussians.files.prompts import Prompts
from gaussians.files.video import to_uint8
from gaussians.rasterization import instance_masks, rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError
from videogen.reconstruction.segmentation import prompted_tracking
from videogen.reconstruction.segmentation.object_volume import sweep_depth
from videogen.reconstruction.segmentation.optical_flow import carry_through_frames
from videogen.reconstruction.segmentation.prompted_tracking import find_sam2
from videogen.reconstruction.segmentation.segmenters import SegmentationInput, choose_segmenter, mask_changes, segment

SIZE, VIEWS = 96, 10
DEPTHS = (1.6, 12.0)
ORBIT = Orbit((0.0, 0.0, 0.0), 0.0, 20.0, 4.0, delta_azimuth=360 / VIEWS)
CENTERS = ((0.0, 0.1, 0.35), (0.1, 0.0, -0.35))


@dataclass(frozen=True)
class Scene:
    """Two balls over a patterned floor, seen from all around, and what is true of them."""

    images: torch.Tensor
    cameras: Cameras
    masks: torch.Tensor
    prompts: Prompts


@pytest.fixture(scope="module")
def scene() -> Scene:
    generator = torch.Generator().manual_seed(0)
    means, colors, labels, sizes = [], [], [], []
    for label, (center, color) in enumerate(zip(CENTERS, ((0.9, 0.5, 0.2), (0.2, 0.5, 0.9)), strict=True)):
        directions = torch.nn.functional.normalize(torch.randn(700, 3, generator=generator), dim=1)
        means.append(torch.tensor(center) + 0.28 * directions)
        stripes = 0.6 + 0.4 * torch.sin(directions[:, :1] * 9 + directions[:, 2:] * 7)
        colors.append(torch.tensor(color) * stripes)
        labels += [label] * 700
        sizes.append(torch.full((700,), 0.025))
    floor = torch.cartesian_prod(torch.linspace(-3, 3, 40), torch.linspace(-3, 3, 40), torch.tensor([-0.94]))
    means.append(floor)
    colors.append(torch.rand(len(floor), 1, generator=generator).expand(-1, 3) * 0.7)
    labels += [-1] * len(floor)
    sizes.append(torch.full((len(floor),), 0.08))
    gaussians = Gaussians(
        means=torch.cat(means),
        opacities=torch.full((len(labels),), 0.95),
        sh=rgb_to_sh(torch.cat(colors)),
        covariances=torch.cat(sizes)[:, None] ** 2 * torch.tensor([1.0, 0, 0, 1, 0, 1]),
        labels=torch.tensor(labels, dtype=torch.int32),
    )
    cameras = ORBIT.cameras(range(VIEWS), SIZE)
    masks = instance_masks(gaussians, cameras, 2)
    return Scene(to_uint8(rasterize(gaussians, cameras).rgb), cameras, masks, boxes_around(masks[0]))


def boxes_around(mask: torch.Tensor) -> Prompts:
    """The boxes of two objects in a label picture."""
    boxes = []
    for label in (1, 2):
        v, u = torch.nonzero(mask == label, as_tuple=True)
        boxes.append((float(u.min()), float(v.min()), float(u.max()), float(v.max())))
    return Prompts(boxes=tuple(boxes))


def overlaps(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Intersection over union, (objects, views)."""
    pairs = [(found == label, true == label) for label in range(1, int(true.max()) + 1)]
    return torch.stack([(a & b).sum((1, 2)) / (a | b).sum((1, 2)) for a, b in pairs])


def test_objects_are_found_in_all_views_of_a_rendered_scene(scene: Scene) -> None:
    found = segment(SegmentationInput(scene.images, scene.prompts, cameras=scene.cameras, depth_limits=DEPTHS))
    assert found.dtype == torch.uint8
    assert overlaps(found, scene.masks).mean() > 0.9
    assert overlaps(found, scene.masks).min() > 0.8


def test_an_object_before_another_one_is_found_in_all_views() -> None:
    cameras, generator = ORBIT.cameras(range(VIEWS), SIZE), torch.Generator().manual_seed(0)
    before = 0.6 * torch.nn.functional.normalize(cameras.positions[0], dim=0)
    means, colors = [], []
    for center, radius, color in ((torch.zeros(3), 0.35, (0.9, 0.7, 0.1)), (before, 0.16, (0.2, 0.3, 0.9))):
        directions = torch.nn.functional.normalize(torch.randn(700, 3, generator=generator), dim=1)
        means.append(center + radius * directions)
        colors.append(torch.tensor(color) * (0.7 + 0.3 * torch.sin(directions[:, :1] * 9)))
    gaussians = Gaussians(
        means=torch.cat(means),
        opacities=torch.full((1400,), 0.95),
        sh=rgb_to_sh(torch.cat(colors)),
        covariances=torch.full((1400, 1), 0.025**2) * torch.tensor([1.0, 0, 0, 1, 0, 1]),
        labels=torch.arange(2, dtype=torch.int32).repeat_interleave(700),
    )
    masks = instance_masks(gaussians, cameras, 2)
    images = to_uint8(rasterize(gaussians, cameras).rgb)
    found = segment(SegmentationInput(images, boxes_around(masks[0]), cameras=cameras, depth_limits=DEPTHS))
    assert overlaps(found, masks).mean(1).min() > 0.8


def test_depth_is_where_the_pictures_agree(scene: Scene) -> None:
    for label, center in enumerate(CENTERS, 1):
        mask = (scene.masks[0] == label).numpy()
        viewmat = scene.cameras.viewmats[0]
        front = float(viewmat[2, :3] @ torch.tensor(center) + viewmat[2, 3]) - 0.28
        # The depth of one plane through half a ball lies between its front and its middle.
        assert front - 0.05 < sweep_depth(scene.images.numpy(), mask, scene.cameras, *DEPTHS) < front + 0.28


def test_masks_follow_the_motion_of_a_video() -> None:
    rows, columns = np.mgrid[:90, :120]
    texture = np.random.default_rng(1).integers(0, 90, (90, 120, 3)).astype(np.uint8)
    discs = [(columns - 30 - 3 * k) ** 2 + (rows - 40 - k) ** 2 <= 15**2 for k in range(8)]
    frames = np.stack([np.where(disc[..., None], [200, 150, 40] + texture // 4, texture) for disc in discs])
    labels = carry_through_frames(frames.astype(np.uint8), discs[0].astype(np.uint8))
    assert overlaps(torch.from_numpy(labels), torch.from_numpy(np.stack(discs).astype(np.uint8))).min() > 0.9


def test_given_masks_go_before_prompts_and_must_show_every_object(scene: Scene) -> None:
    inputs = SegmentationInput(
        scene.images, scene.prompts, cameras=scene.cameras, depth_limits=DEPTHS, masks=scene.masks
    )
    assert (segment(inputs) == scene.masks).all()
    lost = scene.masks.clone()
    lost[1:][lost[1:] == 2] = 0
    with pytest.raises(InputError, match=r"object 2 \(object 2\) shows in one picture alone"):
        segment(SegmentationInput(scene.images, masks=lost))
    with pytest.raises(InputError, match="all of them are empty"):
        segment(SegmentationInput(scene.images, masks=torch.zeros_like(lost)))
    with pytest.raises(InputError, match="expected 1 objects as the prompts name, found 2"):
        segment(SegmentationInput(scene.images, Prompts(boxes=((0, 0, 1, 1),)), masks=scene.masks))


def test_masks_that_change_at_once_are_said() -> None:
    labels = torch.zeros(4, 4, 4, dtype=torch.uint8)
    labels[:, 0] = 1
    labels[2, 0] = 0
    labels[3] = 1
    labels[:, 1, :2] = 2
    assert mask_changes(labels, ["duck", "mug"], ["a", "b", "c", "d"]) == [
        "object 1 (duck) shows in 3 of 4 pictures: not c",
        "the mask of object 1 (duck) differs by a factor of 3.5 in b and d",
    ]


def test_sam_2_is_taken_where_its_weights_are(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    folder = tmp_path / "videogen/checkpoints/sam2"
    folder.mkdir(parents=True)
    assert choose_segmenter("auto", False, tmp_path, cpu) == "grabcut"
    (folder / "sam2.1_hiera_large.pt").touch()
    assert find_sam2(tmp_path, cpu) == folder / "sam2.1_hiera_large.pt"
    (folder / "sam2.1_hiera_tiny.pt").touch()
    assert find_sam2(tmp_path, cpu) == folder / "sam2.1_hiera_tiny.pt"
    assert find_sam2(tmp_path, torch.device("cuda")) == folder / "sam2.1_hiera_large.pt"
    assert choose_segmenter("auto", False, tmp_path, cpu) == "sam2"
    assert choose_segmenter("auto", True, tmp_path, cpu) == "masks"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert choose_segmenter("auto", False, tmp_path, cpu) == "grabcut"


def test_sam_2_has_prompts_in_any_picture(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = scene.prompts.boxes or ()
    asked: list[ObjectPrompt] = []

    class KnowsAll:
        @classmethod
        def from_checkpoint(cls, path: Path, device: torch.device) -> "KnowsAll":
            assert path.name == "sam2.1_hiera_tiny.pt"
            assert device.type == "cpu"
            return cls()

        def segment(self, frames: torch.Tensor, prompts: list[ObjectPrompt]) -> torch.Tensor:
            assert frames is scene.images
            asked.extend(prompts)
            return scene.masks

    monkeypatch.setattr(prompted_tracking, "Sam2", KnowsAll)
    (tmp_path / "sam2").mkdir()
    (tmp_path / "sam2" / "sam2.1_hiera_tiny.pt").touch()
    prompts = scene.prompts.model_copy(update={"views": (0, 7)})
    inputs = SegmentationInput(scene.images, prompts, checkpoints=tmp_path)
    assert torch.equal(segment(inputs), scene.masks)
    assert asked == [ObjectPrompt(0, box=boxes[0]), ObjectPrompt(7, box=boxes[1])]
    points = Prompts(points=((3.0, 4.0), (5.0, 6.0)))
    segment(SegmentationInput(scene.images, points, "point", checkpoints=tmp_path), "sam2")
    assert asked[2:] == [ObjectPrompt(0, points=((3.0, 4.0),)), ObjectPrompt(0, points=((5.0, 6.0),))]


def test_what_is_missing_is_named(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete checkpoint of sam2: python -m"):
        segment(SegmentationInput(scene.images, scene.prompts, checkpoints=tmp_path), "sam2")
    later = scene.prompts.model_copy(update={"views": (0, 7)})
    with pytest.raises(InputError, match="GrabCut takes prompts in the first picture alone"):
        segment(SegmentationInput(scene.images, later, checkpoints=tmp_path))
    with pytest.raises(InputError, match="--segmenter: expected one of auto, grabcut, sam2, masks, found 'magic'"):
        segment(SegmentationInput(scene.images), "magic")
    with pytest.raises(InputError, match="expected a folder masks"):
        segment(SegmentationInput(scene.images), "masks")
    with pytest.raises(InputError, match=r"prompts\.json: missing"):
        segment(SegmentationInput(scene.images))
    with pytest.raises(InputError, match=r"bbox\.0: expected \(u0, v0, u1, v1\) within 96 x 96"):
        segment(SegmentationInput(scene.images, Prompts(boxes=((0, 0, 97, 5),))))
    with pytest.raises(InputError, match=r"--prompt_type: prompts\.json has boxes alone"):
        segment(SegmentationInput(scene.images, scene.prompts, "point"))
