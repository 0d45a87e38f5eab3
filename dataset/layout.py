"""This module says where every file of the GSCollision dataset lies."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from gaussians.stage.errors import InputError

MADE_FROM = "made_from.json"
"""Record of what a scene, object or background was made from, in its folder; see ``gaussians.stage.provenance``."""
POINT_CLOUD = Path("point_cloud/iteration_30000/point_cloud.ply")
STAGES = ("scenes", "initial", "mpm", "dynamic", "reconstruct")
"""The folders that hold something of each scene, in the order in which they are filled."""
FOLDERS = ("objects", "backgrounds", "scene_configs", *STAGES)
BACKGROUND_CLOUDS = ("gaussians_feedforward.ply", "gaussians_postopt.ply")


@dataclass(frozen=True)
class Layout:
    """Gives the paths below the root of a dataset; docs/formats.md says what each file holds.

    Attributes:
        root: root directory of the dataset.
        objects_root: directory of the objects, None for ``root / "objects"``.
    """

    root: Path
    objects_root: Path | None = None

    @property
    def objects(self) -> Path:
        return self.objects_root or self.root / "objects"

    def object_dir(self, name: str) -> Path:
        return self.objects / name

    def object_ply(self, name: str) -> Path:
        return self.objects / name / POINT_CLOUD

    def object_json(self, name: str) -> Path:
        return self.objects / name / "object.json"

    @property
    def backgrounds(self) -> Path:
        return self.root / "backgrounds"

    def background_dir(self, name: str) -> Path:
        return self.backgrounds / name

    def placement_json(self, name: str) -> Path:
        return self.backgrounds / name / "placement.json"

    @property
    def scene_configs(self) -> Path:
        return self.root / "scene_configs"

    def scene_config(self, group: str) -> Path:
        return self.scene_configs / f"{group}.json"

    def scenes(self, group: str) -> Path:
        return self.root / "scenes" / group

    def scene_dir(self, group: str, scene: str) -> Path:
        return self.scenes(group) / scene

    def scene_ply(self, group: str, scene: str) -> Path:
        return self.scene_dir(group, scene) / POINT_CLOUD

    def mpm(self, group: str) -> Path:
        return self.root / "mpm" / group

    def mpm_dir(self, group: str, scene: str) -> Path:
        return self.mpm(group) / scene

    def groups_in_mpm(self) -> list[str]:
        """Return the names of the groups that have trajectories, in order."""
        return [path.name for path in subdirectories(self.root / "mpm")]

    def scenes_in_mpm(self, group: str) -> list[str]:
        """Return the names of the scenes of ``group`` that have trajectories, in the order of their numbers."""
        return [path.name for path in subdirectories(self.mpm(group))]


def subdirectories(directory: Path) -> list[Path]:
    """Return the directories inside a directory, ``2_x`` before ``10_x``, without hidden (half-written) ones."""
    if not directory.is_dir():
        return []
    paths = [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(paths, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[int, str]:
    number = name.partition("_")[0]
    return (int(number) if number.isdecimal() else -1, name)


def find_point_cloud(path: Path) -> Path:
    """Return the PLY file that a path stands for.

    Args:
        path: the file itself, or the directory of a scene, an object or a background.

    Raises:
        InputError: there is no such file.
    """
    if path.is_file():
        return path
    # Of several iterations, which other 3DGS programs number differently, the last one counts.
    iterations = sorted(path.glob("point_cloud/iteration_*/point_cloud.ply"), key=_iteration, reverse=True)
    for candidate in (*iterations, path / "point_cloud.ply", *(path / name for name in BACKGROUND_CLOUDS)):
        if candidate.is_file():
            return candidate
    raise InputError(f"{path}: expected a PLY file or a directory with {POINT_CLOUD} or {BACKGROUND_CLOUDS[0]}")


def _iteration(cloud: Path) -> int:
    """Return the number n of ``iteration_<n>/point_cloud.ply``, -1 where it is none."""
    number = cloud.parent.name.removeprefix("iteration_")
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 20 else -1


def check_config_path(path: Path) -> None:
    """Refuse a config file that is not there; a bare name may be that of one that comes with the project.

    Raises:
        InputError: there is no such file.
    """
    if path.name != str(path) and not path.exists():
        raise InputError(f"{path}: no such file")


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--data_root``, the root of the dataset."""
    parser.add_argument(
        "--data_root",
        type=Path,
        default=Path(os.environ.get("GSCOLLISION_ROOT", "data/GSCollision")),
        help="root of the dataset (environment variable GSCOLLISION_ROOT)",
    )
