"""What writers of large files do on a full disk."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from dynamic_models.models.checkpoints import CheckpointInfo, save_checkpoint
from dynamic_models.training.training_state import Progress, save_state
from gaussians.files.hdf5 import write_hdf5
from gaussians.files.splats.ply import write_ply
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process can grow past ``size`` bytes: what a full disk does, without one."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def checkpoint(path: Path) -> None:
    info = CheckpointInfo(settings={}, num_keypoints=8, frame_dt=0.02)
    save_checkpoint(path / "best.json", torch.nn.Linear(50, 50), info)


def state(path: Path) -> None:
    save_state(path, Progress(), {}, model=torch.nn.Linear(50, 50).state_dict())


def hdf5(path: Path) -> None:
    write_hdf5(path / "0000.h5", {"pos": np.zeros((1000, 3), np.float32)})


def ply(path: Path) -> None:
    write_ply(path / "point_cloud.ply", random_gaussians(200, degree=1))


@pytest.mark.parametrize("write", [checkpoint, state, hdf5, ply])
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(InputError, match="cannot be written"), full_disk(3000):
        write(tmp_path / "out")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
