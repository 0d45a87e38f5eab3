import pytest
import torch

from gaussians.files.trajectory_format import Frame
from gaussians.representation import Gaussians
from videogen.motion.motion import with_velocities

DT = 0.02


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_velocities_of_constant_accelerations_are_exact_from_three_frames_on(count: int) -> None:
    start, v, a = (torch.tensor(values).double() for values in ([[1.0, 2, 3]], [[0.5, -1, 2]], [[0.0, 1, -5]]))
    still = Gaussians(start.float(), torch.ones(1), torch.zeros(1, 1, 3), covariances=torch.ones(1, 6))
    times = [k * DT for k in range(count)]
    frames = [Frame(start + v * t + a * t * t / 2) for t in times]
    found = list(with_velocities(((still, frame) for frame in frames), DT))
    assert len(found) == count
    expected = [v + a * t for t in times]
    if count == 2:
        expected = [v + a * DT / 2] * 2
    if count == 1:
        expected = [0 * v]
    for moment, frame, velocity in zip(found, frames, expected, strict=True):
        assert moment.frame is not None
        assert torch.equal(moment.frame.means, frame.means)
        torch.testing.assert_close(moment.frame.velocities, velocity, rtol=0, atol=1e-12)
