"""Define what is compared: learned models, free flight, simulations with guessed materials, the truth itself."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from dataset.layout import Layout
from dynamic_models.data.scene_state import SceneState
from dynamic_models.data.windows import SimulatedScene
from dynamic_models.evaluation.ensembles import jittered
from dynamic_models.evaluation.settings import BALLISTIC, FLOOR, GUESSED, SHIFTED
from dynamic_models.models.ballistic import Ballistic
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.interface import DynamicsModel
from dynamic_models.models.registry import MODELS, choose_checkpoint
from gaussians.files.labels import read_labels
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError

TRUTH = "simulation"
_MOVE_TOLERANCE = 2e-3  # metres, twice what files of half precision round off


class Prediction(NamedTuple):
    """A ``Prediction`` is a contender's motion of a scene.

    Attributes:
        positions: (T, O, P, 3), keypoints, metres, on the CPU.
        seconds: wall time that it took, None for unknown.
        error_scale: what its distance from the truth is multiplied by before errors are taken.
    """

    positions: torch.Tensor
    seconds: float | None
    error_scale: float = 1.0


class Contender(Protocol):
    """A ``Contender`` predicts scenes."""

    @property
    def name(self) -> str:
        """Return what reports call it."""

    @property
    def num_keypoints(self) -> int | None:
        """Return how many of every object's keypoints it predicts, None for all."""

    def check(self, scene: SimulatedScene, frames: int) -> None:
        """Raise ``InputError`` if it cannot predict ``frames`` of ``scene``, before any work is done."""

    def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
        """Predict ``frames`` of ``scene`` from the first one on."""

    def roll_out_jittered(
        self, scene: SimulatedScene, frames: int, rollouts: int, jitter: float
    ) -> torch.Tensor | None:
        """Predict from several starts, see ``ensembles.jittered``; (rollouts, T, O, P, 3), or None where it cannot."""


class Truth:
    """A ``Truth`` is the simulation that the others are measured against, with the time that it took."""

    name = TRUTH
    num_keypoints: int | None = None

    def check(self, scene: SimulatedScene, frames: int) -> None:
        """Accept every scene: scenes are checked as they are loaded."""

    def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
        seconds = _share_of_time(scene.wall_time, scene.num_frames, frames)
        return Prediction(scene.clip.positions[:frames], seconds)

    def roll_out_jittered(self, scene: SimulatedScene, frames: int, rollouts: int, jitter: float) -> None:
        """Return nothing: simulations are read, not made."""


class SimulatedOtherwise:
    """A ``SimulatedOtherwise`` reads simulations of the same scenes under other conditions.

    Attributes:
        name: what reports call it.
    """

    num_keypoints: int | None = None

    def __init__(self, name: str, folder: str, layout: Layout) -> None:
        """Read from ``<root>/<folder>/<group>/<scene>``."""
        self.name, self._folder, self._layout = name, folder, layout

    def check(self, scene: SimulatedScene, frames: int) -> None:
        reader = TrajectoryReader(self.path(scene))
        for what, expected, found in (
            ("Gaussians", len(_order(self._layout, scene)), reader.count),
            ("seconds from frame to frame", scene.frame_dt, reader.frame_dt),
        ):
            if abs(found - expected) > 1e-6:
                raise InputError(f"{reader.path}: expected {expected:g} {what} as in mpm/{scene.name}, found {found:g}")
        if reader.num_frames < frames:
            raise InputError(f"{reader.path}: expected at least {frames} frames, found {reader.num_frames}")
        order = reader.path / "source_index.npy"
        if order.is_file() and not torch.equal(read_labels(order), _order(self._layout, scene)):
            raise InputError(f"{order}: its Gaussians are not those of mpm/{scene.name}, or in another order")

    def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
        """Return the positions of the same Gaussians as the truth's keypoints."""
        reader = TrajectoryReader(self.path(scene))
        rows, mask = scene.clip.rows.clamp_min(0), scene.clip.mask[..., None]
        positions = torch.stack([reader.positions(k)[rows] * mask for k in range(frames)])
        wall_time = reader.meta.wall_time if reader.meta else None
        return Prediction(positions, _share_of_time(wall_time, reader.num_frames, frames))

    def roll_out_jittered(self, scene: SimulatedScene, frames: int, rollouts: int, jitter: float) -> None:
        """Return nothing: simulations are read, not made."""

    def path(self, scene: SimulatedScene) -> Path:
        """Return the directory of the scene's simulation."""
        return self._layout.root / self._folder / scene.name


class Floor(SimulatedOtherwise):
    """A ``Floor`` is how far a prediction stays from the simulation if it knows all but how the grid lies.

    It reads simulations of scenes that were moved as a whole by half a cell, and takes the move back. Where the grid
    lies is chance to whoever does not see it. The best prediction is then the mean of all that may come of it, and from
    that each outcome is by sqrt 2 less far away than two outcomes are from each other.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(FLOOR, SHIFTED, layout)

    def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
        positions = super().roll_out(scene, frames).positions
        existing = scene.clip.mask
        moves = (positions[0] - scene.clip.positions[0])[existing]
        move = moves.mean(0)
        if (moves - move).abs().max() > _MOVE_TOLERANCE:
            raise InputError(f"{self.path(scene)}: expected the objects of mpm/{scene.name}, moved as a whole")
        return Prediction((positions - move) * existing[..., None], None, 1 / math.sqrt(2))


def _order(layout: Layout, scene: SimulatedScene) -> torch.Tensor:
    """Return which row of the scene's point cloud each Gaussian of its simulation is, (N,)."""
    path = layout.root / "mpm" / scene.name
    order = path / "source_index.npy"
    if order.is_file():
        return read_labels(order)
    return torch.arange(TrajectoryReader(path).count, dtype=torch.int32)


