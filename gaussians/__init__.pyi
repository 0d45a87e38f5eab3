from .cameras import Cameras, Orbit, look_at, read_cameras, write_cameras
from .files.labels import read_labels
from .files.splats.ply import read_ply, write_ply
from .files.splats.splat_formats import read_splats, write_splats
from .files.splats.tensor_file import read_tensor_file
from .files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls, read_meta
from .files.trajectory_reader import TrajectoryReader
from .files.trajectory_writer import TrajectoryWriter
from .files.video import VideoWriter, frame_rate, read_video
from .rasterization.api import Rendered, rasterize
from .rasterization.instance_masks import instance_masks
from .representation import Gaussians
from .spherical_harmonics import rgb_to_sh
from .stage.errors import InputError

__all__ = [
    "Cameras",
    "Frame",
    "Gaussians",
    "InputError",
    "Orbit",
    "Rendered",
    "TrajectoryMeta",
    "TrajectoryObject",
    "TrajectoryReader",
    "TrajectoryWriter",
    "VideoWriter",
    "Walls",
    "frame_rate",
    "instance_masks",
    "look_at",
    "rasterize",
    "read_cameras",
    "read_labels",
    "read_meta",
    "read_ply",
    "read_splats",
    "read_tensor_file",
    "read_video",
    "rgb_to_sh",
    "write_cameras",
    "write_ply",
    "write_splats",
]

__version__: str
