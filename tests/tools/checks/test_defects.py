"""Defects of a small dataset, one at a time, and what is said of each."""

import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from gaussians.files.hdf5 import write_hdf5
from tests.dataset_fixture import (
    BACKGROUND,
    GROUP,
    NUM_FRAMES,
    SIZE,
    write_video,
)
from tests.gaussians.files.test_hdf5 import flip_a_byte_of
from tests.gaussians.samples import change_h5
from tests.tools.small_dataset import DYNAMIC, FRAME, INITIAL, MPM, ROWS, SCENE, VIEW, check, copy_of, nan_at_the_end
from tools.checks.dataset_walk import DatasetTree


def without(name):
    return lambda root: os.remove(root / name)


def array(name, dataset, values):
    return lambda root: change_h5(root / name, dataset, values)


def save(name, values):
    return lambda root: np.save(root / name, values)


def text(name, change):
    """Change a JSON file's contents in place."""

    def damage(root):
        contents = json.loads((root / name).read_text())
        change(contents)
        (root / name).write_text(json.dumps(contents))

    return damage


TRAJECTORY_DAMAGE = {
    "missing frame": (without(FRAME), "0001.h5: no such frame: expected frames 0 to 3"),
    "missing last frame": (without(f"{MPM}/0003.h5"), "0003.h5: no such frame: expected frames 0 to 3"),
    "missing opacities": (without(f"{MPM}/opacity.h5"), "opacity.h5: no such file"),
    "missing colours": (without(f"{MPM}/shs.h5"), "shs.h5: no such file"),
    "NaN": (array(FRAME, "pos", nan_at_the_end()), "0001.h5: pos: expected finite values"),
    "shape": (array(FRAME, "pos", np.zeros((ROWS - 1, 3), "f4")), r"0001.h5: pos: expected shape \(39, 3\), found"),
    "type": (array(FRAME, "vel", np.zeros((ROWS, 3))), "0001.h5: vel: expected float32 or float16, found float64"),
    "half covariances": (
        array(FRAME, "cov3D", np.ones((ROWS, 6), np.float16)),
        "0001.h5: cov3D: expected float32, found float16",
    ),
    "negative variances": (
        array(FRAME, "cov3D", np.full((ROWS, 6), -1, np.float32)),
        "0001.h5: cov3D: expected variances xx, yy, zz of 0 or more",
    ),
    "left-out field": (array(FRAME, "vel", None), "0001.h5: no dataset vel: expected pos, cov3D, rot, vel"),
    "rotations that stretch": (
        array(FRAME, "rot", np.tile(np.eye(3, dtype="f4") * 2, (ROWS, 1, 1))),
        "0001.h5: rot: expected rotations, found 39 others, the first in row 0",
    ),
    "rotations that mirror": (
        array(FRAME, "rot", np.tile(-np.eye(3, dtype="f4"), (ROWS, 1, 1))),
        "0001.h5: rot: expected rotations, found 39 others, the first in row 0",
    ),
    "flipped bit": (lambda root: flip_a_byte_of(root / FRAME, "rot"), "0001.h5: rot: truncated or damaged HDF5 file"),
    "truncated": (
        lambda root: (root / FRAME).write_bytes((root / FRAME).read_bytes()[:-200]),
        "0001.h5: truncated or damaged HDF5 file",
    ),
    "opacities past 1": (
        array(f"{MPM}/opacity.h5", "opacity", np.full((ROWS, 1), 1.5, "f4")),
        "opacity: expected 0 to 1, found 1.5 to 1.5",
    ),
    "coefficients of no degree": (
        array(f"{MPM}/shs.h5", "shs", np.zeros((ROWS, 5, 3), "f4")),
        r"shs.h5: shs: expected shape \(39, \(degree \+ 1\)\^2, 3\), found \(39, 5, 3\)",
    ),
    "labels out of range": (
        save(f"{MPM}/labels.npy", np.full(ROWS, 7, np.int32)),
        r"labels.npy: expected labels \[0, 1\] of meta.json, or -1, found \[7\]",
    ),
    "labels of nobody": (
        save(f"{MPM}/labels.npy", np.zeros(ROWS, np.int32)),
        "labels.npy: no Gaussian of label 1, duck",
    ),
    "labels mixed up": (
        save(f"{MPM}/labels.npy", np.arange(ROWS, dtype=np.int32) % 2),
        r"labels.npy: \d+ labels differ from those of",
    ),
    "too few labels": (save(f"{MPM}/labels.npy", np.zeros(3, np.int32)), "labels.npy: expected 39 labels, found 3"),
    "sources out of range": (
        save(f"{MPM}/source_index.npy", np.arange(ROWS, dtype=np.int32) + 2),
        r"source_index.npy: expected rows of .*point_cloud.ply, 0 to 39, or -1, found 2 to 40",
    ),
    "sources twice": (
        save(f"{MPM}/source_index.npy", np.zeros(ROWS, np.int32)),
        "source_index.npy: expected every row of the scene once at most",
    ),
    "too few sources": (save(f"{MPM}/source_index.npy", np.zeros(3, np.int32)), "expected 39 rows, found 3"),
    "broken meta data": (
        text(f"{MPM}/meta.json", lambda meta: meta.update(frame_dt=-1)),
        "meta.json: frame_dt: expected greater than 0",
    ),
    "later format": (
        text(f"{MPM}/meta.json", lambda meta: meta.update(format_version=99)),
        "meta.json: format_version: expected at most 1, found 99",
    ),
    "another scene": (
        text(f"{MPM}/meta.json", lambda meta: meta["hashes"].update(point_cloud="0")),
        "meta.json: hashes: simulated from another file than .*point_cloud.ply is now",
    ),
    "labels of the scene": (
        save(f"scenes/{GROUP}/{SCENE}/segmentation.npy", np.zeros(3, np.int32)),
        "segmentation.npy: expected 40 labels, one for each Gaussian, found 3",
    ),
    "counts of the scene": (
        text(f"scenes/{GROUP}/{SCENE}/objects.json", lambda objects: objects[1].update(count=19)),
        "objects.json: 1.count: expected 20, as many as segmentation.npy labels so, found 19",
    ),
    "name of the scene": (
        text(f"scenes/{GROUP}/{SCENE}/objects.json", lambda objects: objects[1].update(name="bear")),
        "0_ball_duck: expected the name <number>_ball_bear, after its objects",
    ),
    "cameras of the scene": (
        text(f"scenes/{GROUP}/{SCENE}/cameras.json", lambda cameras: cameras[2].update(rotation=[[0] * 3] * 3)),
        "cameras.json: 2.rotation: expected the rows of a rotation matrix",
    ),
    "no point cloud": (
        lambda root: shutil.rmtree(root / "scenes" / GROUP / SCENE / "point_cloud"),
        "0_ball_duck: expected a PLY file or a directory with",
    ),
}


