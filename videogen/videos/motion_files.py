"""Write a motion to files of several kinds while it is computed, each frame once."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gaussians
from gaussians.files.external_forces import ExternalForce
from gaussians.files.splats.splat_formats import splat_sequence
from gaussians.files.storage_options import FIELDS, SplatFormat
from gaussians.files.trajectory_format import TrajectoryMeta
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import atomic_path
from videogen.motion.motion import Moment, Motion

Taker = Callable[[int, Moment], None]
"""What takes each frame of a motion, its number first, and writes of it what it wants."""


def passed_on(motion: Motion, takers: Sequence[Taker], stored: bool) -> Iterator[Gaussians]:
    """Yield the Gaussians of every frame of a motion, after all ``takers`` had the frame.

    Args:
        stored: whether a taker needs the frames as trajectories store them.
    """
    for number, moment in enumerate(motion.moments(stored)):
        for take in takers:
            take(number, moment)
        yield moment.gaussians


@contextmanager
def gaussians_taker(folder: Path, kind: SplatFormat, chosen: Sequence[int] | None) -> Iterator[Taker]:
    """Yield a taker that writes Gaussians for other programs, ``0000.ply`` and so on; the folder appears at the end.

    Args:
        chosen: numbers of the frames that are written, None for all.

    Raises:
        InputError: a file cannot be written.
    """
    with splat_sequence(folder, kind) as write:

        def take(number: int, moment: Moment) -> None:
            if chosen is None or number in chosen:
                write(number, moment.gaussians)

        yield take


@contextmanager
def trajectory_taker(folder: Path, motion: Motion, meta: TrajectoryMeta) -> Iterator[Taker]:
    """Yield a taker that writes a trajectory; the folder appears at the end.

    Raises:
        InputError: a file cannot be written.
    """
    scene = motion.scene
    rest = scene.gaussians
    with (
        atomic_path(folder) as temporary,
        TrajectoryWriter(temporary, meta, rest.opacities, rest.sh, rest.labels, scene.source_index) as writer,
    ):

        def take(number: int, moment: Moment) -> None:
            assert moment.frame is not None
            writer.write(moment.frame)

        yield take
        writer.finish(wall_time=round(motion.seconds, 3))


def trajectory_meta(
    motion: Motion, steps: int, forces: Sequence[ExternalForce], hashes: Mapping[str, str], further: Mapping[str, Any]
) -> TrajectoryMeta:
    """Return what stands in meta.json of a motion's trajectory.

    Args:
        steps: number of frames.
        forces: external forces on the objects.
        hashes: SHA-256 of the scene's files, by name.
        further: settings, as plain JSON values, beside those of the config.

    Raises:
        InputError: nothing says what an object is made of.
    """
    config, objects = motion.config, motion.objects()
    told = ("name", "youngs_modulus", "nu", "density", "material")
    settings = config.settings() | {
        "frame_num": steps,
        "materials": [{key: getattr(entry, key) for key in told} for entry in objects],
        "external_forces": [force.model_dump(mode="json") for force in forces],
        "dtype": "float32",
        "save_fields": list(FIELDS),
        "compression": "none",
        **further,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return TrajectoryMeta(
        frame_dt=config.frame_dt,
        substep_dt=motion.substep_dt,
        frame_count=steps,
        dx=config.lattice.dx,
        gravity=config.g,
        walls=motion.walls(),
        objects=objects,
        settings=settings,
        hashes={"config": digest, **hashes},
        code_version=gaussians.__version__,
    )
