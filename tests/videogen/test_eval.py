import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.files.video import read_video
from gaussians.stage.claims import claim
from gaussians.stage.errors import InputError
from tests.videogen.small_scene import FRAMES, cloud


def test_one_view_makes_one_video_named_after_the_scene(
    command: Callable[..., None], arguments: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("videogen.eval", *arguments, "--dynamic_model", "ngff", "--single_view", 0, "--compile_video", "--white_b")
    video = tmp_path / "out" / "0_ball_duck.mp4"
    assert len(list(read_video(video))) == FRAMES
    assert str(video) in capsys.readouterr().out.splitlines()[-1]
    before = video.stat().st_mtime_ns
    command("videogen.eval", *arguments, "--single_view", 0, "--white_b")
    assert video.stat().st_mtime_ns == before
    assert "--overwrite" in capsys.readouterr().out
    # Another view is another video, though it has the same name.
    command("videogen.eval", *arguments, "--single_view", 40, "--white_b")
    assert video.stat().st_mtime_ns > before


def test_several_views_get_a_folder_each(command: Callable[..., None], arguments: list[object], tmp_path: Path) -> None:
    command("videogen.eval", *arguments, "--views", "3,circle360")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mp4"))
    assert found == ["circle360/0_ball_duck.mp4", "view_3/0_ball_duck.mp4"]
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in found}
    (tmp_path / "out" / "view_3" / "0_ball_duck.mp4").unlink()
    command("videogen.eval", *arguments, "--views", "3,circle360,50")  # only what is missing
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns > times[name] for name in found} == {
        "circle360/0_ball_duck.mp4": False,
        "view_3/0_ball_duck.mp4": True,
    }
    assert (tmp_path / "out" / "view_50" / "0_ball_duck.mp4").is_file()


