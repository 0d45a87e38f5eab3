"""Load simulated scenes, and cut them into training samples.

A sample is a window of frames: its first one is the state that a model starts from, all of them are the target.
Training draws windows from an endless stream of shuffled epochs, the next batch while the last one is used.
"""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from dataset.layout import Layout
from dataset.scenes.scene_objects import SceneObject, trajectory_objects
from dynamic_models.data.keypoints import KeypointClip, extract_keypoints
from dynamic_models.data.scene_state import MATERIAL_FIELDS, SceneState, World, collate, mean_pushes, pad
from gaussians.files.external_forces import ExternalForce, recorded_external_forces
from gaussians.files.trajectory_format import TrajectoryObject
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.rotations import axis_rotation
from gaussians.stage.errors import InputError

TRAINING_GROUPS = tuple(f"3_{i}" for i in range(9))
_PUBLISHED_NU = 0.3  # Poisson's ratio
_WALL_MARGIN = 0.2  # metres: scenes that stay so far from the side walls may be turned by any angle


class Window(NamedTuple):
    """A ``Window`` is T consecutive frames of each of B scenes.

    Attributes:
        state: the scenes at the first frame.
        target: (B, T, O, P, 3), keypoints in all frames, metres.
        pushes: (B, T - 1, O, 6), see ``DynamicsModel``.
    """

    state: SceneState
    target: torch.Tensor
    pushes: torch.Tensor


@dataclass(frozen=True)
class SimulatedScene:
    """A ``SimulatedScene`` is the motion of one scene's keypoints, with what is known of its simulation.

    Attributes:
        name: ``group/scene``.
        clip: the keypoints' motion over all frames.
        materials: (O, 4), see ``SceneState``.
        world: gravity and walls.
        frame_dt: seconds from frame to frame.
        dx: cell size of the simulation's grid, metres; 0 for unknown.
        wall_time: seconds that the simulation took, None for unknown.
        forces: external forces on its objects.
        trajectory: the directory that it was read from, None for none.
    """

    name: str
    clip: KeypointClip
    materials: torch.Tensor
    world: World
    frame_dt: float
    dx: float
    wall_time: float | None
    forces: tuple[ExternalForce, ...] = ()
    trajectory: Path | None = None

    @property
    def num_frames(self) -> int:
        return len(self.clip.positions)

    def window(self, start: int, length: int) -> Window:
        """Return ``length`` frames of this one scene from frame ``start`` on."""
        positions = self.clip.positions
        state = SceneState(
            points=positions[None, start],
            velocities=velocities_at(self.clip, start, self.frame_dt)[None],
            rest=positions[None, 0],
            mask=self.clip.mask[None],
            materials=self.materials[None],
            gravity=torch.tensor([self.world.gravity]),
            walls=torch.tensor([self.world.walls]),
            shares=self.clip.shares[None],
        )
        labels, masses = self.clip.labels.tolist(), self.materials[:, MATERIAL_FIELDS.index("mass")].tolist()
        pushes = mean_pushes(self.forces, labels, masses, length, self.frame_dt, start)
        return Window(state, positions[None, start : start + length], pushes[None])


def velocities_at(clip: KeypointClip, k: int, frame_dt: float) -> torch.Tensor:
    """Return velocities (O, P, 3) at frame ``k``, metres per second.

    They are taken from the trajectory where it holds them, else they are ``differences`` of positions.
    """
    return differences(clip.positions, k, frame_dt) if clip.velocities is None else clip.velocities[k]


def differences(positions: Sequence[torch.Tensor] | torch.Tensor, k: int, frame_dt: float) -> torch.Tensor:
    """Return the second-order difference quotient at frame ``k`` of positions at consecutive frames, m/s.

    It is central, or one-sided at the ends; both are exact for constant accelerations. Of two frames it is of first
    order, of a single one zero. What does not move has a velocity of exactly zero.

    Args:
        positions: T positions of one shape, metres.
        frame_dt: seconds from frame to frame.
    """
    p, last = positions, len(positions) - 1
    if last == 0:
        return torch.zeros_like(p[0])
    if last == 1:
        return (p[1] - p[0]) / frame_dt
    if k == 0:
        return (4 * (p[1] - p[0]) - (p[2] - p[0])) / (2 * frame_dt)
    if k == last:
        return (4 * (p[k] - p[k - 1]) - (p[k] - p[k - 2])) / (2 * frame_dt)
    return (p[k + 1] - p[k - 1]) / (2 * frame_dt)


def collate_windows(windows: Sequence[Window], objects: int = 0, points: int = 0) -> Window:
    """Join windows of equal length to one batch, padded as ``collate`` does."""
    state = collate([window.state for window in windows], objects, points)
    _, objects, points = state.mask.shape
    targets = [pad(window.target, 2, (objects, points)) for window in windows]
    return Window(state, torch.cat(targets), torch.cat([pad(window.pushes, 2, (objects,)) for window in windows]))


