"""Valid files of every format that is read, and what reads each."""

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import zstandard
from PIL import Image

from dataset.catalog import object_by_name
from dataset.config import load_config
from dataset.layout import Layout
from dataset.rendering.background import load_background
from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.captures import placed_capture
from dataset.scenes.scene_configs import read_scenes
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_objects import trajectory_objects
from dataset.simulation.scene_particles import particles_of_scene
from dynamic_models.data.keypoints import extract_keypoints
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from dynamic_models.models.registry import build_model
from gaussians.cameras import read_cameras
from gaussians.files.external_forces import read_external_forces
from gaussians.files.prompts import Prompts, read_prompts, write_prompts
from gaussians.files.splats.splat_formats import read_splats, write_splats
from gaussians.files.trajectory_format import trajectory_digest
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import Provenance, read_record
from tests.dataset_fixture import BACKGROUND, GROUP, SCENES, object_gaussians, write_dataset, write_published_dataset
from tests.gaussians.files.splats.test_ply import encode, random_columns
from tests.gaussians.files.test_colmap_model import write_binary, write_text
from tools.checks.dataset_walk import DatasetTree
from tools.viewer.scene.splat_source import open_source
from videogen.pipeline.batch_file import read_batch
from videogen.reconstruction.object_clouds import described_objects
from videogen.reconstruction.posing.camera_files import pose_pictures, read_camera_file
from videogen.reconstruction.posing.pictures import Pictures, read_pictures
from videogen.reconstruction.scene_list import read_scene_list
from videogen.reconstruction.segmentation.given_masks import read_masks
from videogen.reconstruction.segmentation.segmenters import SegmentationInput, segment
from videogen.reconstruction.stage_results import StageResults

ROOT = Path(__file__).resolve().parents[2]
SCENE = SCENES[0]


