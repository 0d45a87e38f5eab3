import contextlib

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.gaussians.samples import (
    COUNT,
    change_h5,
    write_ours,
    write_published,
)


def test_an_unfinished_trajectory_is_refused_unless_asked_for(tmp_path):
    frames = write_ours(tmp_path / "scene", num_frames=2, finish=False)
    with pytest.raises(InputError, match="scene: incomplete: its simulation was interrupted or still runs"):
        TrajectoryReader(tmp_path / "scene")
    reader = TrajectoryReader(tmp_path / "scene", allow_incomplete=True)
    assert len(reader) == 2
    assert torch.equal(reader.positions(1), frames[1].means)


@pytest.mark.parametrize(("missing", "found"), [(0, "0000.h5"), (1, "0001.h5"), (2, "0002.h5")])
@pytest.mark.parametrize("write", [write_ours, write_published])
def test_a_missing_frame_is_named(tmp_path, write, missing, found):
    # Published directories do not say how many frames there were, so that only gaps show.
    write(tmp_path / "scene", num_frames=4 if write is write_published else 3)
    (tmp_path / "scene" / f"{missing:04d}.h5").unlink()
    with pytest.raises(InputError, match=rf"{found}: no such frame: expected frames 0 to [23]"):
        TrajectoryReader(tmp_path / "scene")


def test_frames_past_the_last_are_left_alone(tmp_path):
    write_ours(tmp_path / "scene")
    (tmp_path / "scene" / "0003.h5").write_bytes(b"of another run")
    reader = TrajectoryReader(tmp_path / "scene")
    assert len(reader) == 3
    with pytest.raises(IndexError, match="frame 3 of 3"):
        reader.frame(3)
    with pytest.raises(IndexError, match="frame -1 of 3"):
        reader.frame(-1)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
@pytest.mark.parametrize("name", ["0001.h5", "opacity.h5", "shs.h5"])
def test_a_truncated_file_is_named(tmp_path, name, keep):
    write_ours(tmp_path / "scene")
    path = tmp_path / "scene" / name
    contents = path.read_bytes()
    path.write_bytes(contents[: int(keep * len(contents)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=rf"{name}: truncated or damaged HDF5 file"):
        TrajectoryReader(tmp_path / "scene").gaussians(1)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("pos", None, "no dataset 'pos'"),
        ("pos", np.zeros((COUNT - 1, 3)), r"pos: expected shape \(12, 3\), found \(11, 3\)"),
        ("pos", np.zeros(()), r"pos: expected shape \(12, 3\), found \(\)"),
        ("pos", np.full((COUNT, 3), np.nan), "pos: expected finite values"),
        ("pos", np.full((COUNT, 3), 1e300), "pos: expected finite values"),
        ("pos", np.array([[b"abc"] * 3] * COUNT), "pos: expected real numbers, found"),
        ("pos", np.zeros((COUNT, 3), complex), "pos: expected real numbers, found complex128"),
        ("cov3D", np.zeros((COUNT, 3, 3)), r"cov3D: expected shape \(12, 6\), found \(12, 3, 3\)"),
        ("cov3D", np.full((COUNT, 6), np.inf), "cov3D: expected finite values"),
        ("rot", np.zeros((COUNT, 9)), r"rot: expected shape \(12, 3, 3\), found \(12, 9\)"),
        ("rot", np.zeros((COUNT - 2, 3)), r"rot: expected shape \(12, 3, 3\), found \(10, 3\)"),
        ("rot", np.zeros((COUNT + 1, 3, 3)), r"rot: expected shape \(12, 3, 3\), found \(13, 3, 3\)"),
        ("vel", np.zeros((3, COUNT)), r"vel: expected shape \(12, 3\), found \(3, 12\)"),
    ],
)
def test_a_bad_array_is_named(tmp_path, name, array, message):
    write_ours(tmp_path / "scene")
    change_h5(tmp_path / "scene" / "0001.h5", name, array)
    reader = TrajectoryReader(tmp_path / "scene")
    with pytest.raises(InputError, match=rf"0001\.h5: {message}"):
        reader.frame(1)
    assert reader.frame(2).means.shape == (COUNT, 3)


