import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from gaussians.files.storage_options import FIELDS
from gaussians.files.trajectory_format import Frame, read_meta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError
from tests.gaussians.samples import (
    COUNT,
    META,
    rest_gaussians,
    rigid_frame,
    write_ours,
)


def test_files_have_the_published_names_and_layout(tmp_path):
    frames = write_ours(tmp_path / "scene")
    names = ["0000.h5", "0001.h5", "0002.h5", "labels.npy", "meta.json", "opacity.h5", "shs.h5", "source_index.npy"]
    assert sorted(os.listdir(tmp_path / "scene")) == names
    with h5py.File(tmp_path / "scene" / "0002.h5") as file:
        assert sorted(file) == sorted(FIELDS)
        # The file holds the transpose of the rotation.
        assert np.array_equal(file["rot"], frames[2].rotations.mT)
    with h5py.File(tmp_path / "scene" / "opacity.h5") as file:
        assert file["opacity"].shape == (COUNT, 1)


def test_half_precision_keeps_covariances_whole(tmp_path):
    frames = write_ours(tmp_path / "scene", dtype="float16")
    with h5py.File(tmp_path / "scene" / "0001.h5") as file:
        assert {name: file[name].dtype.name for name in file} == {
            "pos": "float16",
            "cov3D": "float32",
            "rot": "float16",
            "vel": "float16",
        }
    frame = TrajectoryReader(tmp_path / "scene").frame(1)
    assert torch.equal(frame.covariances, frames[1].covariances)
    assert torch.equal(frame.means, frames[1].means.half().float())


def test_a_bad_frame_is_not_written_and_leaves_it_incomplete(tmp_path):
    rest = rest_gaussians()
    frame = rigid_frame(rest, 1)
    short = Frame(frame.means, frame.covariances[:-1], frame.rotations, frame.velocities)
    with TrajectoryWriter(tmp_path / "scene", META, rest.opacities, rest.sh) as writer:
        writer.write(rigid_frame(rest, 0))
        with pytest.raises(ValueError, match=r"cov3D: expected shape \(12, 6\), found \(11, 6\)"):
            writer.write(short)
    assert not read_meta(tmp_path / "scene").complete
    assert sorted(os.listdir(tmp_path / "scene")) == ["0000.h5", "meta.json", "opacity.h5", "shs.h5"]


def test_starting_again_takes_the_mark_away_first_and_leaves_nothing_old(tmp_path):
    write_ours(tmp_path / "scene", num_frames=5)
    (tmp_path / "scene" / "notes.txt").touch()
    rest = rest_gaussians()
    TrajectoryWriter(tmp_path / "scene", META, rest.opacities, rest.sh)
    assert not read_meta(tmp_path / "scene").complete
    assert sorted(os.listdir(tmp_path / "scene")) == ["meta.json", "notes.txt", "opacity.h5", "shs.h5"]


def test_a_writer_killed_inside_a_frame_leaves_no_half_frame(tmp_path):
    program = (
        "import os, sys, torch\n"
        "from gaussians.files.trajectory_format import Frame, TrajectoryMeta\n"
        "from gaussians.files.trajectory_writer import TrajectoryWriter\n"
        "meta = TrajectoryMeta(frame_dt=0.02, substep_dt=1e-4, frame_count=3, dx=0.1, gravity=(0, 0, 0))\n"
        "writer = TrajectoryWriter(sys.argv[1], meta, torch.ones(4), torch.zeros(4, 1, 3), fields=('pos',))\n"
        "writer.write(Frame(torch.zeros(4, 3)))\n"
        "sys.addaudithook(lambda event, _: os.kill(os.getpid(), 9) if event == 'os.rename' else None)\n"
        "writer.write(Frame(torch.zeros(4, 3)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "scene")]
    assert subprocess.run(command, check=False).returncode == -9
    assert [name for name in os.listdir(tmp_path / "scene") if name.startswith(".0001.partial")]
    with pytest.raises(InputError, match="incomplete"):
        TrajectoryReader(tmp_path / "scene")
    assert len(TrajectoryReader(tmp_path / "scene", allow_incomplete=True)) == 1
    write_ours(tmp_path / "scene")
    assert not [name for name in os.listdir(tmp_path / "scene") if name.startswith(".")]


@pytest.mark.parametrize("fields", [(), ("cov3D",), ("pos", "colour")])
def test_unknown_fields_are_refused(tmp_path, fields):
    with pytest.raises(InputError, match="trajectory fields: expected 'pos' and any of"):
        TrajectoryWriter(tmp_path / "scene", META, torch.ones(1), torch.zeros(1, 1, 3), fields=fields)
    assert not (tmp_path / "scene").exists()


def test_a_field_that_is_to_be_stored_must_be_given(tmp_path):
    rest = rest_gaussians()
    writer = TrajectoryWriter(tmp_path, META, rest.opacities, rest.sh)
    with pytest.raises(ValueError, match="frame 0: cov3D is to be stored and is None"):
        writer.write(Frame(rest.means))


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="scene: cannot be written"):
        TrajectoryWriter(tmp_path / "file" / "scene", META, torch.ones(1), torch.zeros(1, 1, 3))