@dataclass(frozen=True)
class Corpus:
    """Valid files, and what reads them.

    Attributes:
        write: writes the files into a folder.
        read: reads them from there.
        targets: patterns of the files to damage.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], None]
    targets: tuple[str, ...] = ("*",)


def _write_plys(folder: Path) -> None:
    columns = random_columns(1, 30)
    for kind in ("ascii", "binary_little_endian", "binary_big_endian"):
        (folder / f"{kind}.ply").write_bytes(encode(columns, kind))
    surfels = {name: values for name, values in columns.items() if name != "scale_2"}
    (folder / "surfels.ply").write_bytes(encode(surfels | {"filter_3D": np.ones(30, np.float32)}))
    coloured = {name: values for name, values in columns.items() if not name.startswith("f_")}
    colours = {name: np.full(30, 0.5, np.float32) for name in ("red", "green", "blue")}
    (folder / "coloured.ply").write_bytes(encode(coloured | colours, "ascii"))
    faces = "element face 2\nproperty list uchar int vertex_indices\n"
    head, mark, rows = encode(columns, head=faces).partition(b"end_header\n")
    (folder / "faces.ply").write_bytes(head + mark + (b"\x01" + bytes(4)) * 2 + rows)


def _write_splats(folder: Path) -> None:
    gaussians = object_gaussians("duck")
    write_splats(folder / "a.compressed.ply", gaussians, "compressed.ply")
    write_splats(folder / "v3.spz", gaussians, "spz")
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, width * 20, np.uint8).tobytes() for width in (9, 1, 3, 3, 4, 9)]
    streams = [zstandard.ZstdCompressor().compress(part) for part in parts]
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 20, 1, 12, 0, 6, 32)
    table = b"".join(struct.pack("<QQ", len(s), len(part)) for s, part in zip(streams, parts, strict=True))
    (folder / "v4.spz").write_bytes(head + table + b"".join(streams))
    rows = np.zeros(20, [("xyz", "<f4", 3), ("scale", "<f4", 3), ("bytes", "u1", 8)])
    rows["xyz"], rows["scale"], rows["bytes"] = random.normal(size=(20, 3)), 0.1, random.integers(0, 256, (20, 8))
    rows.tofile(folder / "a.splat")
    assert gaussians.scales is not None
    contents = {"means": gaussians.means, "scales": gaussians.scales.log(), "rotations": gaussians.quaternions}
    contents |= {"opacities": gaussians.opacities.logit(), "harmonics": gaussians.sh, "labels": torch.arange(20) % 3}
    torch.save(contents, folder / "a.pt")


def _read_splats(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        for keep_rows in (True, False):
            attempt(read_splats, path, keep_rows)
        attempt(placed_capture, path, CaptureSettings())
        attempt(open_source, path, Layout(folder))


def attempt(function: Callable, *arguments: object) -> None:
    """Call a reader whose refusal leaves the others to be tried."""
    with contextlib.suppress(InputError):  # whose message is one line, whatever it quotes
        function(*arguments)


def _write_background(folder: Path) -> None:
    root = write_published_dataset(folder / "published")
    background = root / "backgrounds" / BACKGROUND
    placement = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1}
    (background / "placement.json").write_text(json.dumps(placement))


def _read_trajectory(folder: Path) -> None:
    for root in (folder / "ours", folder / "published"):
        reader = TrajectoryReader(root / "mpm" / GROUP / SCENE)
        attempt(reader.check_frames)
        attempt(trajectory_objects, reader, Layout(root))
        attempt(trajectory_digest, reader.path)
        for k in range(len(reader)):
            attempt(reader.gaussians, k)
            attempt(reader.frame, k)
        attempt(open_source, reader.path, Layout(root))


def _write_trajectories(folder: Path) -> None:
    write_dataset(folder / "ours", "blosc-zstd", "float16")
    write_published_dataset(folder / "published")


def _read_scene(folder: Path) -> None:
    root, config = folder / "ours", load_config(ROOT / "config" / "quickstart_config.json")
    path = root / "scenes" / GROUP / SCENE
    attempt(read_cameras, path / "cameras.json")
    attempt(open_source, path, Layout(root))
    particles_of_scene(read_scene(path, Layout(root)), config)


def _write_configs(folder: Path) -> None:
    for path in (ROOT / "config").glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    conditions = json.loads((ROOT / "config" / "quickstart_config.json").read_text())
    conditions |= {
        "boundary_conditions": [
            {"type": "bounding_box"},
            {"type": "surface_collider", "point": [2, 2, 1], "normal": [0, 0, 1], "friction": 0.5},
        ],
        "additional_material_params": [{"point": [2, 2, 1], "size": [1, 1, 1], "E": 1e5}],
        "particle_filling": {"n_grid": 100},
        "initial_velocity": {"ball": [1, 0, 0]},
    }
    (folder / "conditions.json").write_text(json.dumps(conditions))


def _read_configs(folder: Path) -> None:
    for path in folder.iterdir():
        attempt(lambda path=path: load_config(path).simulation_settings())


def _write_small_json(folder: Path) -> None:
    push = {"obj_id": 1, "start": 0.1, "end": 0.3, "force": [2, 0, 0], "torque": [0, 0, 0.1], "mass": 0.5}
    (folder / "forces.json").write_text(json.dumps({SCENE: [push, push]}))
    placed = {"scene_object_idxs": [0, 7], "translation": [[0, 0, 0.3], [0.1, 0, -0.2]], "scale": [0.4, 0.3]}
    (folder / "scenes.json").write_text(json.dumps({SCENE: placed}))
    Provenance(folder / "record.json", {"config": {"a": 1}, "scene": "0123"}).write([folder / "forces.json"])
    custom = {"index": 100, "youngs_modulus": 3e5, "density": 300, "scale": 0.3, "prompt": "A x.", "material": "jelly"}
    (folder / "objects" / "statue").mkdir(parents=True)
    (folder / "objects" / "statue" / "object.json").write_text(json.dumps(custom))


def _read_small_json(folder: Path) -> None:
    layout = Layout(folder)
    attempt(read_external_forces, folder / "forces.json")
    attempt(read_record, folder / "record.json")
    attempt(lambda: Provenance(folder / "record.json", {"config": {"a": 2}}).is_current([folder / "forces.json"]))
    attempt(object_by_name, "statue", layout)
    attempt(read_scenes, folder / "scenes.json", layout)


def _write_checkpoint(folder: Path) -> None:
    torch.manual_seed(0)
    settings = {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1}
    info = CheckpointInfo(settings=settings, num_keypoints=16, frame_dt=0.02, materials={"density": 500.0})
    save_checkpoint(folder / "best.json", build_model(settings), info)


def _read_checkpoint(folder: Path) -> None:
    load_checkpoint(folder)


def _read_weights(folder: Path) -> None:
    """With the hash of the damaged weights, as somebody with intent would write it."""
    info = json.loads((folder / "best.json").read_text())
    digest = hashlib.sha256((folder / info["weights"]).read_bytes()).hexdigest()
    (folder / "best.json").write_text(json.dumps(info | {"sha256": digest}))
    load_checkpoint(folder)


def _write_keypoints(folder: Path) -> None:
    write_dataset(folder / "ours")
    _read_keypoints(folder)


def _read_keypoints(folder: Path) -> None:
    reader = TrajectoryReader(folder / "ours" / "mpm" / GROUP / SCENE)
    assert reader.labels is not None
    clip = extract_keypoints(reader, reader.labels, 4, folder / "cache.safetensors")
    assert clip.positions.isfinite().all()


def _write_dataset(folder: Path) -> None:
    """A dataset without videos, which take long to decode."""
    for path in write_dataset(folder / "ours", "gzip").rglob("*.mp4"):
        path.unlink()


def _check_dataset(folder: Path) -> None:
    tree = DatasetTree(folder / "ours")
    for check in (*tree.checks_outside_scenes(), tree.scene_check(GROUP, SCENE, quick=True)):
        for defect in check().defects:
            assert "\n" not in defect


def _write_captures(folder: Path) -> None:
    """Photographs, with their cameras in each of the formats of other programs."""
    (folder / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("1.jpg", "2.jpg", "3.png", "4.tif"):
        turned = name.endswith("jpg")
        picture = Image.new("RGB", (12, 16) if turned else (16, 12), (90, 120, 30))
        picture.save(folder / "images" / name, exif=exif if turned else Image.Exif())
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frames = [{"file_path": f"images/{n}.png", "transform_matrix": pose, "k1": 0.1} for n in range(1, 5)]
    lens = {"camera_model": "OPENCV", "w": 16, "h": 12, "fl_x": 20, "fl_y": 21, "cx": 8, "cy": 6, "k2": 0.01, "p1": 0}
    (folder / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))
    for name, write in (("text", write_text), ("binary", write_binary)):
        (folder / name).mkdir()
        write(folder / name)


def _read_captures(folder: Path) -> None:
    attempt(read_pictures, folder)
    images = torch.zeros(4, 12, 16, 3, dtype=torch.uint8)
    pictures = Pictures(images, ("1", "2", "3", "4"), (0, 1, 2, 3), folder / "images", 4, (16, 12))
    for path in (folder / "transforms.json", folder / "text", folder / "binary"):
        attempt(lambda path=path: pose_pictures(pictures, read_camera_file(path, pictures)))


def _write_reconstruction(folder: Path) -> None:
    """What people bring beside pictures, lists of scenes, and the result of a stage."""
    boxes = ((2.0, 2.0, 6.0, 9.0), (8.0, 1.0, 14.0, 10.0))
    write_prompts(folder / "prompts.json", Prompts(boxes=boxes, points=((4, 5), (11, 6)), texts=("A duck.", "A can.")))
    (folder / "scenes.json").write_text(json.dumps([{"data_path": "desk", "save_folder": n} for n in ("a", "b")]))
    (folder / "batch.json").write_text(json.dumps([{"data_path": "desk", "views": "0,circle360"}, {"data_path": "b"}]))
    for place in ("labels", "objects/duck", "objects/can"):
        (folder / place).mkdir(parents=True)
        for number in range(3):
            mask = Image.new("L" if number else "P", (16, 12))
            mask.paste(number + 1, (2, 2, 9, 9))
            mask.save(folder / place / f"{number}.{'tif' if number == 2 else 'png'}")
    _stage(folder / "stages")


def _stage(folder: Path) -> None:
    made = {"labels": torch.ones(3, 12, 16, dtype=torch.uint8), "means": torch.zeros(20, 3)}
    tensors, facts, _ = StageResults(folder, overwrite=False).get("masks", {"seed": 0}, lambda: (made, {"notes": []}))
    assert isinstance(facts, dict)
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def _read_reconstruction(folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    images = torch.from_numpy(np.stack([image] * 3))

    def segmented(kind: Literal["bbox", "point"]) -> None:
        prompts = read_prompts(folder / "prompts.json")
        described_objects(prompts.names, torch.zeros(5, dtype=torch.int32))
        segment(SegmentationInput(images, prompts.scaled((16, 12), (16, 12)), kind), "grabcut")

    attempt(segmented, "bbox")
    attempt(segmented, "point")
    attempt(read_scene_list, folder / "scenes.json")
    attempt(read_batch, folder / "batch.json", ())
    for place in ("labels", "objects"):
        attempt(read_masks, folder / place, ("0", "1", "2"), (0, 1, 2), 3, 16, 12)
    attempt(_stage, folder / "stages")


MPM = f"*/mpm/{GROUP}/{SCENE}/*"
CORPORA = {
    "ply": Corpus(_write_plys, _read_splats),
    "splats": Corpus(_write_splats, _read_splats),
    "background": Corpus(
        _write_background,
        lambda folder: load_background(folder / "published" / "backgrounds" / BACKGROUND) and None,
        (f"published/backgrounds/{BACKGROUND}/*",),
    ),
    "trajectory": Corpus(_write_trajectories, _read_trajectory, (MPM,)),
    "scene": Corpus(
        lambda folder: write_dataset(folder / "ours") and None,
        _read_scene,
        (f"ours/scenes/{GROUP}/{SCENE}/*.*", f"ours/scenes/{GROUP}/{SCENE}/*/*/*.ply"),
    ),
    "config": Corpus(_write_configs, _read_configs),
    "small json": Corpus(_write_small_json, _read_small_json, ("*.json", "objects/statue/*")),
    "checkpoint": Corpus(_write_checkpoint, _read_checkpoint),
    "weights": Corpus(_write_checkpoint, _read_weights, ("*.safetensors",)),
    "keypoints": Corpus(_write_keypoints, _read_keypoints, ("*.safetensors", MPM)),
    "captures": Corpus(_write_captures, _read_captures, ("*/*", "*.json")),
    "reconstruction": Corpus(_write_reconstruction, _read_reconstruction, ("*.json", "stages/*", "l*/*", "*/*/*.*")),
    "dataset": Corpus(
        _write_dataset,
        _check_dataset,
        ("*/objects/*/*.json", "*/backgrounds/*/*", "*/scene_configs/*", MPM, f"*/initial/{GROUP}/{SCENE}/*/*.*"),
    ),
}
