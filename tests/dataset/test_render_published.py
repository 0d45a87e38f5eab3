"""Rendering of published trajectories, and the published command."""

import json
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from gaussians.stage.errors import InputError
from tests.dataset.sinking_ball import FRAMES, Render, write_trajectory, write_wall


def write_published(path: Path, segmentation: np.ndarray) -> None:
    """What ``write_trajectory`` writes, as the published files hold it."""
    write_trajectory(path)
    for file in path.glob("*.h5"):
        with h5py.File(file) as source:
            arrays = {name: source[name][:].astype(np.float16) for name in source}
        with h5py.File(file, "w") as target:
            for name, array in arrays.items():
                target.create_dataset(name, data=array)
    for name in ("meta.json", "labels.npy"):
        (path / name).unlink()
    np.save(path / "segmentation.npy", segmentation)


@pytest.mark.parametrize("first_label", [0, 1, 3])
def test_published_trajectories_are_told_apart_by_segmentation_and_name(
    render: Render, tmp_path: Path, trajectory: Path, first_label: int
) -> None:
    """Published labels count from 1, or on from other objects'."""
    write_published(trajectory, np.arange(200, dtype=np.int64) % 2 + first_label)
    arguments = ["--output_path", str(tmp_path / "out"), "--fixed_view", "7", "--resolution", "32"]
    render(*arguments, "--render_masks", "--render_img")
    picture = imageio.imread(tmp_path / "out" / "view_7" / "rgb" / "0000.png").astype(int)
    mask = imageio.imread(tmp_path / "out" / "view_7" / "masks" / "0000.png")
    assert (picture[mask == 1][:, 0] > picture[mask == 1][:, 2]).all()
    assert (mask == 2).any()


def test_published_trajectories_have_prompts_by_their_name(
    render: Render, small_ground: tuple[str, str], tmp_path: Path, trajectory: Path
) -> None:
    write_published(trajectory, np.arange(200, dtype=np.int64) % 2 + 1)
    render(*small_ground, "--initial_path", str(tmp_path / "initial"), "--resolution", "24")
    prompts = json.loads((tmp_path / "initial" / "prompts.json").read_text())
    assert prompts["text"] == ["A pokemon ball.", "A rubber duck."]


def test_without_labels_there_are_no_prompts_and_masks_are_refused(
    render: Render, small_ground: tuple[str, str], tmp_path: Path, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_published(trajectory, np.zeros(200, np.int64))
    (trajectory / "segmentation.npy").unlink()
    render(*small_ground, "--initial_path", str(tmp_path / "initial"), "--resolution", "24")
    assert not (tmp_path / "initial" / "prompts.json").exists()
    assert "no prompts" in capsys.readouterr().out
    with pytest.raises(InputError, match="to tell ball, duck apart"):
        render("--output_path", str(tmp_path / "out"), "--fixed_view", "0", "--render_masks")


def test_the_published_command_runs(render: Render, tmp_path: Path) -> None:
    """As the README of the published system has it, but for paths and a resolution that tests can afford."""
    table = tmp_path / "backgrounds" / "table6"
    write_wall(table / "gaussians_feedforward.ply", [0.3, 0.2, 0.1])
    torch.save({"intrinsics": torch.eye(3), "extrinsics": torch.eye(4)[None]}, table / "camera_2999.pt")
    outputs = ["--initial_path", f"{tmp_path}/initial_123/table6", "--output_path", f"{tmp_path}/dynamic_123/table6"]
    flags = ["--render_img", "--render_depth", "--compile_video", "--white_bg", "--fixed_view", "-1"]
    render("--background_path", str(table), *outputs, *flags, "--resolution", "16")
    initial, dynamic = tmp_path / "initial_123" / "table6", tmp_path / "dynamic_123" / "table6"
    names = ["0_ball_duck.json", "0_ball_duck.mp4", "cameras.json", "depth", "depth.h5", "depth.json", "prompts.json"]
    assert sorted(path.name for path in initial.iterdir()) == names
    assert len(list((initial / "depth").iterdir())) == 100
    views = [f"view_{k}" for k in range(0, 100, 4)]
    assert sorted(path.name for path in dynamic.iterdir()) == sorted(["depth", "depth.h5", "depth.json", *views])
    for view in views:
        assert sorted(path.name for path in (dynamic / view).iterdir()) == [
            "0_ball_duck.json",
            "0_ball_duck.mp4",
            "rgb",
        ]
        assert len(list((dynamic / view / "rgb").iterdir())) == FRAMES
