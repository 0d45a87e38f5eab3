"""Measure how long simulating a clip takes from file to file, and how much of that is writing to the disk."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import warp as wp

from dataset.scenes.scene_files import write_scene
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from gaussians.stage.warp_runtime import start_warp
from tools.benchmarks.simulation.simulator import published
from tools.benchmarks.simulation.workloads import DENSITY, GRAVITY, NU, RPIC_DAMPING, YOUNGS_MODULUS, Workload

_ROOT = Path(__file__).resolve().parents[3]
_FRAMES = {"cuda": 100, "cpu": 10}
_FRAME_DT = 0.02
_BYTES_A_PARTICLE = 4 * (3 + 6 + 9 + 3)  # float32: position, covariance, rotation, velocity


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return one row: ``dataset.gs_simulation_scene`` on three balls, after a run that compiles its kernels.

    "seconds" are those from reading the scene to the last frame's file; the command's also start Python. The files lie
    in a temporary directory (the environment variable TMPDIR moves it), and nothing waits for a disk behind the
    operating system's cache.

    Raises:
        InputError: the temporary directory has too little room.
    """
    workload, frames = published(device), _FRAMES[device.type]
    with tempfile.TemporaryDirectory(prefix="clip") as name:
        folder = Path(name)
        _check_room(folder, frames * workload.particles * _BYTES_A_PARTICLE)
        _write_scene(folder / "scene", workload)
        _simulate(folder, workload, 2, device)
        os.sync()
        clip = _simulate(folder, workload, frames, device)
        os.sync()
        files = [path for path in (folder / "clip").rglob("*") if path.is_file()]
        writing = _seconds_to_write(files, folder / "copies")
        size = sum(path.stat().st_size for path in files)
    return [
        {
            "particles": workload.particles,
            "grid": f"{workload.n_grid}^3",
            "frames": frames,
            "substeps": (frames - 1) * workload.n_grid,
            "seconds": clip.seconds,
            "simulation alone": _seconds_to_simulate(workload, frames, device),
            "GB": size / 1e9,
            "writing alone": writing,
            "beyond writing": clip.seconds - writing,
            "whole command": clip.command_seconds,
        }
    ]


@dataclass(frozen=True)
class CommandTimes:
    """A ``CommandTimes`` holds the seconds of one run: of the simulation with its files, and of the whole command."""

    seconds: float
    command_seconds: float


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 2.2 * size:
        raise InputError(f"{folder.parent}: expected {2.2 * size / 1e9:.1f} GB free for a clip, found {free / 1e9:.1f}")


def _write_scene(path: Path, workload: Workload) -> None:
    """Write the workload's particles as Gaussians, with each ball as an object."""
    positions, rows = workload.particles_of_balls()
    count = workload.particles
    generator = torch.Generator().manual_seed(0)
    gaussians = Gaussians(
        means=torch.from_numpy(positions).float(),
        opacities=torch.full((count,), 0.8),
        sh=0.4 * torch.randn(count, 4, 3, generator=generator),
        scales=torch.full((count, 3), 0.005),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        labels=torch.from_numpy(rows).int(),
    )
    write_scene(path, gaussians, [{"label": ball, "name": f"ball{ball}"} for ball in range(workload.balls)])


def _simulate(folder: Path, workload: Workload, frames: int, device: torch.device) -> CommandTimes:
    """Run the command on ``folder / "scene"``."""
    scene, config, output = folder / "scene", folder / "config.json", folder / "clip"
    settings = {
        "substep_dt": workload.substep_dt,
        "frame_dt": _FRAME_DT,
        "frame_num": frames,
        "material": workload.laws[0],
        "E": YOUNGS_MODULUS,
        "nu": NU,
        "density": DENSITY,
        "g": GRAVITY,
        "n_grid": workload.n_grid,
        "rpic_damping": RPIC_DAMPING,
        "boundary_conditions": [{"type": "bounding_box"}],
    }
    write_json(config, settings)
    command = [sys.executable, "-m", "dataset.gs_simulation_scene", f"--model_path={scene}", f"--config={config}"]
    command += [f"--output_path={output}", f"--device={device.type}", "--overwrite"]
    print(f"clip: {frames} frames of {workload.particles:,} particles", file=sys.stderr)
    start = time.perf_counter()
    subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return CommandTimes(json.loads((output / "meta.json").read_text())["wall_time"], seconds)


def _seconds_to_write(files: list[Path], folder: Path) -> float:
    """Return the seconds that writing the contents of ``files`` once more, into ``folder``, takes."""
    folder.mkdir()
    seconds = 0.0
    for i, file in enumerate(files):
        contents = file.read_bytes()
        start = time.perf_counter()
        (folder / str(i)).write_bytes(contents)
        seconds += time.perf_counter() - start
    return seconds


def _seconds_to_simulate(workload: Workload, frames: int, device: torch.device) -> float:
    """Return the seconds that the clip's substeps take without its files; capturing their graph is not counted."""
    start_warp()
    run = workload.start(device)
    run.solver.advance(run.state, workload.n_grid, run.substep_dt)
    wp.synchronize_device(str(device))
    start = time.perf_counter()
    for _ in range(frames - 1):
        run.solver.advance(run.state, workload.n_grid, run.substep_dt)
    wp.synchronize_device(str(device))
    return time.perf_counter() - start
