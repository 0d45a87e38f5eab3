from pathlib import Path

import pytest
import torch

from dataset.rendering.frame_reader import moving_gaussians, read_ahead
from gaussians.files.trajectory_format import Frame, TrajectoryMeta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError

COUNT, FRAMES = 50, 9


@pytest.fixture
def trajectory(tmp_path: Path) -> TrajectoryReader:
    generator = torch.Generator().manual_seed(0)
    meta = TrajectoryMeta(frame_dt=0.02, substep_dt=1e-3, frame_count=FRAMES, dx=0.05, gravity=(0, 0, -5))
    sh = torch.randn(COUNT, 16, 3, generator=generator)
    labels = torch.arange(COUNT, dtype=torch.int32) % 2
    with TrajectoryWriter(tmp_path / "clip", meta, torch.rand(COUNT, generator=generator), sh, labels) as writer:
        for _ in range(FRAMES):
            means = torch.randn(COUNT, 3, generator=generator)
            rotations = rotation_exp(torch.randn(COUNT, 3, generator=generator))
            writer.write(Frame(means, torch.rand(COUNT, 6, generator=generator), rotations, means))
        writer.finish()
    return TrajectoryReader(tmp_path / "clip")


@pytest.mark.parametrize("degree", [0, 2, 3])
def test_frames_are_those_of_the_reader_in_order(trajectory: TrajectoryReader, degree: int) -> None:
    found = list(moving_gaussians(trajectory, degree, torch.device("cpu")))
    assert len(found) == FRAMES
    for k, gaussians in enumerate(found):
        assert_equal(gaussians, trajectory.gaussians(k, degree))


@pytest.mark.gpu
def test_frames_on_the_gpu_are_those_of_the_cpu(trajectory: TrajectoryReader) -> None:
    for k, gaussians in enumerate(moving_gaussians(trajectory, 3, torch.device("cuda"))):
        # Single precision sums of up to seven products.
        assert_equal(gaussians.to("cpu"), trajectory.gaussians(k, 3), tolerance=1e-5)


def assert_equal(found, expected, tolerance: float = 0.0) -> None:  # type: ignore[no-untyped-def]
    for name in ("means", "opacities", "sh", "covariances", "labels"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=0)


def test_other_labels_take_the_place_of_the_trajectory_s(trajectory: TrajectoryReader) -> None:
    labels = torch.full((COUNT,), 3, dtype=torch.int32)
    first = next(moving_gaussians(trajectory, 0, torch.device("cpu"), labels))
    assert first.labels is not None
    assert torch.equal(first.labels, labels)


def test_a_damaged_frame_is_reported_where_it_is_due(trajectory: TrajectoryReader) -> None:
    (trajectory.path / "0006.h5").write_bytes(b"damaged")
    frames = read_ahead(trajectory)
    for _ in range(6):
        next(frames)
    with pytest.raises(InputError, match=r"0006\.h5"):
        next(frames)


def test_a_reader_that_is_left_early_ends_its_threads(trajectory: TrajectoryReader) -> None:
    frames = read_ahead(trajectory)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert list(frames) == []
