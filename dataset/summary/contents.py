"""This module counts the files, scenes and objects of a dataset, and collects how scenes were simulated."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dataset.catalog import FIRST_CUSTOM_INDEX, ObjectEntry, all_objects
from dataset.layout import FOLDERS, STAGES, Layout, subdirectories
from dataset.rendering.views import ORBIT_VIEWS
from dataset.scenes.scene_configs import read_scenes
from dataset.scenes.scene_names import objects_in_name
from gaussians.files.storage_options import FIELDS
from gaussians.files.trajectory_format import TrajectoryMeta, read_meta

VIEW_NAMES = (*(f"view_{k}" for k in range(ORBIT_VIEWS)), "circle360", "circle360_jitter")


@dataclass(frozen=True)
class SceneSummary:
    """Summarizes one scene.

    Attributes:
        group: name of the scene's group.
        name: name of the scene.
        objects: names of its objects.
        stages: those of ``STAGES`` that have a directory of the scene.
        simulated: whether its trajectory is complete.
        num_frames: number of frames of the trajectory, 0 without one.
        meta: meta data of the trajectory, None for a published one or without any.
        videos: videos of its motion, fixed views first, in the order of their numbers.
    """

    group: str
    name: str
    objects: tuple[str, ...]
    stages: frozenset[str]
    simulated: bool
    num_frames: int
    meta: TrajectoryMeta | None
    videos: tuple[Path, ...]

    @property
    def drawable(self) -> bool:
        """Return whether the trajectory can be drawn."""
        return self.simulated and (self.meta is None or "cov3D" in self.meta.settings.get("save_fields", FIELDS))


@dataclass
class Statistics:
    """Counts what a whole dataset holds.

    Attributes:
        root: root directory of the dataset.
        scenes: all scenes, by group and number.
        sizes: bytes below each folder of ``FOLDERS`` that is there.
        files: number of files below each folder.
        catalogue: the objects that scenes may hold, by name.
        backgrounds: names of the backgrounds.
    """

    root: Path
    scenes: list[SceneSummary]
    sizes: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    catalogue: dict[str, ObjectEntry] = field(default_factory=dict)
    backgrounds: list[str] = field(default_factory=list)

    @property
    def groups(self) -> dict[str, list[SceneSummary]]:
        """Return the scenes of each group."""
        groups: dict[str, list[SceneSummary]] = {}
        for scene in self.scenes:
            groups.setdefault(scene.group, []).append(scene)
        return groups

    def occurrences(self) -> Counter[str]:
        """Return how many times each object stands in a scene; 0 for objects that stand in none."""
        present = {path.name: 0 for path in subdirectories(self.root / "objects")}
        return Counter(present | Counter(name for scene in self.scenes for name in scene.objects))

    def scenes_with(self, name: str) -> int:
        """Return how many scenes hold an object."""
        return sum(name in scene.objects for scene in self.scenes)


def collect(root: Path) -> Statistics:
    """Collect the names of a dataset's files and the meta data of its trajectories.

    Raises:
        InputError: a scene config, object.json or meta.json is damaged.
    """
    layout = Layout(root)
    catalogue = {entry.name: entry for entry in all_objects(layout)}
    pairs = list(_scene_names(layout))
    scenes = [
        _summary(layout, group, name, objects) for group, name, objects in tqdm(pairs, desc="scenes", unit="scene")
    ]
    backgrounds = [path.name for path in subdirectories(layout.backgrounds)]
    statistics = Statistics(root, scenes, catalogue=catalogue, backgrounds=backgrounds)
    for folder in FOLDERS:
        for size in _file_sizes(root / folder):
            statistics.sizes[folder] += size
            statistics.files[folder] += 1
    return statistics


def _scene_names(layout: Layout) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the group, name and objects of each scene that a config names or a folder holds."""
    configs = {path.stem for path in layout.scene_configs.glob("*.json") if not path.name.startswith(".")}
    folders = {path.name for stage in STAGES for path in subdirectories(layout.root / stage)}
    for group in sorted(configs | folders):
        config = layout.scene_config(group)
        found = {}
        if config.is_file():
            placed = read_scenes(config, layout)
            found = {name: tuple(item.entry.name for item in objects) for name, objects in placed.items()}
        for stage in STAGES:
            for path in subdirectories(layout.root / stage / group):
                found.setdefault(path.name, objects_in_name(path.name))
        yield from ((group, name, objects) for name, objects in found.items())


def _summary(layout: Layout, group: str, name: str, objects: tuple[str, ...]) -> SceneSummary:
    trajectory = layout.mpm_dir(group, name)
    meta = read_meta(trajectory)
    frames = sum(path.stem.isdecimal() for path in trajectory.glob("*.h5")) if trajectory.is_dir() else 0
    folders = {stage: layout.root / stage / group / name for stage in STAGES}
    return SceneSummary(
        group,
        name,
        objects,
        stages=frozenset(stage for stage, path in folders.items() if path.is_dir()),
        simulated=frames > 0 and (meta is None or meta.complete),
        num_frames=meta.frame_count if meta else frames,
        meta=meta,
        videos=tuple(_videos(folders["dynamic"], name)),
    )


def _videos(folder: Path, scene: str) -> list[Path]:
    candidates = (path / view / f"{scene}.mp4" for path in subdirectories(folder) for view in VIEW_NAMES)
    return [path for path in candidates if path.is_file()]


def _file_sizes(folder: Path) -> Iterator[int]:
    for directory, _, names in os.walk(folder):
        yield from (os.stat(os.path.join(directory, name)).st_size for name in names if not name.startswith("."))


def split_of(entry: ObjectEntry) -> str:
    """Return a word for the part of the dataset that an object belongs to."""
    return "added" if entry.index >= FIRST_CUSTOM_INDEX else entry.split
