"""docs/formats.md against the files: a reader written from the page alone reads what is written."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import POINT_CLOUD
from gaussians.files.splats.ply import read_ply
from gaussians.files.storage_options import COMPRESSIONS
from gaussians.files.trajectory_format import TrajectoryMeta, TrajectoryObject
from gaussians.files.trajectory_reader import TrajectoryReader
from tests import minimal_reader
from tests.dataset_fixture import (
    BACKGROUND,
    COUNT,
    GROUP,
    MOTION,
    NUM_FRAMES,
    SCENES,
    TRANSLATIONS,
    object_gaussians,
    scene_gaussians,
    write_dataset,
    write_published_dataset,
)
from tools.checks.dataset_walk import DatasetTree

PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
SCENE = SCENES[0]
FAST = {"n_grid": 32, "substep_dt": 1e-3, "frame_dt": 0.02, "frame_num": 5, "E": 1e5, "density": 500, "nu": 0.3}


def test_the_reader_imports_nothing_of_ours():
    source = (Path(__file__).parent / "minimal_reader.py").read_text(encoding="utf-8")
    imported = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    assert sorted(imported) == ["h5py", "hdf5plugin", "json", "numpy", "pathlib"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_dataset_of_ours_is_read_by_the_page_alone(tmp_path, compression):
    root = write_dataset(tmp_path, compression=compression)
    cloud = minimal_reader.read_ply(root / "scenes" / GROUP / SCENE / minimal_reader.PLY)
    expected = scene_gaussians(SCENE)
    # float32 roundings of logits and logarithms.
    for name in ("means", "opacities", "sh", "scales", "quaternions"):
        np.testing.assert_allclose(cloud[name], getattr(expected, name), rtol=1e-5, atol=1e-6)
    trajectory = minimal_reader.Trajectory(root / "mpm" / GROUP / SCENE)
    assert (trajectory.num_frames, trajectory.frame_dt) == (NUM_FRAMES, 0.02)
    labels = minimal_reader.read_labels(root / "scenes" / GROUP / SCENE / "segmentation.npy")
    assert np.array_equal(trajectory.labels, labels[trajectory.source_index])
    for k in range(NUM_FRAMES):
        frame = trajectory.frame(k)
        still = cloud["means"][trajectory.source_index]
        np.testing.assert_allclose(frame["pos"], still + k * MOTION.numpy(), atol=1e-6)
        np.testing.assert_allclose(frame["vel"], np.broadcast_to(MOTION / 0.02, (2 * COUNT - 1, 3)), atol=1e-6)
        assert frame["cov3D"].shape == (2 * COUNT - 1, 6)
    config = json.loads((root / "scene_configs" / f"{GROUP}.json").read_text())[SCENE]
    placed = object_gaussians("duck").means.numpy() * config["scale"][1] + TRANSLATIONS[1]
    np.testing.assert_allclose(cloud["means"][COUNT:], placed, atol=1e-6)
    initial = root / "initial" / GROUP / SCENE / BACKGROUND
    depth = minimal_reader.read_depth(initial / "depth.h5")
    assert depth.max() <= 5
    masks = minimal_reader.read_masks(root / "dynamic" / GROUP / SCENE / BACKGROUND / "view_0" / "masks.h5")
    assert sorted(np.unique(masks)) == [-1, 0, 1]
    assert len(minimal_reader.read_prompts(initial / "prompts.json")["bbox"]) == 2
    part = root / "reconstruct" / GROUP / SCENE / BACKGROUND / "sim_refine"
    assert np.array_equal(minimal_reader.read_labels(part / "segmentation.npy"), labels)


def test_a_published_dataset_is_read_by_the_page_alone(tmp_path):
    root = write_published_dataset(tmp_path)
    trajectory = minimal_reader.Trajectory(root / "mpm" / GROUP / SCENE)
    reader = TrajectoryReader(root / "mpm" / GROUP / SCENE)
    assert (trajectory.num_frames, trajectory.frame_dt) == (len(reader), reader.frame_dt) == (NUM_FRAMES, 0.02)
    for k in range(NUM_FRAMES):
        ours, frame = reader.frame(k), trajectory.frame(k)
        assert np.array_equal(frame["pos"], ours.means)
        assert np.array_equal(frame["rot"], ours.rotations)
        assert np.array_equal(frame["cov3D"], ours.covariances)
    prompts = minimal_reader.read_prompts(root / "initial" / GROUP / SCENE / BACKGROUND / "prompts.json")
    assert len(prompts["point"]) == 2


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A dataset of one scene that the commands themselves make."""
    root = tmp_path_factory.mktemp("GSCollision")
    config = root.parent / "formats_config.json"
    config.write_text(json.dumps(FAST | {"g": [0, 0, -5], "boundary_conditions": [{"type": "bounding_box"}]}))

    def command(module, *arguments):
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
            patch.setattr(sys, "argv", [module, "--data_root", str(root), *map(str, arguments)])
            import_module(module).main()

    command("dataset.generate_objects", "--gaussians", 300, "--objects", "ball,can", "--backgrounds", "table6")
    placed = {
        "0_ball_can": {"scene_object_idxs": [0, 3], "translation": [[0, 0, 0], [0, 0.05, 0.6]], "scale": [0.4, 1]}
    }
    (root / "scene_configs").mkdir()
    (root / "scene_configs" / "2.json").write_text(json.dumps(placed))
    command("dataset.generate_scene", "--group", "2")
    trajectory = root / "mpm/2/0_ball_can"
    settings = ("--config", config, "--device", "cpu")
    stored = ("--compression", "blosc-zstd", "--dtype", "float16")
    command(
        *("dataset.gs_simulation_scene", "--model_path", root / "scenes/2/0_ball_can"),
        *("--output_path", trajectory, *settings, *stored),
    )
    command(
        *("dataset.render", "--model_path", trajectory, "--background_path", root / "backgrounds/table6", *settings),
        *(
            "--output_path",
            root / "dynamic/2/0_ball_can/table6",
            "--initial_path",
            root / "initial/2/0_ball_can/table6",
        ),
        *("--resolution", 48, "--views", "0,circle360", "--compile_video"),
        *("--render_img", "--render_depth", "--render_masks", "--render_gaussians", "spz", "--frames", "0,3"),
    )
    return root


