"""Which trajectories are to be rendered before which backgrounds, and where to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.layout import BACKGROUND_CLOUDS, find_point_cloud, subdirectories
from dataset.rendering.views import View
from gaussians.stage.errors import InputError

NO_BACKGROUND = "ground"
"""What directories call the checkered ground."""


@dataclass(frozen=True)
class RenderJob:
    """One trajectory before one background.

    Attributes:
        trajectory: its directory.
        background: directory or PLY file; None for the ground.
        output: directory for the motion, if that is asked for.
        initial: directory for the initial views, if those are.
    """

    trajectory: Path
    background: Path | None
    output: Path | None
    initial: Path | None

    @property
    def scene(self) -> str:
        return self.trajectory.resolve().name

    @property
    def directory(self) -> Path:
        """What a process claims that does the job."""
        directory = self.output or self.initial
        assert directory is not None
        return directory

    def video(self, output: Path, view: View) -> Path:
        """Where the motion's video from ``view`` goes below ``output``."""
        return output / view.name / f"{self.scene}.mp4"


def find_jobs(
    model_path: Path, background_paths: Sequence[Path], output_path: Path | None, initial_path: Path | None
) -> list[RenderJob]:
    """Every trajectory that ``model_path`` means before every background that ``background_paths`` mean.

    Raises:
        InputError: a path holds no trajectory or no background, or two backgrounds have one name.
    """
    trajectories, backgrounds = find_trajectories(model_path), find_backgrounds(background_paths)
    group = trajectories != [model_path]
    jobs = []
    for trajectory in trajectories:
        for name, background in backgrounds.items():
            place = Path(trajectory.name if group else "", name if group or len(backgrounds) > 1 else "")
            output = None if output_path is None else output_path / place
            jobs.append(
                RenderJob(trajectory, background, output, None if initial_path is None else initial_path / place)
            )
    return jobs


def find_trajectories(path: Path) -> list[Path]:
    """The trajectories in ``path``; without any, ``path`` itself, of which its reader says what is wrong with it."""
    inside = [] if _is_trajectory(path) else [folder for folder in subdirectories(path) if _is_trajectory(folder)]
    return inside or [path]


def _is_trajectory(path: Path) -> bool:
    return any((path / name).is_file() for name in ("meta.json", "opacity.h5", "0000.h5"))


def find_backgrounds(paths: Sequence[Path]) -> dict[str, Path | None]:
    """The backgrounds that ``paths`` are or hold, by name; without any paths, the ground.

    Raises:
        InputError: a path is neither a background nor a directory of backgrounds, or two have one name.
    """
    found: list[Path] = []
    for path in paths:
        try:
            find_point_cloud(path)
        except InputError:
            inside = [folder for folder in subdirectories(path) if _holds_a_cloud(folder)]
            if not inside:
                raise
            found.extend(inside)
        else:
            found.append(path)
    names = [_background_name(path) for path in found]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"--background_path: {count} backgrounds are called {name!r}")
    return dict(zip(names, found, strict=True)) if found else {NO_BACKGROUND: None}


def _holds_a_cloud(folder: Path) -> bool:
    try:
        find_point_cloud(folder)
    except InputError:
        return False
    return True


def _background_name(path: Path) -> str:
    path = path.resolve()
    if path.is_file():
        return path.parent.name if path.name in BACKGROUND_CLOUDS else path.stem
    return path.name
