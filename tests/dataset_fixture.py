"""Writes small datasets with every file that docs/formats.md names, as they are made here or as published.

Two scenes of one group: each two objects that fall, before one background. The contents are simple enough to compute:
``position`` and ``MOTION`` say where everything is.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import hdf5plugin
import numpy as np
import torch

from dataset.catalog import BACKGROUNDS, object_by_name, object_json
from dataset.layout import POINT_CLOUD
from gaussians.cameras import Cameras, Orbit, write_cameras
from gaussians.files.hdf5 import write_hdf5
from gaussians.files.splats.ply import write_ply
from gaussians.files.storage_options import FIELDS, Compression
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.files.video import VideoWriter
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.json_files import write_json

GROUP, BACKGROUND = "2", "table6"
OBJECTS = ("ball", "duck")
SCENES = ("0_ball_duck", "1_duck_ball")
COUNT = 20
"""Gaussians of each object."""
NUM_FRAMES, VIEWS, SIZE, FRAME_DT = 4, 6, 16, 0.02
MOTION = torch.tensor([0.0, 0.0, -0.05])
"""metres that everything moves from one frame to the next"""
TRANSLATIONS = [[0.0, 0.0, 0.3], [0.1, 0.0, -0.4]]
ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)


def object_gaussians(name: str) -> Gaussians:
    """An object as it lies in ``objects/<name>``."""
    generator = torch.Generator().manual_seed(len(name) + OBJECTS.index(name))
    return Gaussians(
        means=torch.rand(COUNT, 3, generator=generator) - 0.5,
        opacities=torch.rand(COUNT, generator=generator) * 0.8 + 0.1,
        sh=torch.randn(COUNT, 4, 3, generator=generator) * 0.3,
        scales=torch.rand(COUNT, 3, generator=generator) * 0.04 + 0.01,
        quaternions=torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=generator), dim=1),
    )


def scene_gaussians(scene: str) -> Gaussians:
    """A scene's Gaussians with labels, in the order of its PLY."""
    parts = []
    for label, (name, translation) in enumerate(zip(names_of(scene), TRANSLATIONS, strict=True)):
        part = object_gaussians(name).transformed(
            translation=torch.tensor(translation), scale=object_by_name(name).scale
        )
        labels = torch.full((COUNT,), label, dtype=torch.int32)
        parts.append(Gaussians(part.means, part.opacities, part.sh, part.scales, part.quaternions, labels=labels))
    return Gaussians.cat(parts)


def names_of(scene: str) -> list[str]:
    return scene.split("_")[1:]


def frame_of(gaussians: Gaussians, k: int) -> Frame:
    count = len(gaussians)
    velocities = (MOTION / FRAME_DT).expand(count, 3)
    return Frame(gaussians.means + k * MOTION, gaussians.covariance(), torch.eye(3).expand(count, 3, 3), velocities)


def write_dataset(root: Path, compression: Compression = "none", dtype: Any = "float32") -> Path:
    """A dataset as the commands make it."""
    for name in OBJECTS:
        write_ply(root / "objects" / name / POINT_CLOUD, object_gaussians(name))
        write_json(root / "objects" / name / "object.json", object_json(object_by_name(name)))
    background = root / "backgrounds" / BACKGROUND
    write_ply(background / "gaussians_feedforward.ply", object_gaussians("ball"))
    placement = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1, "center": [0, 0, 0], "crop": False}
    write_json(background / "placement.json", placement)
    _write_config(root)
    for scene in SCENES:
        _write_scene(root, scene)
        _write_trajectory(root, scene, compression, dtype)
        initial = root / "initial" / GROUP / scene / BACKGROUND
        _write_initial(initial, scene)
        _write_motion(root / "dynamic" / GROUP / scene / BACKGROUND, scene)
        for part in ("sim", "sim_refine", "bg"):
            _write_reconstruction(root / "reconstruct" / GROUP / scene / BACKGROUND / part, scene)
    return root


