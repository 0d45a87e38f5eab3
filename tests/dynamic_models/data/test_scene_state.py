import math

import pytest
import torch
from accelerate import Accelerator

from dynamic_models.data.scene_state import SceneState, mean_pushes
from dynamic_models.models.ngff import NGFF, NGFFSettings
from dynamic_models.training.backward import Backward
from gaussians.files.external_forces import ExternalForce
from gaussians.stage.errors import InputError

DT = 0.02


def force(start: float, end: float, obj_id: int = 0, mass: float | None = None) -> ExternalForce:
    return ExternalForce(obj_id=obj_id, start=start, end=end, force=(3.0, 0.0, -1.0), torque=(0.0, 0.2, 0.0), mass=mass)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0.0, 0.2), (0.011, 0.013), (0.013, 0.057), (0.02, 0.04), (0.1999, 0.2), (0.03, 9.0)],
)
def test_momentum_gained_is_force_times_time_wherever_the_window_lies(start: float, end: float) -> None:
    pushes = mean_pushes([force(start, end)], [0], [4.0], 11, DT)
    assert pushes.shape == (10, 1, 6)
    lasted = min(end, 10 * DT) - start
    expected = torch.tensor([3.0, 0.0, -1.0, 0.0, 0.2, 0.0]) * lasted / 4.0
    torch.testing.assert_close(pushes.sum(0)[0] * DT, expected)  # float32 rounding
    # Frames that the window does not touch are not pushed.
    for k in range(10):
        assert bool(pushes[k].any()) == (start < (k + 1) * DT - 1e-12 and end > k * DT + 1e-12)


def test_later_frames_are_those_of_the_whole() -> None:
    forces = [force(0.013, 0.057), force(0.05, 0.11, obj_id=3)]
    whole = mean_pushes(forces, [1, 3, 0], [1.0, 2.0, 4.0], 11, DT)
    torch.testing.assert_close(mean_pushes(forces, [1, 3, 0], [1.0, 2.0, 4.0], 6, DT, first_frame=2), whole[2:7])
    assert not whole[:, 0].any()


def test_forces_add_up_and_each_may_have_a_mass_of_its_own() -> None:
    pushes = mean_pushes([force(0.0, DT), force(0.0, DT, mass=0.5)], [0], [1.0], 2, DT)
    torch.testing.assert_close(pushes[0, 0, :3], torch.tensor([9.0, 0.0, -3.0]))


def test_objects_that_are_not_there_are_not_pushed() -> None:
    assert not mean_pushes([force(0.0, 1.0, obj_id=2)], [0, 1], [1.0, 1.0], 5, DT).any()


def test_unknown_mass_is_an_error_unless_the_force_has_one() -> None:
    assert mean_pushes([force(0.0, 1.0, mass=2.0)], [0], [math.nan], 5, DT).isfinite().all()
    with pytest.raises(InputError, match="external force on object 0: expected a mass"):
        mean_pushes([force(0.0, 1.0)], [0], [math.nan], 5, DT)


def test_training_rolls_out_under_the_pushes() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 0.2 * torch.rand(1, 1, 12, 3, generator=generator)
    state = SceneState(
        points=points,
        velocities=torch.zeros_like(points),
        rest=points,
        mask=torch.ones(1, 1, 12, dtype=torch.bool),
        materials=torch.ones(1, 1, 4),
        gravity=torch.zeros(1, 3),
        walls=torch.tensor([[-9.0, 9.0, -9.0, 9.0, -9.0]]),
        shares=torch.full((1, 1, 12), 1 / 12),
    )
    accelerator = Accelerator(cpu=True)
    model = NGFF(NGFFSettings(hidden_dim=8, num_layers=1, step_size=DT))  # untrained: no forces of its own
    backward = Backward(model, accelerator, "mse", 1, DT)
    pushes = mean_pushes([force(0.0, DT)], [0], [1.0], 3, DT)[None]
    target = model(state, 3, DT, pushes).detach()
    # Displacements are a centimetre, their errors float32 rounding.
    assert float(backward(state, target, pushes)) < 1e-12
    assert float(backward(state, target, torch.zeros_like(pushes))) > 1e-7