def _share_of_time(seconds: float | None, simulated: int, frames: int) -> float | None:
    """Return how much of the ``seconds`` of a simulation ``frames`` took, as if all steps took the same time."""
    return None if seconds is None else seconds * (frames - 1) / max(1, simulated - 1)


@dataclass
class Predictor:
    """A ``Predictor`` rolls a model out here and now.

    Attributes:
        name: what reports call it.
        model: the model, on ``device``.
        device: where it computes.
        info: what its checkpoint says, None for a model that has none.
        checkpoint: the file or directory that it came from.
    """

    name: str
    model: DynamicsModel
    device: torch.device
    info: CheckpointInfo | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        self._warm: tuple[torch.Size, int, float] | None = None

    @property
    def num_keypoints(self) -> int | None:
        return self.info.num_keypoints if self.info else None

    def check(self, scene: SimulatedScene, frames: int) -> None:
        if self.info and abs(self.info.frame_dt - scene.frame_dt) > 1e-6:
            raise InputError(
                f"{self.checkpoint}: trained with {self.info.frame_dt:g} s from frame to frame, "
                f"scene {scene.name} has {scene.frame_dt:g} s"
            )

    @torch.no_grad()
    def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
        """Roll the model out, timed without what is done once for scenes of one shape and length, such as compiling."""
        state, pushes = self._start(scene, frames)
        if self._warm != (state.mask.shape, frames, scene.frame_dt):
            self.model(state, frames, scene.frame_dt, pushes)
            self._warm = (state.mask.shape, frames, scene.frame_dt)
        _synchronize(self.device)
        start = time.perf_counter()
        predicted = self.model(state, frames, scene.frame_dt, pushes)
        _synchronize(self.device)
        return Prediction(predicted[0].cpu(), time.perf_counter() - start)

    @torch.no_grad()
    def roll_out_jittered(self, scene: SimulatedScene, frames: int, rollouts: int, jitter: float) -> torch.Tensor:
        state, pushes = self._start(scene, frames)
        starts = jittered(state, rollouts, jitter, scene.name)
        predicted: torch.Tensor = self.model(starts, frames, scene.frame_dt, pushes.expand(rollouts, -1, -1, -1))
        return predicted

    def _start(self, scene: SimulatedScene, frames: int) -> tuple[SceneState, torch.Tensor]:
        """Return the scene's first frame with as many keypoints as the model is given, and what pushes it."""
        state, _, pushes = scene.window(0, frames)
        if self.num_keypoints is not None:
            # Farthest-point samples are nested: the first of many are the keypoints of a model trained on fewer.
            first = slice(self.num_keypoints)
            kept = {name: getattr(state, name)[:, :, first] for name in ("points", "velocities", "rest", "mask")}
            state = replace(state, **kept, shares=scene.clip.shares_of_first(self.num_keypoints)[None])
        return state.to(self.device), pushes.to(self.device)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def load_contenders(
    names: Sequence[str],
    checkpoints: Sequence[str],
    layout: Layout,
    device: torch.device,
    compiled: bool = False,
    dx: float = 0.0,
) -> list[Contender]:
    """Return what --models and --checkpoints ask for.

    Args:
        names: names of models; one that is no known model must be the name of a checkpoint.
        checkpoints: ``name=path`` or ``path``, whose model's own name is then taken; known models without any get their
            ``choose_checkpoint``.
        compiled: whether learned models are compiled, see ``FrameModel``.
        dx: cell size of the grid of the simulations that they are compared with, metres; 0 for unknown.

    Raises:
        InputError: a name or checkpoint is unknown, there twice, missing, damaged, or of another model.
    """
    given: dict[str, Predictor] = {}
    for text in checkpoints:
        predictor = _load(text, device, compiled)
        for note in choose_checkpoint(predictor.name, named=predictor.checkpoint).notes:
            print(note)
        if predictor.name in given:
            raise InputError(f"--checkpoints: two are of {predictor.name}: give one of them another name, name=path")
        given[predictor.name] = predictor
    for name in given:
        if name not in names:
            raise InputError(f"--checkpoints: one is of {name}, which is not among --models {','.join(names)}")
    known = (*MODELS, GUESSED, BALLISTIC, FLOOR)
    for name in names:
        if name not in (*known, *given):
            raise InputError(f"--models: expected {', '.join(known)} or a name of --checkpoints, found {name!r}")
    contenders: list[Contender] = []
    for name in names:
        if name == BALLISTIC:
            contenders.append(Predictor(name, Ballistic(), device))
        elif name == GUESSED:
            contenders.append(SimulatedOtherwise(GUESSED, GUESSED, layout))
        elif name == FLOOR:
            contenders.append(Floor(layout))
        elif name in given:
            contenders.append(given[name])
        else:
            path, notes = choose_checkpoint(name, dx)
            for note in notes:
                print(note)
            contenders.append(_load(f"{name}={path}", device, compiled))
    return contenders


def _load(text: str, device: torch.device, compiled: bool) -> Predictor:
    name, equals, path = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):  # a path, which may contain an equals sign
        name, path = "", text
    if name in (TRUTH, GUESSED, BALLISTIC, FLOOR):
        raise InputError(f"--checkpoints {text}: {name} is no learned model: give the checkpoint another name")
    model, info = load_checkpoint(path, name if name in MODELS else None)
    model.compiled = compiled
    return Predictor(name or info.settings["dynamic_model"], model.to(device), device, info, Path(path))
