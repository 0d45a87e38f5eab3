import tracemalloc

import hdf5plugin
import numpy as np
import pytest
import torch

from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError
from tests.gaussians.samples import (
    COUNT,
    META,
    change_h5,
    motion,
    rest_gaussians,
    rigid_frame,
    write_ours,
    write_published,
)

# Reading back


def test_what_is_written_is_read_back_exactly(tmp_path):
    frames = write_ours(tmp_path / "scene")
    reader, rest = TrajectoryReader(tmp_path / "scene"), rest_gaussians()
    assert (len(reader), reader.count, reader.frame_dt) == (3, COUNT, 0.02)
    assert torch.equal(reader.opacities, rest.opacities)
    assert torch.equal(reader.sh, rest.sh)
    assert torch.equal(reader.labels, rest.labels)
    for written, read in zip(frames, reader.frames(), strict=True):
        for name in ("means", "covariances", "rotations", "velocities"):
            assert torch.equal(getattr(read, name), getattr(written, name))
    assert torch.equal(reader.positions(1), frames[1].means)
    assert np.array_equal(np.load(tmp_path / "scene" / "source_index.npy"), np.arange(COUNT)[::-1])


def test_positions_alone_are_enough_to_move_but_not_to_draw(tmp_path):
    frames = write_ours(tmp_path / "scene", fields=("pos",))
    reader = TrajectoryReader(tmp_path / "scene")
    frame = reader.frame(2)
    assert torch.equal(frame.means, frames[2].means)
    assert frame.covariances is frame.rotations is frame.velocities is None
    with pytest.raises(InputError, match=r"0002\.h5: no dataset 'cov3D': this trajectory holds positions only"):
        reader.gaussians(2)


def test_fields_that_are_not_asked_for_are_not_read(tmp_path):
    write_ours(tmp_path / "scene")
    change_h5(tmp_path / "scene" / "0001.h5", "vel", np.full((COUNT, 3), np.nan, np.float32))
    frame = TrajectoryReader(tmp_path / "scene").frame(1, ("pos", "rot"))
    assert frame.covariances is None
    assert frame.velocities is None
    assert frame.rotations.shape == (COUNT, 3, 3)


def test_gaussians_of_a_frame_are_the_rigidly_moved_ones(tmp_path):
    write_ours(tmp_path / "scene")
    reader, rest = TrajectoryReader(tmp_path / "scene"), rest_gaussians()
    for k in range(3):
        drawn, expected = reader.gaussians(k), rest.transformed(*motion(k))
        # float32 roundings of values up to 4.
        tolerance = {"rtol": 0, "atol": 1e-5}
        torch.testing.assert_close(drawn.means, expected.means, **tolerance)
        torch.testing.assert_close(drawn.covariance(), expected.covariance(), **tolerance)
        torch.testing.assert_close(drawn.sh, expected.sh, **tolerance)
        assert torch.equal(drawn.opacities, rest.opacities)
        assert torch.equal(drawn.labels, rest.labels)
    cut = reader.gaussians(2, sh_degree=1)
    torch.testing.assert_close(cut.sh, rest.transformed(*motion(2)).sh[:, :4], **tolerance)


def test_frames_are_streamed(tmp_path):
    count, num_frames = 20_000, 12
    frame = Frame(torch.zeros(count, 3))
    with TrajectoryWriter(tmp_path, META, torch.ones(count), torch.zeros(count, 1, 3), fields=("pos",)) as writer:
        for _ in range(num_frames):
            writer.write(frame)
        writer.finish()
    reader = TrajectoryReader(tmp_path)
    tracemalloc.start()
    try:
        for _ in reader.frames():
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The frame being read, the one before it, and as much again for buffers; all of them would be 12.
    assert peak < 4 * count * 3 * 4


# Published directories


@pytest.mark.parametrize(
    "compression",
    [{}, {"compression": "gzip"}, hdf5plugin.Blosc(), hdf5plugin.Zstd(), hdf5plugin.Bitshuffle()],
    ids=["none", "gzip", "blosc", "zstd", "bitshuffle"],
)
def test_published_directories_are_read_as_they_are(tmp_path, compression):
    write_published(tmp_path / "scene", **compression)
    reader, rest = TrajectoryReader(tmp_path / "scene"), rest_gaussians()
    assert reader.meta is None
    assert reader.labels is None
    assert (len(reader), reader.frame_dt) == (3, 0.02)
    assert torch.equal(reader.opacities, rest.opacities.half().float())
    expected = rigid_frame(rest, 2)
    frame = reader.frame(2)
    for name in ("means", "covariances", "rotations"):
        assert torch.equal(getattr(frame, name), getattr(expected, name).half().float())
    assert frame.velocities is None


@pytest.mark.parametrize("moving", [0, 5])
def test_rows_without_a_rotation_do_not_turn(tmp_path, moving):
    write_published(tmp_path / "scene", moving=moving)
    rotations = TrajectoryReader(tmp_path / "scene").frame(2).rotations
    expected = motion(2)[0].half().float().expand(moving, 3, 3)
    assert torch.equal(rotations, torch.cat([expected, torch.eye(3).expand(COUNT - moving, 3, 3)]))


def test_labels_of_a_published_directory_come_from_its_segmentation(tmp_path):
    write_published(tmp_path / "scene")
    np.save(tmp_path / "scene" / "segmentation.npy", np.arange(COUNT))
    labels = TrajectoryReader(tmp_path / "scene").labels
    assert labels.tolist() == list(range(COUNT))
    assert labels.dtype == torch.int32


def test_opacities_may_be_a_plain_list(tmp_path):
    write_published(tmp_path / "scene")
    change_h5(tmp_path / "scene" / "opacity.h5", "opacity", np.full(COUNT, 0.5))
    assert torch.equal(TrajectoryReader(tmp_path / "scene").opacities, torch.full((COUNT,), 0.5))