@pytest.mark.parametrize(("damage", "message"), TRAJECTORY_DAMAGE.values(), ids=TRAJECTORY_DAMAGE.keys())
def test_a_defect_of_a_scene_or_its_trajectory_is_named(tmp_path, whole, damage, message):
    root = copy_of(whole, tmp_path, "scenes", "mpm")
    damage(root)
    assert any(re.search(message, defect) for defect in check(root).defects), check(root).defects


def truncate(name, share):
    def damage(root):
        contents = (root / name).read_bytes()
        (root / name).write_bytes(contents[: int(len(contents) * share)])

    return damage


def picture(name, values):
    return lambda root: cv2.imwrite(str(root / name), values)


PROMPTS, DEPTH = f"{INITIAL}/{BACKGROUND}/prompts.json", f"{INITIAL}/{BACKGROUND}/depth"
PICTURE_DAMAGE = {
    "no video": (without(f"{INITIAL}/{BACKGROUND}/{SCENE}.mp4"), f"{SCENE}.mp4: no such file"),
    "no cameras": (without(f"{INITIAL}/{BACKGROUND}/cameras.json"), "cameras.json: no such file"),
    "a camera less": (
        text(f"{INITIAL}/{BACKGROUND}/cameras.json", lambda cameras: cameras.pop()),
        f"{SCENE}.mp4: expected 5 frames, 6 can be decoded",
    ),
    "larger cameras": (
        text(
            f"{INITIAL}/{BACKGROUND}/cameras.json",
            lambda cameras: [camera.update(width=64) for camera in cameras],
        ),
        f"{SCENE}.mp4: expected 64 x 16 pixels, found 16 x 16",
    ),
    "an object less": (
        text(PROMPTS, lambda prompts: prompts["text"].pop()),
        "prompts.json: text: expected one entry for each of 2 objects, found 1",
    ),
    "a point outside": (
        text(PROMPTS, lambda prompts: prompts["point"].__setitem__(1, [40.0, 3.0])),
        r"prompts.json: point.1: expected a pixel of 16 x 16, found \(40, 3\)",
    ),
    "a box inside out": (
        text(PROMPTS, lambda prompts: prompts["bbox"].__setitem__(0, [9.0, 1.0, 3.0, 2.0])),
        r"prompts.json: bbox.0: expected \(u0, v0, u1, v1\) within 16 x 16, found \(9, 1, 3, 2\)",
    ),
    "no boxes": (text(PROMPTS, lambda prompts: prompts.pop("bbox")), "prompts.json: bbox: missing"),
    "views of depth": (
        array(f"{INITIAL}/{BACKGROUND}/depth.h5", "depth", np.zeros((5, SIZE, SIZE), np.uint16)),
        r"depth.h5: depth: expected uint16 \(6, H, W\), found uint16 \(5, 16, 16\)",
    ),
    "type of depth": (
        array(f"{INITIAL}/{BACKGROUND}/depth.h5", "depth", np.zeros((6, SIZE, SIZE), np.float32)),
        r"depth.h5: depth: expected uint16 \(6, H, W\), found float32",
    ),
    "size of depth": (
        array(f"{INITIAL}/{BACKGROUND}/depth.h5", "depth", np.zeros((6, 8, 8), np.uint16)),
        "depth.h5: expected 16 x 16 pixels, found 8 x 8",
    ),
    "scale of depth": (
        array(f"{INITIAL}/{BACKGROUND}/depth.h5", "depth_max", np.float32(np.nan)),
        "depth.h5: depth_max: expected a number of 0 or more, found nan",
    ),
    "a depth picture less": (
        without(f"{DEPTH}/view_3.png"),
        "depth: expected 6 PNGs, as many as depth.h5 has pictures, found 5",
    ),
    "a depth picture of 8 bits": (
        picture(f"{DEPTH}/view_3.png", np.zeros((SIZE, SIZE), np.uint8)),
        r"view_3.png: expected uint16 \(16, 16\), found uint8 \(16, 16\)",
    ),
    "another depth picture": (
        picture(f"{DEPTH}/view_3.png", np.zeros((SIZE, SIZE), np.uint16)),
        "view_3.png: differs from picture 3 of depth.h5",
    ),
    "an unreadable picture": (truncate(f"{DEPTH}/view_3.png", 0), "view_3.png: not a readable PNG"),
    "a truncated video": (
        truncate(f"{VIEW}/{SCENE}.mp4", 0.95),
        f"{SCENE}.mp4: expected {NUM_FRAMES} frames, [0-3] can be decoded",
    ),
    "a shorter video": (
        lambda root: write_video(root / f"{VIEW}/{SCENE}.mp4", 3),
        f"{SCENE}.mp4: expected {NUM_FRAMES} frames, 3 can be decoded",
    ),
    "a slower video": (
        lambda root: write_video(root / f"{VIEW}/{SCENE}.mp4", NUM_FRAMES, 25),
        f"{SCENE}.mp4: expected 50 frames a second, found 25",
    ),
    "no video at all": (
        lambda root: (root / f"{VIEW}/{SCENE}.mp4").write_bytes(b"<html>"),
        f"{SCENE}.mp4: not a readable video",
    ),
    "an image less": (without(f"{VIEW}/rgb/0002.png"), f"rgb: expected {NUM_FRAMES} PNGs, found 3"),
    "a grey image": (
        picture(f"{VIEW}/rgb/0002.png", np.zeros((SIZE, SIZE), np.uint8)),
        "0002.png: expected an RGB image of 8 bits a channel",
    ),
    "a small image": (
        picture(f"{VIEW}/rgb/0002.png", np.zeros((8, 8, 3), np.uint8)),
        "0002.png: expected 16 x 16 pixels, found 8 x 8",
    ),
    "masks of strangers": (
        array(f"{VIEW}/masks.h5", "mask", np.full((NUM_FRAMES, SIZE, SIZE), 9, np.uint8)),
        "masks.h5: mask: expected 0 to 2, found 9",
    ),
    "a mask less": (
        array(f"{VIEW}/masks.h5", "mask", np.zeros((3, SIZE, SIZE), np.uint8)),
        r"masks.h5: mask: expected uint8 \(4, H, W\), found uint8 \(3, 16, 16\)",
    ),
    "no view": (
        lambda root: [shutil.rmtree(path) for path in (root / DYNAMIC / BACKGROUND).iterdir()],
        "table6: no view: expected folders such as view_0 and circle360",
    ),
}


