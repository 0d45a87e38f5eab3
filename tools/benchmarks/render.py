"""Measure how long rendering a clip takes, from a trajectory's files to encoded videos, and which stage bounds it."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dataset.rendering.clip_writer import ClipWriter, Outputs, encoder_threads
from dataset.rendering.frame_reader import moving_gaussians
from dataset.rendering.scene_renderer import SceneRenderer, cameras_at, write_clip
from dataset.rendering.views import View, fixed_view
from gaussians.cameras import Orbit
from gaussians.covariance import transform_covariance
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import PUBLISHED_WALLS, Frame, TrajectoryMeta
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.files.video import read_video, to_uint8, to_yuv420p
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.json_files import write_json
from tools.benchmarks.stopwatch import seconds

_ROOT = Path(__file__).resolve().parents[2]
_FPS = 50
_ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)
_CENTERS = torch.tensor([[0.0, 0.0, -0.3], [0.5, 0.3, 0.1], [-0.4, 0.4, 0.5]])
_RADIUS = 0.3
_FLOOR = PUBLISHED_WALLS.floor
_DEGREE = 2


@dataclass(frozen=True)
class RenderWorkload:
    """A ``RenderWorkload`` is a clip of three textured balls that bounce and spin above a checkered ground.

    Attributes:
        gaussians: number of Gaussians of the balls.
        ground: number of Gaussians along a side of the ground.
        frames: number of frames.
        views: number of views, evenly round the orbit.
        resolutions: sides of the videos, pixels.
    """

    gaussians: int
    ground: int
    frames: int
    views: int
    resolutions: tuple[int, ...]


WORKLOADS = {
    "cuda": RenderWorkload(232_788, 400, 100, 25, (448, 1280)),
    "cpu": RenderWorkload(20_000, 100, 10, 4, (448,)),
}


def measure(device: torch.device) -> list[dict[str, object]]:
    """Return a row for each resolution, after a clip of two frames that loads and compiles everything.

    "whole" goes from opening the trajectory to the last video's end, "command" is ``python -m dataset.render`` from
    its start to its end. The stages are measured alone: reading frames, bringing them to the device and turning their
    colours; drawing all views; converting colours and bringing them to the host; encoding. The one that takes longest
    bounds the whole. Memory is the command's with its encoders, at its peak; PSNR and SSIM are those of the first
    view: of the planes that are encoded, of RGB before and after, which also loses three quarters of the chroma, and
    of luma.
    """
    clip, rows = WORKLOADS[device.type], []
    with tempfile.TemporaryDirectory(prefix="render") as name:
        folder = Path(name)
        print(f"render: writing {clip.frames} frames of {clip.gaussians:,} Gaussians", file=sys.stderr)
        ground = write_trajectory(clip, folder)
        for resolution in clip.resolutions:
            print(f"render: {clip.views} views at {resolution} x {resolution}", file=sys.stderr)
            renderer = SceneRenderer(_ORBIT, resolution, ground, False, _DEGREE, device)
            rows.append(_measure(clip, renderer, folder))
    return rows


def write_trajectory(clip: RenderWorkload, folder: Path) -> Gaussians:
    """Write the files that the command reads, ``clip``, ``ground.ply`` and ``config.json``, and return the ground."""
    still, labels = _balls(clip.gaussians)
    covariances = still.covariance()
    meta = TrajectoryMeta(frame_dt=1 / _FPS, substep_dt=1e-4, frame_count=clip.frames, dx=0.02, gravity=(0, 0, -5))
    with TrajectoryWriter(folder / "clip", meta, still.opacities, still.sh, labels.int()) as writer:
        for k in range(clip.frames):
            elapsed = k / _FPS
            spins = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, -2.0], [1.0, -1.0, 3.0]]) * elapsed
            rotations = rotation_exp(spins)[labels]
            centers = _CENTERS.clone()
            centers[:, 2] = (
                _FLOOR + _RADIUS + (centers[:, 2] - _FLOOR - _RADIUS) * abs(torch.cos(torch.tensor(4 * elapsed)))
            )
            offsets = still.means - _CENTERS[labels]
            means = centers[labels] + (rotations @ offsets[..., None]).squeeze(-1)
            moved = transform_covariance(covariances, rotations)
            writer.write(Frame(means, moved, rotations, torch.zeros_like(means)))
        writer.finish()
    ground = _ground(clip.ground)
    write_ply(folder / "ground.ply", ground)
    x, y, z = _ORBIT.center
    write_json(
        folder / "config.json",
        {"frame_dt": 1 / _FPS, "mpm_space_viewpoint_center": [x + 2, y + 2, z + 1], "init_azimuthm": _ORBIT.azimuth},
    )
    return ground


def _balls(count: int) -> tuple[Gaussians, torch.Tensor]:
    """Make flat Gaussians on three spheres, with colours that depend on the view; return them and the ball of each."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(count) * 3) // count
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    size = _RADIUS * (12.0 / count) ** 0.5  # about half of the distance between neighbours
    base = torch.tensor([[0.8, 0.25, 0.2], [0.9, 0.75, 0.2], [0.2, 0.4, 0.8]])[labels]
    pattern = torch.sin(normals * torch.tensor([23.0, 17.0, 31.0])).prod(1, keepdim=True)
    rgb = base + 0.3 * pattern + 0.03 * torch.randn(count, 3, generator=generator)
    rest = 0.05 * torch.randn(count, (_DEGREE + 1) ** 2 - 1, 3, generator=generator)
    # This quaternion, not normalised, turns the z axis to the normal.
    quaternions = torch.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], torch.zeros(count)], 1) + torch.tensor(
        [1e-6, 0, 0, 0]
    )
    gaussians = Gaussians(
        means=_CENTERS[labels] + _RADIUS * normals,
        opacities=0.5 + 0.5 * torch.rand(count, generator=generator),
        sh=torch.cat([rgb_to_sh(rgb), rest], 1),
        scales=torch.tensor([size, size, size / 5]).repeat(count, 1),
        quaternions=quaternions,
    )
    return gaussians, labels


