from dataclasses import replace

import numpy as np
import pytest
import torch

from dataset.scenes.scene_objects import SceneObject
from gaussians.files.external_forces import ExternalForce
from gaussians.files.trajectory_format import Frame
from tests.tools.viewer.scene.samples import moving_source
from tools.viewer.overlays.motion import MotionOverlays, contact_force, frame_velocities
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.splat_source import SplatSource

G = (0.0, 0.0, -9.8)


def accelerated(acceleration: torch.Tensor, velocities: bool) -> SplatSource:
    """A ball of 2 kg that is pushed along y from 0.02 s to 0.08 s, with ``velocities`` in its file or without."""
    source, rest = moving_source(frames=6)

    def frame(k: int, fields: object) -> Frame:
        time = k * 0.02
        means = rest.means + 0.5 * time**2 * acceleration
        speeds = (time * acceleration).expand_as(means)
        return Frame(means, rest.covariance(), None, speeds if velocities else None)

    return replace(
        source,
        frame=frame,
        masses={"even": 2.0},
        gravity=G,
        described={"even": SceneObject(label=0, name="even")},
        forces=(ExternalForce(obj_id=0, start=0.02, end=0.08, force=(0.0, 3.0, 0.0)),),
    )


@pytest.mark.parametrize("velocities", [True, False])
def test_the_force_of_contact_is_what_weight_and_pushes_leave(velocities: bool) -> None:
    acceleration = torch.tensor([0.5, 1.5, -3.0])
    source = accelerated(acceleration, velocities)
    rows = source.objects["even"]
    # Constant acceleration: differences of velocities are exact. m a - m g, and less the push while it acts.
    expected = 2 * (acceleration - torch.tensor(G))
    torch.testing.assert_close(contact_force(source, "even", rows, 4), expected, atol=2e-3, rtol=0)
    pushed = expected - torch.tensor([0.0, 3, 0])
    torch.testing.assert_close(contact_force(source, "even", rows, 3), pushed, atol=2e-3, rtol=0)
    assert not contact_force(source, "even", rows, 0).any()


def test_a_body_in_free_fall_touches_nothing() -> None:
    source = replace(accelerated(torch.tensor(G), True), forces=())
    assert contact_force(source, "even", source.objects["even"], 2).abs().max() < 1e-4


def test_velocities_without_a_file_s_are_differences() -> None:
    source = accelerated(torch.tensor([1.0, 0, 0]), velocities=False)
    velocities = frame_velocities(source, 2)
    torch.testing.assert_close(velocities[0], torch.tensor([0.04, 0, 0]), atol=1e-5, rtol=0)
    assert not frame_velocities(replace(source, frame_count=1), 0).any()


def test_only_what_is_asked_for_and_shown_is_drawn() -> None:
    stage = Stage([accelerated(torch.tensor([1.0, 0, 0]), True)])
    overlays = MotionOverlays(stage, size=2.0)
    assert overlays.drawings(0.04) == {}
    overlays.keypoints = overlays.velocities = overlays.forces = True
    found = overlays.drawings(0.04)
    assert found["keypoints"].points.shape == (12, 3)
    arrows = found["velocities"].points
    # 0.04 m/s, drawn over 0.1 s.
    np.testing.assert_allclose(arrows[:, 1] - arrows[:, 0], np.tile([0.004, 0, 0], (12, 1)), atol=1e-6)
    assert found["forces"].points.shape == (1, 2, 3)  # the other object's mass is not known
    stage.layers[0].parts[0].visible = False
    assert overlays.drawings(0.04)["keypoints"].points.shape == (6, 3)
    assert overlays.drawings(0.04)["forces"].points.shape == (0, 2, 3)
