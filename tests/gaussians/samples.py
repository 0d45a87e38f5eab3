"""Gaussians and trajectories that several tests use."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp

COUNT = 12
META = TrajectoryMeta(
    frame_dt=0.02,
    substep_dt=1e-4,
    frame_count=3,
    dx=0.04,
    gravity=(0, 0, -9.8),
    walls=Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94),
    objects=[
        TrajectoryObject(
            name="ball", label=0, index=0, count=COUNT, youngs_modulus=1e6, nu=0.3, density=100, mass=1, volume=0.01
        )
    ],
    seed=7,
    settings={"n_grid": 100},
    hashes={"config": "0123"},
    code_version="0.1.0",
)


def random_gaussians(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Scales from 0.1 to 1.1 m, quaternions of any length, values past 1 among the coefficients."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        opacities=torch.rand(count, generator=generator),
        sh=torch.randn(count, (degree + 1) ** 2, 3, generator=generator),
        scales=torch.rand(count, 3, generator=generator) + 0.1,
        quaternions=torch.randn(count, 4, generator=generator),
    )


def rest_gaussians() -> Gaussians:
    """The Gaussians of the trajectories below, in their initial state."""
    return replace(random_gaussians(COUNT, degree=2), labels=torch.arange(COUNT, dtype=torch.int32) % 3 - 1)


def motion(k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotation and translation of frame ``k``."""
    return rotation_exp(0.3 * k * torch.tensor([0.2, -0.5, 1.0])), k * torch.tensor([0.1, 0.0, -0.2])


def rigid_frame(rest: Gaussians, k: int) -> Frame:
    rotation, translation = motion(k)
    moved = rest.transformed(rotation, translation)
    velocities = torch.full((len(rest), 3), float(k))
    return Frame(moved.means, moved.covariance(), rotation.expand(len(rest), 3, 3), velocities)


def write_ours(path: Path, num_frames: int = 3, finish: bool = True, **options) -> list[Frame]:
    rest = rest_gaussians()
    frames = [rigid_frame(rest, k) for k in range(num_frames)]
    source_index = torch.arange(COUNT).flip(0)
    with TrajectoryWriter(path, META, rest.opacities, rest.sh, rest.labels, source_index, **options) as writer:
        for frame in frames:
            writer.write(frame)
        if finish:
            writer.finish(wall_time=1.5)
    return frames


def write_published(path: Path, num_frames: int = 3, moving: int = COUNT, **compression) -> None:
    """A directory as the published simulation leaves it: float16, no attributes, ``moving`` rows with rotations."""
    rest = rest_gaussians()
    path.mkdir()

    def write(name: str, **arrays: torch.Tensor) -> None:
        with h5py.File(path / name, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array.numpy().astype(np.float16), **compression)

    write("opacity.h5", opacity=rest.opacities[:, None])
    write("shs.h5", shs=rest.sh)
    for k in range(num_frames):
        frame = rigid_frame(rest, k)
        write(f"{k:04d}.h5", pos=frame.means, cov3D=frame.covariances, rot=frame.rotations[:moving].mT)


def change_h5(path: Path, name: str, array: np.ndarray | None) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if array is not None:
            file[name] = array