@pytest.mark.parametrize(("damage", "message"), PICTURE_DAMAGE.values(), ids=PICTURE_DAMAGE.keys())
def test_a_defect_of_pictures_is_named(tmp_path, whole, damage, message):
    stages = ("initial", "mpm") if "initial/" in message or INITIAL in str(damage) else ("initial", "dynamic", "mpm")
    root = copy_of(whole, tmp_path, *stages)
    damage(root)
    defects = check(root).defects
    assert any(re.search(message, defect) for defect in defects), defects


def test_a_truncated_video_with_an_intact_index_is_no_shorter_clip(tmp_path, published):
    """Without a trajectory only the index tells how many frames there were."""
    root = copy_of(published, tmp_path, "dynamic")
    for view in (root / DYNAMIC / BACKGROUND).iterdir():
        truncate(view.relative_to(root) / f"{SCENE}.mp4", 0.95)(root)
    defects = check(root).defects
    assert len(defects) == 3
    assert all(re.search(r"mp4: expected \d frames, \d can be decoded \(.+\)", defect) for defect in defects)


def test_views_of_published_motion_must_agree_with_each_other(tmp_path, published):
    root = copy_of(published, tmp_path, "dynamic")
    write_video(root / DYNAMIC / BACKGROUND / "view_84" / f"{SCENE}.mp4", 3)
    (defect,) = check(root).defects
    assert defect.endswith(f"view_84/{SCENE}.mp4: expected 4 frames, 3 can be decoded")