def write_published_dataset(root: Path, compression: Any = None) -> Path:
    """A dataset as published: no description of anything, half precision, HDF5 compressed by hdf5plugin's filters."""
    compression = hdf5plugin.Blosc("zstd") if compression is None else compression
    for name in OBJECTS:
        write_ply(root / "objects" / name / POINT_CLOUD, object_gaussians(name))
    background = root / "backgrounds" / BACKGROUND
    assert BACKGROUND in BACKGROUNDS
    far = object_gaussians("ball").transformed(translation=torch.tensor([5.0, 0.0, 0.0]))
    write_ply(background / "gaussians_postopt.ply", far)
    cameras = {"intrinsics": torch.eye(3).expand(VIEWS, 3, 3), "extrinsics": torch.eye(4).expand(VIEWS, 4, 4)}
    torch.save(cameras, background / "camera_2999.pt")
    _write_config(root)
    for scene in SCENES:
        gaussians = scene_gaussians(scene)
        folder = root / "scenes" / GROUP / scene
        write_ply(folder / POINT_CLOUD, gaussians)
        write_cameras(folder / "cameras.json", _cameras())
        _write_published_trajectory(root / "mpm" / GROUP / scene, gaussians, compression)
        initial = root / "initial" / GROUP / scene / BACKGROUND
        _write_initial(initial, scene)
        prompts = json.loads((initial / "prompts.json").read_text())
        del prompts["point"]
        write_json(initial / "prompts.json", prompts)
        _write_motion(root / "dynamic" / GROUP / scene / BACKGROUND, scene)
    (root / "README.md").write_text("# GSCollision\n")
    return root


def _write_config(root: Path) -> None:
    entries = {scene: [object_by_name(name) for name in names_of(scene)] for scene in SCENES}
    config = {
        scene: {
            "scene_object_idxs": [entry.index for entry in objects],
            "translation": TRANSLATIONS,
            "scale": [entry.scale for entry in objects],
        }
        for scene, objects in entries.items()
    }
    write_json(root / "scene_configs" / f"{GROUP}.json", config)


def _write_scene(root: Path, scene: str) -> None:
    folder, gaussians = root / "scenes" / GROUP / scene, scene_gaussians(scene)
    write_ply(folder / POINT_CLOUD, gaussians)
    write_cameras(folder / "cameras.json", _cameras())
    np.save(folder / "segmentation.npy", gaussians.labels.numpy())
    entries = [
        {"label": label, "name": name, "index": object_by_name(name).index, "count": COUNT, "material": "jelly"}
        | {"youngs_modulus": 1e5, "density": 500.0}
        for label, name in enumerate(names_of(scene))
    ]
    write_json(folder / "objects.json", entries)


def _write_trajectory(root: Path, scene: str, compression: Compression, dtype: Any) -> None:
    """The second object first, as a simulation may order them, and the last Gaussian of the scene left out."""
    order = torch.cat([torch.arange(COUNT, 2 * COUNT - 1), torch.arange(COUNT)])
    gaussians = scene_gaussians(scene)[order]
    objects = [
        TrajectoryObject(
            name=name,
            label=label,
            index=object_by_name(name).index,
            count=int((gaussians.labels == label).sum()),
            youngs_modulus=1e5,
            nu=0.3,
            density=500,
            mass=5,
            volume=0.01,
        )
        for label, name in enumerate(names_of(scene))
    ]
    meta = TrajectoryMeta(
        frame_dt=FRAME_DT,
        substep_dt=1e-4,
        frame_count=NUM_FRAMES,
        dx=0.02,
        gravity=(0, 0, -5),
        walls=Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94),
        objects=objects,
        settings={"save_fields": list(FIELDS)},
        hashes={"point_cloud": file_hash(root / "scenes" / GROUP / scene / POINT_CLOUD)},
    )
    path = root / "mpm" / GROUP / scene
    settings: dict[str, Any] = {"dtype": dtype, "compression": compression}
    rows = (gaussians.opacities, gaussians.sh, gaussians.labels, order)
    with TrajectoryWriter(path, meta, *rows, **settings) as writer:
        for k in range(NUM_FRAMES):
            writer.write(frame_of(gaussians, k))
        writer.finish(wall_time=1.5)


