"""This module reads names of scenes, ``<number>_<object>_<object>...``, and finds the scene of a path."""

import re
from collections.abc import Iterable
from pathlib import Path

_RECONSTRUCTIONS = ("sim", "sim_refine")


def scene_name(number: int, objects: Iterable[str]) -> str:
    """Return the name of a scene of these objects, for instance ``"7_panda_ball_can"``."""
    return "_".join([str(number), *objects])


def objects_in_name(name: str) -> tuple[str, ...]:
    """Return the objects that a scene's name lists, in order; none where a name has another form.

    >>> objects_in_name("7_panda_ball_can")
    ('panda', 'ball', 'can')
    """
    number, *objects = name.split("_")
    return tuple(objects) if number.isdecimal() else ()


def scene_directory(path: Path) -> Path:
    """Return the directory in which a scene's files lie.

    Args:
        path: the directory itself, or a PLY file in it or in its ``point_cloud/iteration_<n>``.
    """
    if not path.is_file():
        return path
    folder = path.parent
    if folder.parent.name == "point_cloud" and re.fullmatch(r"iteration_\d+", folder.name):
        return folder.parent.parent
    return folder


def scene_of(path: Path) -> str:
    """Return the name of the scene that a path belongs to.

    That is the name of the scene's directory, or of a PLY file that is not called point_cloud.ply; of a reconstruction
    in ``<scene>/<background>/sim`` or ``sim_refine`` it is that of the scene. No other folder above it counts.

    Args:
        path: a scene's directory or PLY file, a reconstruction's, or a trajectory's directory.
    """
    path = path.resolve()
    if path.is_file() and path.stem != "point_cloud":
        return path.stem
    folder = scene_directory(path)
    if folder.name not in _RECONSTRUCTIONS:
        return folder.name
    above = folder.parts[-2:-4:-1]
    return next((part for part in above if objects_in_name(part)), above[0])