def test_quick_looks_at_the_ends_of_clips(tmp_path, whole):
    root = copy_of(whole, tmp_path, "mpm", "dynamic")
    change_h5(root / FRAME, "pos", nan_at_the_end())
    truncate(f"{VIEW}/{SCENE}.mp4", 0.95)(root)
    assert check(root, quick=True).defects == []
    change_h5(root / f"{MPM}/0003.h5", "pos", nan_at_the_end())
    (defect,) = check(root, quick=True).defects
    assert defect.endswith("0003.h5: pos: expected finite values")


def test_labels_that_do_not_fit_a_reconstruction_are_named(tmp_path, whole):
    root = copy_of(whole, tmp_path, "reconstruct")
    part = root / "reconstruct" / GROUP / SCENE / BACKGROUND / "sim_refine"
    np.save(part / "segmentation.npy", np.zeros(4, np.int32))
    shutil.rmtree(part.with_name("bg") / "point_cloud")
    defects = check(root).defects
    assert len(defects) == 2
    assert "bg: expected a PLY file or a directory with" in defects[0]
    assert "segmentation.npy: expected 40 labels, one for each row" in defects[1]


# Everything outside scenes


OTHER_DAMAGE = {
    "object": (truncate("objects/duck/point_cloud/iteration_30000/point_cloud.ply", 0.7), "truncated or damaged PLY"),
    "object.json": (
        text("objects/duck/object.json", lambda entry: entry.update(index=3)),
        "object.json: index: expected 7, as duck has it, found 3",
    ),
    "stranger": (
        lambda root: shutil.copytree(root / "objects/ball/point_cloud", root / "objects/chair/point_cloud"),
        "object 'chair' is not in the catalogue",
    ),
    "background": (without("backgrounds/table6/gaussians_feedforward.ply"), "table6: expected a PLY file"),
    "placement": (
        text("backgrounds/table6/placement.json", lambda placement: placement.update(scale=0)),
        "placement.json: scale: expected greater than 0, found 0",
    ),
    "scene config": (
        text("scene_configs/2.json", lambda scenes: scenes[SCENE].update(scale=[1.0])),
        "2.json: 0_ball_duck: scale: expected one entry for each of 2 objects, found 1",
    ),
}


@pytest.mark.parametrize(("damage", "message"), OTHER_DAMAGE.values(), ids=OTHER_DAMAGE.keys())
def test_a_defect_outside_scenes_is_named(tmp_path, whole, damage, message):
    for folder in ("objects", "backgrounds", "scene_configs"):
        shutil.copytree(whole / folder, tmp_path / folder)
    damage(tmp_path)
    defects = [defect for look in DatasetTree(tmp_path).checks_outside_scenes() for defect in look().defects]
    assert any(message in defect for defect in defects), defects


def test_the_captured_cameras_of_a_published_background_are_read_without_unpickling_code(tmp_path, published):
    shutil.copytree(published / "backgrounds", tmp_path / "backgrounds")
    torch.save({"extrinsics": print}, tmp_path / "backgrounds/table6/camera_2999.pt")
    defects = [defect for look in DatasetTree(tmp_path).checks_outside_scenes() for defect in look().defects]
    assert len(defects) == 1
    assert "camera_2999.pt: expected a dictionary of tensors" in defects[0]


def test_depth_without_pictures_is_a_defect(tmp_path, whole):
    root = copy_of(whole, tmp_path, "initial")
    write_hdf5(root / INITIAL / BACKGROUND / "depth.h5", {"depth": np.zeros((6, SIZE, SIZE), np.uint16)})
    (defect,) = check(root).defects
    assert defect.endswith("depth.h5: no dataset 'depth_max'")