def test_what_the_commands_write_passes_the_check(real):
    tree = DatasetTree(real)
    found = [look() for look in tree.checks_outside_scenes()]
    found += [
        tree.scene_check(group, scene, ("scenes", "initial", "mpm", "dynamic"))() for group, scene in tree.scenes()
    ]
    assert tree.scenes() == [("2", "0_ball_can")]
    for kind in ("defects", "leftovers", "unknown"):
        assert [line for findings in found for line in getattr(findings, kind)] == []


def test_what_the_commands_write_is_read_by_the_page_alone(real):
    cloud = minimal_reader.read_ply(real / "scenes/2/0_ball_can" / minimal_reader.PLY)
    reference = read_ply(real / "scenes/2/0_ball_can" / POINT_CLOUD)
    np.testing.assert_allclose(cloud["means"], reference.means)
    trajectory = minimal_reader.Trajectory(real / "mpm/2/0_ball_can")
    reader = TrajectoryReader(real / "mpm/2/0_ball_can")
    # float16 spacing below 1 is 5e-4.
    np.testing.assert_allclose(trajectory.frame(0)["pos"], cloud["means"][trajectory.source_index], atol=5e-4)
    for k in range(trajectory.num_frames):
        assert np.array_equal(trajectory.frame(k)["pos"], reader.frame(k).means)
        assert np.array_equal(trajectory.frame(k)["rot"], reader.frame(k).rotations)
    # Free fall with g = 5 m/s^2 for four frames of 0.02 s.
    last = trajectory.frame(4)
    np.testing.assert_allclose(np.median(last["vel"], 0), [0, 0, -0.4], atol=0.01)


def test_pictures_agree_with_the_geometry_that_the_page_describes(real):
    """Where cameras.json and the trajectory say that an object is, prompts, masks and depth show it."""
    initial, motion = real / "initial/2/0_ball_can/table6", real / "dynamic/2/0_ball_can/table6"
    trajectory = minimal_reader.Trajectory(real / "mpm/2/0_ball_can")
    cameras = json.loads((initial / "cameras.json").read_text())
    prompts = minimal_reader.read_prompts(initial / "prompts.json")
    depth = minimal_reader.read_depth(initial / "depth.h5")
    masks = minimal_reader.read_masks(motion / "view_0" / "masks.h5")
    frame = trajectory.frame(0)
    assert (len(cameras), depth.shape, masks.shape) == (100, (100, 48, 48), (5, 48, 48))
    assert prompts["text"] == ["A pokemon ball.", "A cola."]
    for label in (0, 1):
        points = frame["pos"][trajectory.labels == label]
        pixels, depths = minimal_reader.project(cameras[0], points)
        u0, v0, u1, v1 = prompts["bbox"][label]
        center = pixels.mean(0)
        assert u0 < center[0] < u1 + 1
        assert v0 < center[1] < v1 + 1
        column, row = (int(value) for value in center)
        assert masks[0, row, column] == label
        # Of an opaque object, the depth is that of its nearer half: the front's, and not all opacity is there.
        assert 0.8 * depths.min() < depth[0, row, column] < depths.max()


# The page itself


@pytest.mark.parametrize("model", [TrajectoryMeta, TrajectoryObject])
def test_the_page_names_every_field_of_meta_json(model):
    section = PAGE.split("### meta.json")[1].split("\n## ")[0]
    missing = [name for name in model.model_fields if not re.search(rf"`(\w+`, `)*{name}\b", section)]
    assert missing == []


def test_the_page_names_every_way_to_store_a_clip():
    section = PAGE.split("### Compression")[1].split("\n## ")[0]
    assert all(f"`{compression}`" in section for compression in COMPRESSIONS)


def test_every_link_within_the_page_leads_somewhere():
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert targets
    assert set(targets) <= anchors