def test_forces_and_materials_are_told_and_make_another_video(
    command: Callable[..., None], arguments: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, forces = tmp_path / "out" / "0_ball_duck.mp4", tmp_path / "forces.json"
    push = {"obj_id": 1, "start": 0.0, "end": 0.1, "force": [0.0, 0.0, 50.0]}
    forces.write_text(json.dumps({"0_ball_duck": [push], "another": []}))
    flags = ["--single_view", 0, "--use_external_forces", "--external_forces_config", forces]
    made = []
    for changed in ([], flags, [*flags, "--density", "[100, 50]"]):
        command("videogen.eval", *arguments, "--single_view", 0, *changed)
        made.append(video.read_bytes())
    assert len(set(made)) == 3  # the lighter the duck, the higher it is pushed
    assert "0_ball_duck: 1 external forces" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "0_ball_duck.json").read_text())["made_from"]
    assert record["densities"] == [100, 50]
    assert record["external_forces"][0]["force"] == [0, 0, 50]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", 10**9], r"--steps: expected at most 100000, found 1000000000"),
        (["--resolution", 99999], r"--resolution: expected at most 16000 pixels, found 99999"),
        (["--resolution", 16000, "--single_view", -1], r"--resolution 16000 of 25 views: takes at least .* of memory"),
        (["--steps", 100000], r"100000 frames of 64 keypoints: takes at least .* of memory"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_anything_is_written(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[object],
    message: str,
) -> None:
    monkeypatch.setattr("gaussians.stage.memory.free_memory", lambda: 10**8)
    with pytest.raises(InputError, match=message):
        command("videogen.eval", *arguments, *flags)
    assert not (tmp_path / "out").exists()


def test_a_scene_is_predicted_once_at_a_time(
    command: Callable[..., None], arguments: list[object], tmp_path: Path
) -> None:
    out, message = tmp_path / "out", r"process \d+ on .* is writing there: wait for its end, or give another folder"
    with claim(out / ".0_ball_duck"), pytest.raises(InputError, match=message):
        command("videogen.eval", *arguments, "--single_view", 0)
    with claim(out), pytest.raises(InputError, match=message):
        command("videogen.eval", *arguments, "--single_view", 0, "--render_img")
    assert not out.exists()


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def relabel(root: Path) -> None:
    np.save(root / "scenes" / "2" / "0_ball_duck" / "segmentation.npy", np.arange(240) % 2)


def empty(root: Path) -> None:
    (root / "out" / "0_ball_duck.mp4").write_bytes(b"")


CHANGES: dict[str, Callable[[Path], None]] = {
    "labels": relabel,
    "checkpoint.world.walls": lambda root: edit(
        root / "checkpoint" / "best.json", world={"walls": [-1.94, 1.94, -1.94, 1.94, -0.2]}
    ),
    "checkpoint.num_keypoints": lambda root: edit(root / "checkpoint" / "best.json", num_keypoints=31),
    "background.placement.json": lambda root: edit(root / "table" / "placement.json", translation=[0, 0, 5]),
    "": empty,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_video_depends_on_makes_it_anew(
    command: Callable[..., None],
    arguments: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    placement = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1, "center": [0, 0, 0], "crop": False}
    write_ply(tmp_path / "table" / "gaussians_feedforward.ply", cloud((0, 0, -1), 2))
    (tmp_path / "table" / "placement.json").write_text(json.dumps(placement))
    flags = ["--single_view", 0, "--background_path", tmp_path / "table"]
    command("videogen.eval", *arguments, *flags)
    CHANGES[change](tmp_path)
    capsys.readouterr()
    command("videogen.eval", *arguments, *flags)
    said = capsys.readouterr().out
    assert "nothing to do" not in said
    assert not change or f"0_ball_duck: made with other {change}: made anew" in said
    command("videogen.eval", *arguments, *flags)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--checkpoint", "nowhere"], "nowhere: no such file: expected a checkpoint"),
        (["--steps", 1], "--steps: expected at least 2"),
        (["--model_path", "nowhere"], "nowhere"),
        (["--config", "nowhere.json"], r"nowhere\.json: no such file"),
        (["--single_view", 100], "expected 0 to 99"),
        (["--use_external_forces"], "expected both or neither"),
        (["--density", "[500]"], r"--density: expected 2 values \(ball, duck\), found 1"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(
    command: Callable[..., None], arguments: list[object], tmp_path: Path, changed: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        command("videogen.eval", *arguments, *changed)
    assert not (tmp_path / "out").exists()


def test_a_capture_becomes_a_video_without_further_flags(
    command: Callable[..., None], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ply(tmp_path / "chair.ply", cloud((50, 60, 70), 0).transformed(scale=3.0))
    (tmp_path / "config.json").write_text(json.dumps({"g": [0, 0, -5], "E": {"ball": 1e5}}))
    arguments = [
        *("--model_path", tmp_path / "chair.ply", "--checkpoint", checkpoint, "--config", tmp_path / "config.json"),
        *("--output_path", tmp_path / "out", "--resolution", 32, "--steps", FRAMES, "--single_view", 0),
        *("--device", "cpu"),
    ]
    command("videogen.eval", *arguments)
    assert len(list(read_video(tmp_path / "out" / "chair.mp4"))) == FRAMES
    out = capsys.readouterr().out
    for note in ("its upward axis is taken to be -y", "it is 1 m large", "assumed 100000 Pa, 500 kg/m^3"):
        assert f"chair: {note}" in out or note in out
    command("videogen.eval", *arguments)
    assert "nothing to do" in capsys.readouterr().out
    command("videogen.eval", *arguments, "--up=z")
    assert "made with other capture.up: made anew" in capsys.readouterr().out


def test_flags_of_captures_are_refused_for_scenes_that_are_described(
    command: Callable[..., None], arguments: list[object]
) -> None:
    with pytest.raises(InputError, match=r"--up, --scale: .*0_ball_duck is no capture"):
        command("videogen.eval", *arguments, "--single_view", 0, "--up=y")


def test_predicted_gaussians_are_written_apart_from_the_video(
    command: Callable[..., None], arguments: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command("videogen.eval", *arguments, "--single_view", 0)
    before = (out / "0_ball_duck.mp4").stat().st_mtime_ns
    command("videogen.eval", *arguments, "--single_view", 0, "--render_gaussians")
    files = sorted((out / "gaussians").iterdir())
    assert [path.name for path in files] == [f"{k:04d}.ply" for k in range(FRAMES)]
    assert (out / "0_ball_duck.mp4").stat().st_mtime_ns == before
    first, last = read_ply(files[0]), read_ply(files[-1])
    scene = read_ply(tmp_path / "scenes" / "2" / "0_ball_duck" / "point_cloud.ply")
    assert len(first) == len(scene)
    nearest = torch.cdist(scene.means, first.means).argmin(1)
    torch.testing.assert_close(first.means[nearest], scene.means, rtol=0, atol=1e-5)
    # The untrained model predicts free flight.
    assert (last.means[:, 2] < first.means[:, 2]).all()
    capsys.readouterr()
    command("videogen.eval", *arguments, "--single_view", 0, "--render_gaussians")
    assert "nothing to do" in capsys.readouterr().out
    command("videogen.eval", *arguments, "--single_view", 0, "--render_gaussians", "spz", "--frames", "1")
    assert "gaussians: made with other format, frames: made anew" in capsys.readouterr().out
    assert [path.name for path in (out / "gaussians").iterdir()] == ["0001.spz"]
    with pytest.raises(InputError, match=rf"--frames: expected 0 to {FRAMES - 1}, found {FRAMES}"):
        command("videogen.eval", *arguments, "--render_gaussians", "--frames", FRAMES)