def turn_about_vertical(window: Window, generator: torch.Generator) -> Window:
    """Return the same motion seen from another side: turned about the vertical axis and, half of the time, mirrored.

    Physics knows no preferred horizontal direction, so a model learns from more data at no cost. Scenes that come near
    a side wall are turned by quarter turns, and the walls with them.
    """
    state, target, pushes = window
    reach = target[..., :2].norm(dim=-1).amax()
    free = bool(reach < state.walls[:, :4].abs().amin() - _WALL_MARGIN)
    draw, mirrored = torch.rand(2, generator=generator)
    quarters = int(draw * 4)
    rotation = axis_rotation(2, float(draw) * 360 if free else quarters * 90)
    walls = state.walls
    if mirrored < 0.5:
        rotation = rotation @ torch.diag(torch.tensor([1.0, -1.0, 1.0]))
        walls = torch.stack([walls[:, 0], walls[:, 1], -walls[:, 3], -walls[:, 2], walls[:, 4]], -1)
    for _ in range(0 if free else quarters):
        walls = torch.stack([-walls[:, 3], -walls[:, 2], walls[:, 0], walls[:, 1], walls[:, 4]], -1)
    turned = replace(
        state,
        points=state.points @ rotation.T,
        velocities=state.velocities @ rotation.T,
        rest=state.rest @ rotation.T,
        gravity=state.gravity @ rotation.T,
        walls=walls,
    )
    # A torque changes its sign in a mirror.
    torque = pushes[..., 3:] @ rotation.T * torch.det(rotation).sign()
    return Window(turned, target @ rotation.T, torch.cat([pushes[..., :3] @ rotation.T, torque], -1))


def add_noise(window: Window, speed: float, generator: torch.Generator) -> Window:
    """Add a random velocity of standard deviation ``speed``, m/s, to each object at the window's start.

    The target stays: a model learns to come back to it (Sanchez-Gonzalez et al. 2020 do so in every step).
    """
    state = window.state
    noise = speed * torch.randn(*state.mask.shape[:2], 1, 3, generator=generator) * state.mask[..., None]
    return window._replace(state=replace(state, velocities=state.velocities + noise))


@dataclass(frozen=True)
class Sampling:
    """A ``Sampling`` says how training windows are drawn.

    Attributes:
        seed: of order, starts and noise.
        num_frames: the first frames of a scene that windows are taken from.
        batch_size: windows in a batch.
        noise: standard deviation of the velocity that is added to each object at a window's start, m/s.
        augment: whether windows are turned about the vertical axis and mirrored.
        objects: the least number of objects that a batch is padded to.
        points: the least number of keypoints of every object that a batch is padded to.
    """

    seed: int
    num_frames: int
    batch_size: int
    noise: float = 0.0
    augment: bool = True
    objects: int = 0
    points: int = 0


def draw_windows(
    scenes: Sequence[SimulatedScene], numbers: range, frames: int, sampling: Sampling
) -> tuple[list[str], Window]:
    """Draw samples ``numbers`` of the endless stream of shuffled epochs, as one batch.

    A sample depends on the seed and its number alone, so that neither an interruption nor the number of processes
    changes what is learned.

    Args:
        frames: the length of the windows.

    Returns:
        The names of the samples' scenes, and the windows.
    """
    names, windows = [], []
    for number in numbers:
        epoch, place = divmod(number, len(scenes))
        shuffle = torch.Generator().manual_seed(hash((sampling.seed, 0, epoch)) % 2**63)
        scene = scenes[int(torch.randperm(len(scenes), generator=shuffle)[place])]
        chance = torch.Generator().manual_seed(hash((sampling.seed, 1, number)) % 2**63)
        start = int(torch.randint(sampling.num_frames - frames + 1, (), generator=chance))
        window = scene.window(start, frames)
        if sampling.noise:
            window = add_noise(window, sampling.noise, chance)
        windows.append(turn_about_vertical(window, chance) if sampling.augment else window)
        names.append(scene.name)
    return names, collate_windows(windows, sampling.objects, sampling.points)