def test_a_group_in_the_place_of_a_dataset_is_named(tmp_path):
    write_ours(tmp_path / "scene")
    with h5py.File(tmp_path / "scene" / "0001.h5", "a") as file:
        del file["pos"]
        file.create_group("pos")
    with pytest.raises(InputError, match=r"0001\.h5: no dataset 'pos'"):
        TrajectoryReader(tmp_path / "scene").frame(1)


def test_a_huge_declared_size_allocates_nothing(tmp_path):
    write_ours(tmp_path / "scene")
    with h5py.File(tmp_path / "scene" / "0001.h5", "a") as file:
        del file["pos"]
        file.create_dataset("pos", (10**13, 3), np.float32, chunks=(1024, 3))
    with pytest.raises(InputError, match=r"0001\.h5: pos: expected shape \(12, 3\), found \(10000000000000, 3\)"):
        TrajectoryReader(tmp_path / "scene").frame(1)


@pytest.mark.parametrize(
    ("file", "name", "shape", "message"),
    [
        ("opacity.h5", "opacity", (), r"opacity: expected shape \(N, 1\), found \(\)"),
        ("opacity.h5", "opacity", (COUNT, 2), r"opacity: expected shape \(N, 1\), found \(12, 2\)"),
        ("opacity.h5", "opacity", (COUNT, 1, 1), r"opacity: expected shape \(N, 1\), found \(12, 1, 1\)"),
        ("shs.h5", "shs", (COUNT - 1, 9, 3), r"shs: expected shape \(12, \(degree \+ 1\)\^2, 3\), found \(11, 9, 3\)"),
        ("shs.h5", "shs", (COUNT, 8, 3), r"shs: expected shape .*, found \(12, 8, 3\)"),
        ("shs.h5", "shs", (COUNT, 3), r"shs: expected shape .*, found \(12, 3\)"),
    ],
)
def test_bad_opacities_and_colours_are_named(tmp_path, file, name, shape, message):
    write_ours(tmp_path / "scene")
    change_h5(tmp_path / "scene" / file, name, np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=rf"{file}: {message}"):
        TrajectoryReader(tmp_path / "scene").gaussians(0)


def test_directories_without_a_trajectory_are_named(tmp_path):
    with pytest.raises(InputError, match="none: no such directory: expected a trajectory"):
        TrajectoryReader(tmp_path / "none")
    with pytest.raises(InputError, match=r"no frame: expected 0000\.h5"):
        TrajectoryReader(tmp_path)
    write_published(tmp_path / "scene")
    (tmp_path / "scene" / "opacity.h5").unlink()
    with pytest.raises(InputError, match=r"opacity\.h5: no such file"):
        TrajectoryReader(tmp_path / "scene")


# The same damage in every run: what HDF5 makes of all there is lies beyond us.
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3))
def test_any_damage_to_a_frame_is_a_frame_or_an_input_error(tmp_path, changes):
    if not (tmp_path / "scene").exists():
        write_published(tmp_path / "scene")
        (tmp_path / "whole.h5").write_bytes((tmp_path / "scene" / "0001.h5").read_bytes())
    contents = bytearray((tmp_path / "whole.h5").read_bytes())
    for start, replacement in changes:
        start %= len(contents) - 8
        contents[start : start + len(replacement)] = replacement
    (tmp_path / "scene" / "0001.h5").write_bytes(contents)
    with contextlib.suppress(InputError):
        assert TrajectoryReader(tmp_path / "scene").frame(1).means.isfinite().all()


def test_labels_of_another_count_are_refused(tmp_path):
    write_ours(tmp_path / "scene")
    np.save(tmp_path / "scene" / "labels.npy", np.zeros(COUNT + 1, np.int32))
    with pytest.raises(InputError, match=r"labels\.npy: expected 12 labels, found 13"):
        TrajectoryReader(tmp_path / "scene")
