import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.scenes.scene_files import write_scene
from dynamic_models.models.checkpoints import load_checkpoint
from gaussians.files.video import read_video
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tests.videogen.small_scene import cloud
from videogen.pipeline.scene_batch import place_of
from videogen.reconstruction.settings import ReconstructionSettings, SceneInput

COMMAND = "videogen.pipeline_reconstruct_and_eval"
CONFIG = {"g": [0, 0, -5], "E": 1e5, "density": 500, "n_grid": 32, "substep_dt": 1e-3, "frame_dt": 0.02}
DUCK = "initial/2/0_ball_duck/table4"


def two_balls(height: float) -> Gaussians:
    labels = torch.arange(2, dtype=torch.int32).repeat_interleave(120)
    return replace(Gaussians.cat([cloud((0, 0, height), 0), cloud((0.5, 0, -0.2), 1)]), labels=labels)


class Reconstruction:
    """Stands in for the reconstruction: writes what it would, and refuses pictures that are not there."""

    def __init__(self) -> None:
        self.height, self.settings = 0.3, None

    def __call__(self, scene: SceneInput, settings: ReconstructionSettings) -> str:
        self.settings = settings
        if not scene.data_path.exists():
            raise InputError(f"{scene.data_path}: no such file or folder")
        objects = [{"label": label, "name": name} for label, name in enumerate(("ball", "duck"))]
        for name in ("sim", "sim_refine") if settings.refine else ("sim",):
            write_scene(scene.save_folder / name, two_balls(self.height), objects)
        floor = cloud((0, 0, -1), 2)
        write_scene(scene.save_folder / "bg", replace(floor, labels=torch.full((len(floor),), -1)), [])
        return f"wrote {scene.save_folder}"


@pytest.fixture
def reconstruction(monkeypatch: pytest.MonkeyPatch) -> Reconstruction:
    stand_in = Reconstruction()
    monkeypatch.setattr("videogen.pipeline.scene_batch.reconstruct_scene", stand_in)
    return stand_in


@pytest.fixture
def flags(tmp_path: Path, checkpoint: Path) -> list[object]:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return [
        *("--batch_inference_json", tmp_path / "batch.json", "--config", tmp_path / "config.json", "--steps", 3),
        *("--resolution", 24, "--output_root", tmp_path / "out", "--checkpoints", f"NGFF={checkpoint}"),
        *("--device", "cpu"),
    ]


def write_batch(folder: Path, *entries: dict[str, object]) -> None:
    (folder / "batch.json").write_text(json.dumps([{**e, "data_path": f"{folder}/{e['data_path']}"} for e in entries]))