def _write_published_trajectory(path: Path, gaussians: Gaussians, compression: Any) -> None:
    path.mkdir(parents=True)

    def write(name: str, **arrays: torch.Tensor) -> None:
        with h5py.File(path / name, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array.numpy().astype(np.float16), **compression)

    write("opacity.h5", opacity=gaussians.opacities[:, None])
    write("shs.h5", shs=gaussians.sh)
    for k in range(NUM_FRAMES):
        frame = frame_of(gaussians, k)
        # The last five rows do not move.
        write(f"{k:04d}.h5", pos=frame.means, cov3D=frame.covariances, rot=frame.rotations[:-5])


def _cameras() -> Cameras:
    return ORBIT.cameras(range(VIEWS), SIZE)


def picture(k: int) -> np.ndarray:
    """Noise, so that every frame takes some bytes of a video, (SIZE, SIZE, 3) uint8."""
    return np.random.default_rng(k).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def write_video(path: Path, num_frames: int, fps: int = round(1 / FRAME_DT)) -> None:
    with VideoWriter(path, fps) as writer:
        for k in range(num_frames):
            writer.write(picture(k))


def _write_stack(file: Path, name: str, folder: Path, stack: np.ndarray, names: list[str], **scalars: Any) -> None:
    datasets = {name: stack} | {key: np.asarray(value, np.float32) for key, value in scalars.items()}
    write_hdf5(file, datasets, "gzip", chunks=(1, SIZE, SIZE))
    folder.mkdir()
    for png, level in zip(names, stack, strict=True):
        cv2.imwrite(str(folder / png), level)


def _write_initial(path: Path, scene: str) -> None:
    write_video(path / f"{scene}.mp4", VIEWS)
    write_cameras(path / "cameras.json", _cameras())
    points = [[7.5, 6.0], [8.0, 9.0]]
    boxes = [[5.0, 4.0, 9.0, 7.0], [6.0, 7.0, 11.0, 12.0]]
    texts = [object_by_name(name).prompt for name in names_of(scene)]
    write_json(path / "prompts.json", {"point": points, "center_point": points, "bbox": boxes, "text": texts})
    levels = np.arange(VIEWS * SIZE * SIZE, dtype=np.uint16).reshape(VIEWS, SIZE, SIZE) * 40
    names = [f"view_{k}.png" for k in range(VIEWS)]
    _write_stack(path / "depth.h5", "depth", path / "depth", levels, names, depth_max=5.0)


def _write_motion(path: Path, scene: str) -> None:
    for view in ("view_0", "view_84", "circle360"):
        write_video(path / view / f"{scene}.mp4", NUM_FRAMES)
    view = path / "view_0"
    (view / "rgb").mkdir()
    for k in range(NUM_FRAMES):
        cv2.imwrite(str(view / "rgb" / f"{k:04d}.png"), picture(k))
    masks = np.arange(NUM_FRAMES * SIZE * SIZE).reshape(NUM_FRAMES, SIZE, SIZE) % (len(OBJECTS) + 1)
    names = [f"{k:04d}.png" for k in range(NUM_FRAMES)]
    _write_stack(view / "masks.h5", "mask", view / "masks", masks.astype(np.uint8), names)


def _write_reconstruction(path: Path, scene: str) -> None:
    gaussians = scene_gaussians(scene)
    write_ply(path / POINT_CLOUD, gaussians)
    write_cameras(path / "cameras.json", _cameras())
    if path.name != "bg":
        np.save(path / "segmentation.npy", gaussians.labels.numpy() + 1)  # labels may begin at 1
