"""Measure how long a frame of live pushing takes to predict, and to pack for browsers; needs no browser."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median

import torch

from dataset.config import Config, load_config
from dataset.scenes.scene_files import Scene
from dataset.scenes.scene_objects import SceneObject
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import SHIPPED, default_checkpoint
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from tools.benchmarks.simulation.workloads import DENSITY, YOUNGS_MODULUS, Workload
from tools.benchmarks.stopwatch import seconds
from tools.live.live_world import LiveWorld
from tools.viewer.browsers import drawing_interval
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.splat_nodes import Moment

_MODELS = ("ngff", "ngff_impulses")
_CONFIGS = ("quickstart_config", "dynamic_config")  # each is predicted with other shipped checkpoints
_GAUSSIANS = 12_000
# While they warm up, the balls fall onto the floor and onto each other; later they roll apart.
_WARM_UP, _FRAMES = 15, 40


def measure(device: torch.device) -> Iterator[dict[str, object]]:
    """Yield a row for each shipped checkpoint of a model and a config: medians of 40 frames after 15 to warm up.

    The rates are those at which each picture comes with the frames that pass in the world until the next one is due.
    """
    for model, name in product(_MODELS, _CONFIGS):
        config = load_config(name)
        # A checkpoint that was trained on this machine would not be the shipped one.
        checkpoint = default_checkpoint(model, config.lattice.dx, trained=SHIPPED)
        world = falling_balls(checkpoint, config, device)
        stage = Stage([world.source()])
        draw = _pictures(world, stage)
        times = [(seconds(world.step, device), seconds(draw, device)) for _ in range(_WARM_UP + _FRAMES)]
        frame, picture = map(median, zip(*times[_WARM_UP:], strict=True))
        frames_a_picture = drawing_interval(stage) / config.frame_dt
        pictures = 1 / (picture + frames_a_picture * frame)
        objects, keypoints, _ = world.motion.points.shape
        yield {
            "checkpoint": checkpoint.name,
            "config": name,
            "objects": objects,
            "Gaussians": len(world.source()),
            "keypoints": objects * keypoints,
            "ms a frame": 1e3 * frame,
            "ms a picture": 1e3 * picture,
            "frames a second": frames_a_picture * pictures,
            "pictures a second": pictures,
        }


def falling_balls(checkpoint: Path, config: Config, device: torch.device) -> LiveWorld:
    """Put three solid balls one above the other, a little apart, which the model of a checkpoint lets fall.

    Their colours are of degree 0, as those of the objects that ``dataset.generate_objects`` makes.
    """
    balls = Workload("live", _GAUSSIANS, config.n_grid)
    positions, labels = map(torch.from_numpy, balls.particles_of_balls())
    size = 0.8 * balls.radius * (balls.balls / _GAUSSIANS) ** (1 / 3)  # about half of the distance between neighbours
    gaussians = Gaussians(
        means=positions.float(),
        opacities=torch.full((_GAUSSIANS,), 0.8),
        sh=rgb_to_sh(torch.eye(3)[labels]),
        scales=torch.full((_GAUSSIANS, 3), size),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(_GAUSSIANS, 1),
        labels=labels.int(),
    )
    objects = tuple(
        SceneObject(label=label, name=f"solid{label}", youngs_modulus=YOUNGS_MODULUS, density=DENSITY)
        for label in range(balls.balls)
    )
    model, info = load_checkpoint(checkpoint)
    return LiveWorld(Scene(gaussians, objects), "balls", model.to(device), info, config, device)


def _pictures(world: LiveWorld, stage: Stage) -> Callable[[], None]:
    """Return what packs a picture of the world as it is now, as ``LiveViewer`` does before it is sent."""
    (layer,) = stage.layers
    last: list[Moment | None] = [None]

    def draw() -> None:
        layer.source = world.source()
        world.boxes()
        last[0] = moment = Moment(stage, world.motion.time, last[0])
        for part in layer.parts:
            moment.packed(0, part, None)

    return draw