def videos(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.mp4"))}


def test_a_batch_goes_on_after_failures_and_is_resumed(
    command: Callable[..., None],
    flags: list[object],
    reconstruction: Reconstruction,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr(
        "videogen.pipeline.scene_batch.load_checkpoint", lambda *args: loaded.append(args) or load_checkpoint(*args)
    )
    (tmp_path / DUCK).mkdir(parents=True)
    (tmp_path / "desk").mkdir()
    write_batch(
        tmp_path,
        {"data_path": f"{DUCK}/0_ball_duck.mp4", "views": "3"},
        {"data_path": "desk", "views": "0,circle360"},
        {"data_path": DUCK.replace("table4", "table5")},
    )
    command_line = [*flags, "--models", "ngff,MPM", "--views", "84", "--disable_refine"]
    with pytest.raises(SystemExit) as ended:  # the video of the first is missing, and the folder of the third
        command(COMMAND, *command_line)
    assert ended.value.code == 1
    said = capsys.readouterr().err.splitlines()[-3:]
    assert said[0].endswith(f"2 failed, all else is in {tmp_path / 'out'}:")
    assert said[1].startswith(f"  {tmp_path / DUCK}/0_ball_duck.mp4: not reconstructed: ")
    names = [f"{model}_V/base/desk/{view}/desk.mp4" for model in ("MPM", "NGFF") for view in ("circle360", "view_0")]
    first = videos(tmp_path / "out")
    assert list(first) == names
    assert len(loaded) == 1

    (tmp_path / DUCK / "0_ball_duck.mp4").touch()
    (tmp_path / DUCK.replace("table4", "table5")).mkdir()
    command(COMMAND, *command_line)
    second = videos(tmp_path / "out")
    place = "2/0_ball_duck"
    for name in ("table4/view_3/0_ball_duck.mp4", "table5/view_84/0_ball_duck.mp4"):
        assert len(list(read_video(tmp_path / "out" / "NGFF_V" / "base" / place / name))) == 3
    assert (tmp_path / "out" / "reconstruct" / place / "table5" / "sim" / "objects.json").is_file()
    assert len(second) == 4 + 2 * 2
    assert {name: second[name] for name in first} == first

    reconstruction.height = 0.4
    command(COMMAND, *command_line)
    third = videos(tmp_path / "out")
    assert all(third[name] > second[name] for name in second)
    assert "desk: made with other scene: made anew" in capsys.readouterr().out


def test_completed_objects_are_predicted_too_and_trajectories_written_if_asked(
    command: Callable[..., None], flags: list[object], reconstruction: Reconstruction, tmp_path: Path
) -> None:
    (tmp_path / "desk").mkdir()
    write_batch(tmp_path, {"data_path": "desk", "views": 5})
    command(COMMAND, *flags, "--save_trajectory", "--max_side", 64, "--no-white_bg", "--models", "NGFF")
    assert list(videos(tmp_path / "out")) == [f"NGFF_V/{kind}/desk/view_5/desk.mp4" for kind in ("base", "refine")]
    assert (tmp_path / "out" / "NGFF_V" / "refine" / "desk" / "trajectory" / "desk" / "0002.h5").is_file()
    assert reconstruction.settings is not None
    assert (reconstruction.settings.max_side, reconstruction.settings.refine) == (64, True)


def test_what_is_no_mistake_of_the_input_is_reported_in_full_and_stops_nothing(
    command: Callable[..., None],
    flags: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(scene: SceneInput, settings: ReconstructionSettings) -> str:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("videogen.pipeline.scene_batch.reconstruct_scene", broken)
    write_batch(tmp_path, {"data_path": "a"}, {"data_path": "b"})
    with pytest.raises(SystemExit) as ended:
        command(COMMAND, *flags, "--models", "NGFF")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("Traceback") == 2
    assert said.splitlines()[-1].endswith("b: not reconstructed: RuntimeError('out of luck')")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("data/initial/3_9/7_panda_ball/table4", "3_9/7_panda_ball/table4"),
        ("data/initial/3_9/7_panda_ball/table4/+7_panda_ball.mp4", "3_9/7_panda_ball/table4"),
        ("photographs/desk", "desk"),
        ("films/desk.mov", "desk"),
        ("/desk", "desk"),
    ],
)
def test_outputs_go_where_their_pictures_come_from(path: str, place: str) -> None:
    assert place_of(Path(path)) == Path(place)


@pytest.mark.parametrize(
    ("entries", "changed", "message"),
    [
        ([], [], "expected at least one scene"),
        ([{"data_path": "a", "view": "3"}], [], r"batch\.json: 0\.view: "),
        ([{"data_path": "a"}, {"data_path": "b", "views": "3,x"}], [], r"batch\.json: 1: --views: .* found 'x'"),
        ([{"data_path": "a"}, {"data_path": "films/a.mp4"}], [], "2 scenes would be written to a: give"),
        ([{"data_path": "a"}], ["--checkpoints", "GCN=nowhere"], "--checkpoints: one is of GCN"),
        ([{"data_path": "a"}], ["--checkpoints", "NGFF=nowhere"], "nowhere: no such file: expected a checkpoint"),
        ([{"data_path": "a"}], ["--resolution", 1], "--resolution: expected at least 2 pixels"),
        ([{"data_path": "a"}], ["--steps", 1], "--steps: expected 2 to "),
    ],
)
def test_bad_batches_are_refused_before_any_work(
    command: Callable[..., None],
    flags: list[object],
    tmp_path: Path,
    entries: list[dict[str, object]],
    changed: list[object],
    message: str,
) -> None:
    write_batch(tmp_path, *entries)
    with pytest.raises(InputError, match=message):
        command(COMMAND, *flags, "--models", "NGFF", *changed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("models", ["NGFF,XYZ", "NGFF,ngff"])
def test_models_are_known_and_each_there_once(
    command: Callable[..., None], flags: list[object], tmp_path: Path, models: str
) -> None:
    write_batch(tmp_path, {"data_path": "a"})
    with pytest.raises(SystemExit) as ended:
        command(COMMAND, *flags, "--models", models)
    assert ended.value.code == 2
