"""Define the settings of the commands that make videos."""

from dataclasses import dataclass
from pathlib import Path

from dataset.rendering.settings import PictureSettings
from dataset.scenes.capture_settings import CaptureSettings
from gaussians.files.storage_options import SplatFormat

SIMULATOR = "mpm"
"""Name of the simulator where it stands in for a model."""


@dataclass(frozen=True)
class PredictSettings:
    """A ``PredictSettings`` holds the settings of ``videogen.eval``.

    Attributes:
        model_path: a scene's directory or PLY file.
        dynamic_model: name of the model that predicts, or ``SIMULATOR``.
        checkpoint: the model's checkpoint, a .json file or a directory; None: the model's default one.
        output_path: directory for the videos.
        youngs_moduli: Young's modulus of each object by label, Pa; None: what config, scene or training data say.
        densities: density of each object by label, kg/m^3; None: what config, scene or training data say.
        capture: how a file of another program is placed in the world.
        external_forces: JSON file of forces by scene; None: no forces.
        steps: frames to predict, the present one included.
        images: write every frame as a PNG, too.
        trajectory: write the motion as a trajectory, too.
        gaussians: format in which to write the Gaussians themselves, None to leave them out.
        frames: frames whose Gaussians are written, None for all.
        view_folders: give the video of a single view a folder of its own, too.
        pictures: what pictures look like.
        data_root: root of the dataset, where objects that people added are described.
        device: ``auto``, ``cpu`` or ``cuda``.
        overwrite: make videos anew that are there already.
    """

    model_path: Path
    dynamic_model: str
    checkpoint: Path | None
    output_path: Path
    youngs_moduli: tuple[float, ...] | None
    densities: tuple[float, ...] | None
    capture: CaptureSettings
    external_forces: Path | None
    steps: int
    images: bool
    trajectory: bool
    gaussians: SplatFormat | None
    frames: tuple[int, ...] | None
    view_folders: bool
    pictures: PictureSettings
    data_root: Path
    device: str
    overwrite: bool


@dataclass(frozen=True)
class SideBySideSettings:
    """A ``SideBySideSettings`` holds the settings of ``videogen.side_by_side``.

    Attributes:
        videos: two or more videos of equal height, from left to right.
        titles: the title of each; none: the scene, and what the record beside it says.
        output: the .mp4 to write.
    """

    videos: tuple[Path, ...]
    titles: tuple[str, ...]
    output: Path
