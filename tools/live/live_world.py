"""Hold a scene whose predicted motion goes on frame by frame, and what a person does to it; without any window."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dataset.config import Config
from dataset.scenes.scene_files import Scene, write_scene
from dataset.scenes.scene_objects import SceneObject
from dynamic_models.models.checkpoints import CheckpointInfo
from dynamic_models.models.interface import FrameModel
from gaussians.files.trajectory_format import Frame, Walls
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from tools.live.palette import Box, free_place
from tools.viewer.saving.exports import free_path
from tools.viewer.scene.splat_source import SplatSource, entries_by_name, object_names, rows_by_name
from videogen.motion.live_motion import LiveMotion

MOST_FRAMES = 6000
"""Frames that are remembered; of more, the older half is forgotten."""
_OPEN_TOP = 1.0  # metres; as high as objects of the dataset start


@dataclass(frozen=True)
class SavedPushes:
    """A ``SavedPushes`` is a scene with the pushes on it, as files that the other commands take.

    Attributes:
        scene: its directory.
        forces: the JSON file of external forces.
        youngs_moduli, densities: of each object, Pa and kg/m^3.
        frames: that were predicted, the first one included.
    """

    scene: Path
    forces: Path
    youngs_moduli: list[float]
    densities: list[float]
    frames: int

    @property
    def flags(self) -> list[str]:
        """Return the flags of ``videogen.eval`` and ``dataset.gs_simulation_scene`` that name all of it."""
        return [
            *("--model_path", str(self.scene), "--use_external_forces", "--external_forces_config", str(self.forces)),
            *("--E", str(self.youngs_moduli), "--density", str(self.densities)),
        ]


class LiveWorld:
    """A ``LiveWorld`` is a scene whose predicted motion goes on, with all that a person may do to it.

    Args:
        scene: objects at rest.
        name: what the scene is called.
        model: a trained model, on ``device``.
        info: what its checkpoint says.
        config: gravity, seconds from frame to frame, and motion at the start.
        device: where to compute.
        youngs_moduli, densities: of each object by label, Pa and kg/m^3; None: what config, scene or training data say.

    Attributes:
        motion: the prediction.
        history: keypoints (O, P, 3) of the frames so far, metres, from ``first`` on.
        first: number of the first frame that is remembered.
        edited: whether an object was dropped, or made of another material.

    Raises:
        InputError: nothing is there to move.
    """

    def __init__(
        self,
        scene: Scene,
        name: str,
        model: FrameModel,
        info: CheckpointInfo,
        config: Config,
        device: torch.device | str = "cpu",
        youngs_moduli: Sequence[float] | None = None,
        densities: Sequence[float] | None = None,
    ) -> None:
        self.name, self.config, self.edited = name, config, False
        self._model, self._info, self._device = model, info, device
        self._begin(LiveMotion(scene, model, info, config, device, E=youngs_moduli, density=densities))

    def _begin(self, motion: LiveMotion) -> None:
        self.motion = motion
        self._still = self._still_source()
        self._remember_from_here()

    def _remember_from_here(self) -> None:
        self.history, self.first = [self.motion.points.cpu()], self.motion.frame
        self._source: SplatSource | None = None

    @property
    def names(self) -> dict[str, int]:
        """Return the label of each object that moves, by its name in the viewer."""
        names = object_names(self.motion.scene.objects)
        return {names[label]: label for label in self.motion.labels}

    def step(self) -> None:
        """Predict one frame more.

        Raises:
            InputError: the prediction is not finite any more.
        """
        self.motion.advance()
        self.history.append(self.motion.points.cpu())
        self._source = None
        if len(self.history) > MOST_FRAMES:
            forgotten = len(self.history) // 2
            del self.history[:forgotten]
            self.first += forgotten

    def reset(self) -> None:
        """Go back to the start; objects that were dropped, and materials, stay."""
        self.motion.reset()
        self._remember_from_here()

    def push(self, label: int, acceleration: torch.Tensor, seconds: float) -> torch.Tensor:
        """Push an object for a while and return the force (3,), N.

        Args:
            acceleration: (3,), m/s^2.

        Raises:
            InputError: the mass is unknown.
        """
        force = self._mass(label) * acceleration
        x, y, z = force.tolist()
        self.motion.push(label, force=(x, y, z), seconds=seconds)
        return force

    def twist(self, label: int, acceleration: torch.Tensor, seconds: float) -> torch.Tensor:
        """Twist an object about its centre of mass for a while and return the torque (3,), N m.

        Args:
            acceleration: (3,), lever times acceleration of what it pulls at, m^2/s^2.

        Raises:
            InputError: the mass is unknown.
        """
        torque = self._mass(label) * acceleration
        x, y, z = torque.tolist()
        self.motion.push(label, torque=(x, y, z), seconds=seconds)
        return torque

    def _mass(self, label: int) -> float:
        mass = self.motion.masses.get(label, float("nan"))
        if not mass > 0:
            raise InputError(f"the mass of object {label} is unknown: set its density first")
        return mass

    def radius(self, label: int) -> float:
        """Return the root mean square distance of an object's keypoints from their centre, metres."""
        points = self.motion.object_points()[label]
        return float((points - points.mean(0)).square().sum(1).mean().sqrt())

    def boxes(self) -> dict[int, Box]:
        """Return the corners of each object's keypoints now."""
        return {label: (own.min(0).values, own.max(0).values) for label, own in self.motion.object_points().items()}

    def set_material(self, label: int, youngs_modulus: float, density: float) -> None:
        """Make an object of another material from now on, Pa and kg/m^3."""
        self.motion.set_material(label, youngs_modulus, density)
        self.edited = True

    def drop(self, addition: Scene, over: int) -> str:
        """Add the objects of a scene, at rest, to this one, in a free place above one of its objects.

        The place is free at the start, too, so that a reset brings nothing into anything else.

        Args:
            addition: what is added.
            over: label of the object.

        Returns:
            The name of the first object that was added.

        Raises:
            InputError: there is no room.
        """
        motion, before = self.motion, self.motion.scene
        shown = addition.gaussians.opacities > self.config.opacity_threshold
        body = _box(addition.gaussians.means[shown])
        rest = motion.rest
        assert rest.labels is not None
        boxes = [_box(rest.means[rest.labels == label]) for label in motion.labels] + list(self.boxes().values())
        low, high = self.boxes()[over]
        place = free_place(body, boxes, (low + high)[:2] / 2, self._room())
        if place is None:
            raise InputError(
                "there is no room for it above the objects: reset, or choose another object or a smaller one"
            )
        added, count = addition.gaussians.transformed(translation=place), len(before.objects)
        assert added.labels is not None
        added = replace(added, labels=torch.where(added.labels >= 0, added.labels + count, -1).int())
        objects = [*before.objects, *(one.model_copy(update={"label": one.label + count}) for one in addition.objects)]
        scene = Scene(Gaussians.cat([before.gaussians, added]), tuple(objects))
        known, more = motion.materials, [None] * len(addition.objects)
        later = LiveMotion(
            scene, self._model, self._info, self.config, self._device,
            E=[*known.youngs_moduli, *more], density=[*known.densities, *more],
        )  # fmt: skip
        later.go_on(motion.state())
        later.forces = list(motion.forces)
        self.edited = True
        self._begin(later)
        return object_names(objects)[count]

    def _room(self) -> Box:
        x0, x1, y0, y1, floor = self._info.world.walls
        low, high = torch.tensor([x0, y0, floor]), torch.tensor([x1, y1, _OPEN_TOP])
        if self.config.sim_area is None or self.config.rotation_degree:
            return low, high
        area = torch.tensor(self.config.sim_area)
        return torch.maximum(low, area[0::2]), torch.minimum(high, area[1::2])

    def source(self) -> SplatSource:
        """Return what is remembered as something that the viewer shows; it does not change as the world goes on."""
        if self._source is not None:
            return self._source
        motion, history = self.motion, self.history[:]

        def frame(k: int, fields: Sequence[str]) -> Frame:
            return motion.frame_at(history[k])

        # Forces count from the start, which a world without its first frames does not show.
        masses = {} if self.first else {name: motion.masses[label] for name, label in self.names.items()}
        self._source = replace(
            self._still,
            frame=frame,
            frame_count=len(history),
            masses={name: mass for name, mass in masses.items() if mass > 0},
            forces=tuple(motion.forces),
        )
        return self._source

    def _still_source(self) -> SplatSource:
        """Return the scene at rest, of which nothing changes but by adding objects."""
        motion, rest = self.motion, self.motion.rest
        assert rest.labels is not None
        entries = motion.scene.objects
        x0, x1, y0, y1, floor = self._info.world.walls
        return SplatSource(
            self.name,
            rest.opacities,
            rest.sh,
            rows_by_name(rest.labels, len(rest), entries),
            lambda k, fields: Frame(rest.means, rest.covariance()),
            frame_dt=self.config.frame_dt,
            walls=Walls(x=(x0, x1), y=(y0, y1), floor=floor),
            described=entries_by_name(entries),
            gravity=self.config.g,
            kind="prediction",
        )

    def check_unchanged(self) -> None:
        """Refuse a world that its start and the pushes since then do not tell.

        Raises:
            InputError: an object was dropped, or changed, after the start.
        """
        if self.motion.changed:
            raise InputError(
                "an object was dropped or changed in mid-motion, which no file of forces says: reset, then push anew"
            )

    def save(self, folder: Path) -> SavedPushes:
        """Write the scene at the start, and the pushes since then, under names that nothing has yet.

        Raises:
            InputError: more than pushes has acted since the start, what objects are made of is unknown, or the files
                cannot be written.
        """
        self.check_unchanged()
        motion = self.motion
        moduli, densities = motion.materials.complete(motion.scene.objects)
        path = free_path(folder, self.name)
        write_scene(path, motion.scene.gaussians, self._entries(moduli, densities))
        forces = free_path(folder, f"{path.name}_forces", ".json")
        write_json(forces, {path.name: [force.model_dump(mode="json") for force in motion.forces]})
        return SavedPushes(path, forces, moduli, densities, motion.frame + 1)

    def _entries(self, moduli: Sequence[float], densities: Sequence[float]) -> list[dict[str, object]]:
        labels = self.motion.scene.gaussians.labels
        assert labels is not None

        def described(entry: SceneObject) -> dict[str, object]:
            own = {"youngs_modulus": moduli[entry.label], "density": densities[entry.label]}
            return entry.model_dump(exclude_none=True) | own | {"count": int((labels == entry.label).sum())}

        return [described(entry) for entry in self.motion.scene.objects]


def _box(points: torch.Tensor) -> Box:
    return points.min(0).values, points.max(0).values