def _ground(side: int) -> Gaussians:
    """Make side^2 flat Gaussians over [-4, 4]^2 in two greys."""
    line = (torch.arange(side) + 0.5) * (8 / side) - 4
    x, y = torch.meshgrid(line, line, indexing="ij")
    means = torch.stack([x, y, torch.full_like(x, _FLOOR)], -1).reshape(-1, 3)
    light = (torch.floor(means[:, :2] / 0.2).sum(1) % 2 == 0).float()
    size = 8 / side
    return Gaussians(
        means=means,
        opacities=torch.full((side * side,), 0.4),
        sh=rgb_to_sh((0.35 + 0.3 * light)[:, None].expand(-1, 3)),
        scales=torch.tensor([0.85 * size, 0.85 * size, 1e-3]).repeat(side * side, 1),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(side * side, 1),
    )


@torch.inference_mode()
def _measure(clip: RenderWorkload, renderer: SceneRenderer, folder: Path) -> dict[str, object]:
    device, resolution = renderer.device, renderer.resolution
    views = [fixed_view(number * 100 // clip.views) for number in range(clip.views)]
    out = folder / str(resolution)
    outputs = [(view, out / view.name / "clip.mp4") for view in views]

    def render(frames: int) -> None:
        trajectory = TrajectoryReader(folder / "clip")
        trajectory.check_frames()
        moving = moving_gaussians(trajectory, _DEGREE, device)
        some = (gaussians for gaussians, _ in zip(moving, range(frames), strict=False))
        write_clip(renderer, some, frames, outputs, _FPS, Outputs())

    render(min(2, clip.frames))
    whole = seconds(lambda: render(clip.frames), device)
    trajectory = TrajectoryReader(folder / "clip")
    stages = _stages(clip, trajectory, renderer, outputs)
    quality = _quality(trajectory, renderer, outputs[0])
    command = _run_command(clip, folder, resolution, device)
    return {
        "size": f"{resolution} x {resolution}",
        "views": clip.views,
        "frames": clip.frames,
        "Gaussians": clip.gaussians + clip.ground**2,
        "whole, s": whole,
        **{f"{name}, s": duration for name, duration in stages.items()},
        "bound by": max(stages, key=lambda name: stages[name]),
        "command, s": command.seconds,
        "host GiB": command.peak / 2**30,
        "of it encoders": command.encoders / 2**30,
        **quality,
    }


def _stages(
    clip: RenderWorkload, trajectory: TrajectoryReader, renderer: SceneRenderer, outputs: list[tuple[View, Path]]
) -> dict[str, float]:
    """Return the seconds of each stage with nothing else to do."""
    device, convert = renderer.device, to_yuv420p if renderer.device.type == "cuda" else to_uint8
    cameras = [renderer.cameras(view, clip.frames) for view, _ in outputs]
    frames: list[Gaussians] = []
    reading = seconds(lambda: frames.extend(moving_gaussians(trajectory, _DEGREE, device)), device)

    def draw() -> Iterator[torch.Tensor]:
        return (renderer.draw(gaussians, cameras_at(cameras, k)).rgb for k, gaussians in enumerate(frames))

    drawing = seconds(lambda: [None for _ in draw()], device)
    pictures = [convert(rgb) for rgb in draw()]
    rgb = next(draw())
    on_host = torch.empty(pictures[0].shape, dtype=torch.uint8, pin_memory=device.type == "cuda")

    def bring() -> None:
        for _ in range(clip.frames):
            on_host.copy_(convert(rgb), non_blocking=True)

    converting = seconds(bring, device)
    paths = [path for _, path in outputs]

    def encode() -> None:
        with ClipWriter(paths, clip.frames, _FPS, Outputs(), device, encoder_threads(len(paths))) as writer:
            for planes in pictures:
                writer.send({"video": planes})

    return {"read": reading, "draw": drawing, "convert": converting, "encode": seconds(encode, device)}


def _quality(trajectory: TrajectoryReader, renderer: SceneRenderer, output: tuple[View, Path]) -> dict[str, object]:
    """Return what encoding loses of one view."""
    view, path = output
    cameras = renderer.cameras(view, trajectory.num_frames)
    found, drawn, planes, kept = [], [], [], []
    for k, (frame, gaussians) in enumerate(
        zip(read_video(path), moving_gaussians(trajectory, _DEGREE, renderer.device), strict=True)
    ):
        rgb = renderer.draw(gaussians, cameras[k : k + 1]).rgb[0].cpu()
        drawn.append(to_uint8(rgb))
        found.append(torch.from_numpy(frame))
        planes.append(to_yuv420p(rgb))
        kept.append(to_yuv420p(found[-1].float() / 255))
    side = renderer.resolution
    luma, found_luma = (torch.stack(stack)[:, :side] for stack in (planes, kept))
    return {
        "PSNR planes, dB": psnr(torch.stack(kept), torch.stack(planes)),
        "PSNR RGB, dB": psnr(torch.stack(found), torch.stack(drawn)),
        "SSIM": ssim(found_luma, luma),
    }


def psnr(pictures: torch.Tensor, originals: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio of 8-bit pictures of one shape, dB, from the mean error of them all."""
    with np.errstate(divide="ignore"):  # equal pictures have an infinite one
        return float(peak_signal_noise_ratio(originals.numpy(), pictures.numpy(), data_range=255))


def ssim(pictures: torch.Tensor, originals: torch.Tensor) -> float:
    """Return the mean structural similarity of 8-bit pictures (N, H, W), at least 11 x 11: 1 for equal ones.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004,
    with its Gaussian window of 1.5 pixels, cut off at 11 x 11.
    """
    arrays = [stack.double().numpy() for stack in (pictures, originals)]
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(*arrays, channel_axis=0, data_range=255, **window))


@dataclass(frozen=True)
class CommandUsage:
    """A ``CommandUsage`` holds a command's seconds, and its bytes at the peak: of all processes, and of encoders."""

    seconds: float
    peak: int
    encoders: int


def _run_command(clip: RenderWorkload, folder: Path, resolution: int, device: torch.device) -> CommandUsage:
    numbers = ",".join(str(number * 100 // clip.views) for number in range(clip.views))
    command = [sys.executable, "-m", "dataset.render", "--model_path", folder / "clip", "--views", numbers]
    command += ["--config", folder / "config.json", "--background_path", folder / "ground.ply", "--overwrite"]
    command += ["--output_path", folder / "command", "--resolution", str(resolution), "--device", device.type]
    start = time.perf_counter()
    with subprocess.Popen([str(part) for part in command], cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
        peaks = [(0, 0)]
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peaks, done))
        watcher.start()
        status = process.wait()
        done.set()
        watcher.join()
    if status:
        raise subprocess.CalledProcessError(status, "dataset.render")
    peak, encoders = max(peaks)
    return CommandUsage(time.perf_counter() - start, peak, encoders)


def _watch(process: psutil.Process, peaks: list[tuple[int, int]], done: threading.Event) -> None:
    """Note every 0.2 s the memory of a process with its children, and of the children alone, each page counted once."""
    while not done.wait(0.2):
        with suppress(psutil.NoSuchProcess):  # it may end at any moment
            encoders = sum(_memory(child) for child in process.children())
            peaks.append((_memory(process) + encoders, encoders))


def _memory(process: psutil.Process) -> int:
    """Return the bytes of a process, with its share of what it has in common with others; 0 once it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