class WindowStream:
    """A ``WindowStream`` draws batches of training windows, each in a thread ahead of its use."""

    def __init__(self, scenes: Sequence[SimulatedScene], sampling: Sampling) -> None:
        self._scenes, self._sampling = scenes, sampling
        self._thread = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[tuple[list[str], Window]]] = {}

    def take(self, first: int, frames: int, following: int) -> tuple[list[str], Window]:
        """Return samples from number ``first`` on, in windows of ``frames``; then draw those from ``following`` on."""
        drawn = self._ahead.pop((first, frames), None) or self._submit(first, frames)
        self._ahead = {(following, frames): self._submit(following, frames)}
        return drawn.result()

    def _submit(self, first: int, frames: int) -> Future[tuple[list[str], Window]]:
        numbers = range(first, first + self._sampling.batch_size)
        return self._thread.submit(draw_windows, self._scenes, numbers, frames, self._sampling)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def choose_groups(layout: Layout, groups: Sequence[str] | None) -> list[str]:
    """Return ``groups``, or without any those of 3_0 to 3_8 that have trajectories, or else all that have some.

    Raises:
        InputError: a group, or any at all, is missing.
    """
    present = layout.groups_in_mpm()
    if not present:
        raise InputError(f"{layout.root / 'mpm'}: no trajectories: expected <group>/<scene>/0000.h5")
    if groups:
        for group in groups:
            if group not in present:
                raise InputError(f"{layout.mpm(group)}: no such group; there are {', '.join(present)}")
        return list(groups)
    return [group for group in TRAINING_GROUPS if group in present] or present


def load_scenes(
    layout: Layout,
    groups: Iterable[str],
    num_keypoints: int,
    num_frames: int,
    per_group: int | None = None,
    cache: Path | None = None,
    frame_dt: float | None = None,
    progress: bool = True,
) -> list[SimulatedScene]:
    """Load the first scenes of every group, with their keypoints taken from the trajectories.

    Args:
        num_keypoints: how many to take of every object.
        num_frames: frames that every scene must have.
        per_group: scenes to take of every group; None: all.
        cache: directory of extracted keypoints; None: ``<root>/keypoints``.
        frame_dt: seconds from frame to frame that all scenes must have; None: those of the first scene.
        progress: whether to show a progress bar.

    Raises:
        InputError: a scene is damaged, too short, or of another frame_dt, or there is none.
    """
    cache = cache or layout.root / "keypoints"
    names = [(group, scene) for group in groups for scene in layout.scenes_in_mpm(group)[:per_group]]
    if not names:
        raise InputError(f"{layout.root / 'mpm'}: no scenes in groups {', '.join(groups)}")
    scenes: list[SimulatedScene] = []
    for group, name in tqdm(names, desc="keypoints", unit="scene", disable=not progress):
        scene = load_scene(layout, group, name, num_keypoints, cache / group / f"{name}_{num_keypoints}.safetensors")
        where = layout.mpm_dir(group, name)
        frame_dt = frame_dt or scene.frame_dt
        if abs(scene.frame_dt - frame_dt) > 1e-6:
            raise InputError(f"{where}: frame_dt: expected {frame_dt:g} s, found {scene.frame_dt:g} s")
        if scene.num_frames < num_frames:
            raise InputError(f"{where}: expected at least {num_frames} frames (--steps), found {scene.num_frames}")
        scenes.append(scene)
    return scenes


def load_scene(layout: Layout, group: str, name: str, num_keypoints: int, cache: Path | None = None) -> SimulatedScene:
    """Load one scene of the dataset.

    Args:
        num_keypoints: how many to take of every object.
        cache: file for the extracted keypoints, see ``extract_keypoints``.

    Raises:
        InputError: its trajectory is damaged or incomplete, or nothing tells its objects apart.
    """
    reader = TrajectoryReader(layout.mpm_dir(group, name))
    objects = trajectory_objects(reader, layout)
    # Gaussians that never move would draw the farthest-point samples, and teach that things hang in the air.
    labels = objects.labels.clone()
    labels[reader.moving :] = -1
    clip = extract_keypoints(reader, labels, num_keypoints, cache)
    meta = reader.meta
    return SimulatedScene(
        name=f"{group}/{name}",
        clip=clip,
        materials=_materials(meta.objects if meta else objects.objects, clip.labels),
        world=World.of_trajectory(meta),
        frame_dt=reader.frame_dt,
        dx=meta.dx if meta else 0.0,
        wall_time=meta.wall_time if meta else None,
        forces=_forces(reader),
        trajectory=reader.path,
    )


def _forces(reader: TrajectoryReader) -> tuple[ExternalForce, ...]:
    recorded = reader.meta.settings.get("external_forces", []) if reader.meta else []
    return recorded_external_forces(f"{reader.path / 'meta.json'}: settings.external_forces", recorded)


def _materials(objects: Iterable[TrajectoryObject | SceneObject], labels: torch.Tensor) -> torch.Tensor:
    """Return the materials (O, 4), see ``SceneState``, of the objects with ``labels`` (O,); NaN for unknown."""
    known = {entry.label: entry for entry in objects}
    rows = torch.full((len(labels), 4), math.nan)
    for row, label in zip(rows, labels.tolist(), strict=True):
        entry = known.get(label)
        if isinstance(entry, TrajectoryObject):
            row[:] = torch.tensor([entry.youngs_modulus, entry.nu, entry.density, entry.mass])
        elif entry is not None:  # of a published trajectory
            row[:3] = torch.tensor([entry.youngs_modulus or math.nan, _PUBLISHED_NU, entry.density or math.nan])
    return rows
