import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.layout import Layout
from dynamic_models import evaluate
from dynamic_models.data.windows import SimulatedScene, load_scenes
from dynamic_models.evaluation.comparison import compare_models
from dynamic_models.evaluation.contenders import Prediction, Predictor
from dynamic_models.evaluation.measurements import Result
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.evaluation.report_tables import cell
from dynamic_models.evaluation.settings import SceneSet
from dynamic_models.evaluation.statistics import Estimate, estimate, ranked
from dynamic_models.models.ballistic import Ballistic
from dynamic_models.models.checkpoints import CheckpointInfo, save_checkpoint
from dynamic_models.models.registry import build_model
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError

CPU = torch.device("cpu")


def run_evaluation(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--device", "cpu", *map(str, flags)])
    evaluate.main()


def write_checkpoint(path: Path, num_keypoints: int = 16, model: str = "ngff", **info: Any) -> Path:
    settings = {"dynamic_model": model, "hidden_dim": 8, "num_layers": 1}
    torch.manual_seed(0)
    known = CheckpointInfo(settings=settings, num_keypoints=num_keypoints, frame_dt=0.02, **info)
    save_checkpoint(path / "best.json", build_model(settings), known)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "ngff", training={"groups": ["held"], "scenes": 1, "steps": 20})


def ballistic_errors(scene: SimulatedScene, frames: int, count: int) -> Any:
    state, target, _ = scene.window(0, frames)
    predicted = Ballistic()(state, frames, 0.02)[0]
    return trajectory_errors(predicted[:, :, :count], target[0, :, :, :count], state.mask[0, :, :count])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, toy_root: Path) -> dict[str, Any]:
    """An evaluation of two sets, with models that were trained on different numbers of keypoints."""
    folder = tmp_path_factory.mktemp("evaluation")
    trained = {"groups": ["held"], "scenes": 1, "steps": 10}
    first = write_checkpoint(folder / "ngff", 16, training=trained)
    second = write_checkpoint(folder / "other", 12, training=trained)
    with pytest.MonkeyPatch.context() as monkeypatch:
        flags = ["--data_root", toy_root, "--models", "ngff,other,ballistic", "--checkpoints", first, f"other={second}"]
        sets = ["--sets", "spatial=toy,held", "temporal=toy@20", "--groups", "held", "--resolution", 40]
        sets += ["--horizons", 8, 15, 200, "--rollouts", 3, "--jitter", 0.01]
        run_evaluation(monkeypatch, *flags, *sets, "--output", folder / "report")
    found = json.loads((folder / "report" / "metrics.json").read_text())
    return found | {"folder": folder / "report", "text": (folder / "report" / "metrics.md").read_text()}


def test_means_and_intervals_are_those_of_the_scenes(report: dict[str, Any], toy_root: Path) -> None:
    # Errors are over the keypoints that all models have; lengths are those of the first model's training.
    assert report["num_keypoints"] == 12
    assert (report["sets"]["spatial"]["frames"], report["sets"]["temporal"]["frames"]) == (10, 20)
    for name, groups, frames in (("spatial", ["toy", "held"], 10), ("temporal", ["toy"], 20)):
        scenes = load_scenes(Layout(toy_root), groups, 16, frames, progress=False)
        assert sorted(report["sets"][name]["scenes"]) == sorted(scene.name for scene in scenes)
        errors = [ballistic_errors(scene, frames, 12) for scene in scenes]
        found = report["sets"][name]["models"]["ballistic"]
        for key in ("rmse", "final_position_error", "correlation"):
            expected = estimate([getattr(error, key) for error in errors])
            assert [found[key][k] for k in ("mean", "low", "high", "scenes")] == pytest.approx(expected, abs=2e-6)
        mean, low, high = found["over_time"]
        assert mean == pytest.approx(torch.stack([e.over_time for e in errors]).mean(0).tolist(), abs=2e-6)
        assert all(a <= b <= c for a, b, c in zip(low, mean, high, strict=True))


def test_models_are_compared_scene_by_scene(report: dict[str, Any]) -> None:
    rows = [row for row in report["results"] if row["frames"] == 20]
    errors = {name: [row["rmse"] for row in rows if row["model"] == name] for name in ("ngff", "ballistic")}
    differences = [b - a for a, b in zip(errors["ngff"], errors["ballistic"], strict=True)]
    found = report["sets"]["temporal"]["models"]["ballistic"]
    assert found["rmse_difference"]["mean"] == pytest.approx(sum(differences) / 3, abs=2e-6)
    assert found["wins"] == sum(d < 0 for d in differences)


def test_errors_over_shorter_times_are_of_the_same_rollouts(report: dict[str, Any], toy_root: Path) -> None:
    found = report["sets"]["temporal"]["models"]["ballistic"]["horizons"]
    assert list(found) == ["8", "15"]
    for horizon, begin in ((8, 0), (15, 8)):
        scenes = load_scenes(Layout(toy_root), ["toy"], 16, 20, progress=False)
        errors = [ballistic_errors(scene, horizon, 12) for scene in scenes]
        for key in ("rmse", "rmse_per_coordinate", "final_position_error", "correlation_of_positions"):
            expected = sum(getattr(error, key) for error in errors) / len(errors)
            assert found[str(horizon)][key]["mean"] == pytest.approx(expected, abs=2e-6)
        later = [float(error.over_time[begin:].square().mean().sqrt()) for error in errors]
        assert found[str(horizon)]["later_rmse"]["mean"] == pytest.approx(sum(later) / len(later), abs=2e-6)
    assert "| ballistic |" in report["text"]


def test_several_rollouts_are_judged_together(report: dict[str, Any]) -> None:
    found = report["sets"]["spatial"]["models"]
    for name in ("ngff", "ballistic"):
        # Starts that are a centimetre off make a rollout of 0.2 s worse by about that.
        assert found[name]["best_rmse"]["mean"] < found[name]["rmse"]["mean"] + 0.02
        assert 0 < found[name]["energy_score"]["mean"] < found[name]["rmse"]["mean"] + 0.02
    assert found["simulation"]["best_rmse"]["scenes"] == 0
    assert "3 rollouts from starts jittered by 10 mm" in report["text"]


def test_the_truth_is_a_row_like_the_others(report: dict[str, Any]) -> None:
    truth = report["sets"]["spatial"]["models"]["simulation"]
    assert truth["rmse"]["mean"] == truth["final_speed_error"]["mean"] == 0
    assert truth["correlation"]["mean"] == 1
    assert truth["seconds"]["mean"] is None
    # The toy balls fall as bodies do; their positions, of about 1 m, are known to 6e-8 m.
    assert 0 < truth["momentum_drift"]["mean"] < 1e-3
    assert 0 < truth["energy_gain"]["mean"] < 1e-3


def test_every_group_has_results_of_its_own(report: dict[str, Any]) -> None:
    found = [(group["groups"], group["frames"], len(group["scenes"])) for group in report["groups"]]
    assert found == [(["toy"], 10, 3), (["held"], 10, 1), (["toy"], 20, 3)]
    alone = report["groups"][1]["models"]["ballistic"]["rmse"]
    assert (alone["low"], alone["scenes"]) == (None, 1)


def test_text_says_what_a_reader_needs(report: dict[str, Any]) -> None:
    text = report["text"]
    rmse = report["sets"]["temporal"]["models"]["ballistic"]["rmse"]
    assert cell(Estimate(**rmse), bold=True) in text  # better than what learned nothing
    for line in (
        "3 scenes of group toy, 20 frames (0.38 s).",
        "- ngff was trained on scenes of held.",
        "- spatial: of 4 scenes, the intervals are too narrow.",
    ):
        assert line in text.splitlines()
    for head in ("## Overview", "## Spatial", "## Temporal", "## By group"):
        assert head in text.splitlines()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (Estimate(0.08234, 0.0712, 0.0999, 20), "", "0.0823 (0.0712 to 0.0999)"),
        (Estimate(1.2345, 0.9, 1.5678, 20), "", "1.23 (0.90 to 1.57)"),
        (Estimate(-1e-9, -2e-9, 3e-5, 20), "", "0.000"),
        (Estimate(0.0321, -0.01, 0.05, 20), "+", "+0.0321 (-0.0100 to +0.0500)"),
        (Estimate(6.3e63, 1e10, 7e63, 20), "", "6.30e+63 (1.00e+10 to 7.00e+63)"),
        (Estimate(321.4, None, None, 1), "", "321"),
        (Estimate(None, None, None, 0), "", "undefined"),
        (Estimate(math.inf, None, None, 2), "", "diverged"),
    ],
)
def test_numbers_have_as_many_digits_as_one_reads(value: Estimate, sign: str, text: str) -> None:
    assert cell(value, sign=sign) == text


def test_plots_and_videos_are_there(report: dict[str, Any]) -> None:
    for name in ("spatial", "temporal"):
        assert (report["folder"] / f"error_over_time_{name}.png").read_bytes().startswith(b"\x89PNG")
        videos = report["sets"][name]["videos"]
        assert list(videos) == ["best", "median", "worst"]
        frames = list(read_video(report["folder"] / videos["worst"]))
        assert (len(frames), frames[0].shape) == (report["sets"][name]["frames"], (40, 160, 3))


def test_scenes_are_ranked_by_error() -> None:
    errors = (0.3, 0.1, 0.5, math.inf, 0.2)
    results = [Result("a", f"g/{i}", "g", 9, {"rmse": e}, torch.zeros(9)) for i, e in enumerate(errors)]
    chosen = ranked(results, SceneSet("s", ("g",), 9), "a")
    assert {rank: result.scene for rank, result in chosen.items()} == {"best": "g/1", "median": "g/0", "worst": "g/3"}
    assert list(ranked(results[:2], SceneSet("s", ("g",), 9), "a")) == ["best", "worst"]
    assert list(ranked(results[:1], SceneSet("s", ("g",), 9), "a")) == ["best"]


def test_one_group_is_one_set(monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path) -> None:
    flags = ["--data_root", toy_root, "--groups", "held", "--models", "ballistic", "--no-videos", "--num_keypoints", 8]
    run_evaluation(monkeypatch, *flags, "--output", tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "error_over_time.png",
        "metrics.json",
        "metrics.md",
    ]
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (list(found["sets"]), found["num_keypoints"]) == (["all"], 8)
    assert found["sets"]["all"]["frames"] == 30


def compare(contender: Predictor, root: Path, group: str, output: Path, *flags: str) -> None:
    """Evaluate one contender that no name stands for."""
    needed = ["--data_root", str(root), "--groups", group, "--num_keypoints", "8", "--device", "cpu"]
    settings = evaluate.parse_args([*needed, "--output", str(output), *(flags or ("--no-videos",))])
    compare_models(settings, [contender])


def test_predictions_that_are_not_finite_are_said_to_be(toy_root: Path, tmp_path: Path) -> None:
    class Bursting(Ballistic):
        def forward(self, *arguments: Any) -> torch.Tensor:
            predicted = super().forward(*arguments)
            self.calls = getattr(self, "calls", 0) + 1
            return predicted * math.inf if self.calls == 3 else predicted  # the second scene, after the warming up

    compare(Predictor("ballistic", Bursting(), CPU), toy_root, "toy", tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())["sets"]["all"]["models"]["ballistic"]
    assert (found["rmse"]["mean"], found["diverged"]) == (None, ["toy/1_ball_ball"])
    assert found["momentum_drift"]["scenes"] == 2
    assert "all: ballistic is not finite in toy/1_ball_ball." in (tmp_path / "metrics.md").read_text()


def test_the_report_is_whole_though_videos_are_cut_off(toy_root: Path, tmp_path: Path) -> None:
    class Interrupted(Predictor):
        def roll_out(self, scene: SimulatedScene, frames: int) -> Prediction:
            if (tmp_path / "metrics.json").is_file():  # what follows are the videos
                raise KeyboardInterrupt
            return super().roll_out(scene, frames)

    with pytest.raises(KeyboardInterrupt):
        compare(Interrupted("ballistic", Ballistic(), CPU), toy_root, "held", tmp_path, "--videos")
    (found,) = json.loads((tmp_path / "metrics.json").read_text())["sets"].values()
    assert math.isfinite(found["models"]["ballistic"]["rmse"]["mean"])
    assert "ballistic" in (tmp_path / "metrics.md").read_text()


def test_undefined_correlation_is_null(toy_root: Path, tmp_path: Path) -> None:
    """A model in which nothing moves has no correlation."""

    class Still(torch.nn.Module):
        def forward(self, state, num_frames, frame_dt, pushes=None):  # type: ignore[no-untyped-def]
            return state.points[:, None].expand(-1, num_frames, -1, -1, -1)

    compare(Predictor("ballistic", Still(), CPU), toy_root, "toy", tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())["sets"]["all"]["models"]["ballistic"]
    assert found["correlation"]["mean"] is None
    assert "undefined" in (tmp_path / "metrics.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--models ngff,magic",
            "expected ngff, .*, mpm_vlm, ballistic, floor or a name of --checkpoints, found 'magic'",
        ),
        ("--models ballistic,ballistic", "--models: ballistic stands there twice"),
        ("--models ballistic --checkpoints {checkpoint}", "one is of ngff, which is not among --models ballistic"),
        ("--models ngff --checkpoints {checkpoint} {checkpoint}", "two are of ngff: give one of them another name"),
        ("--models ngff --checkpoints {checkpoint}/nothing", "nothing: no such file"),
        ("--models gcn --checkpoints gcn={checkpoint}", "dynamic_model: expected gcn, found ngff"),
        ("--models ngff --checkpoints simulation={checkpoint}", "simulation is no learned model"),
        ("--models ngff --checkpoints {checkpoint} --num_keypoints 8", "--num_keypoints 8: ngff was trained on 16"),
        ("--models mpm_vlm", "mpm_vlm/toy/0_ball_ball: no such directory"),
        ("--models floor", "shifted/toy/0_ball_ball: no such directory"),
        ("--steps 1", "--steps: expected 2 or more"),
        ("--horizons 80 1", "--horizons: expected 2 or more, found 1"),
        ("--rollouts -1", "--rollouts: expected 0 or more"),
        ("--models ballistic --steps 31", r"scene toy/0_ball_ball: expected at least 31 frames .*, found 30"),
        ("--models ballistic --sets late=toy@31", r"expected at least 31 frames \(--steps or @ in --sets\), found 30"),
        ("--models ballistic --sets a=toy a=held", "--sets: a stands there twice"),
        ("--models ballistic --sets other=nowhere", "mpm/nowhere: no such group; there are held, toy"),
    ],
)
def test_bad_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, checkpoint: Path, flags: str, message: str
) -> None:
    words = flags.format(checkpoint=checkpoint).split()
    out = tmp_path / "report"
    with pytest.raises(InputError, match=message) as caught:
        run_evaluation(monkeypatch, "--data_root", toy_root, "--groups", "toy", "--output", out, *words)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("text", ["toy", "=toy", "a=", "a=toy,", "a=toy@", "a=toy@2.5", "a b=toy"])
def test_sets_that_cannot_be_read(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.parse_args(["--sets", text])
    assert caught.value.code == 2
    assert f"expected NAME=GROUP[,GROUP...][@FRAMES], found {text!r}" in capsys.readouterr().err


def test_sets_or_groups_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.parse_args([])
    assert "one of --groups and --sets is needed" in capsys.readouterr().err


def test_a_scene_with_nan_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_scene_writer: Callable[..., None]
) -> None:
    import h5py

    layout = Layout(tmp_path)
    for i in range(2):
        toy_scene_writer(layout.mpm_dir("g", f"{i}_ball"), i, objects=1, frames=4)
    with h5py.File(layout.mpm_dir("g", "1_ball") / "0002.h5", "r+") as file:
        file["pos"][7] = np.nan
    flags = ["--data_root", tmp_path, "--groups", "g", "--models", "ballistic", "--output", tmp_path / "out"]
    with pytest.raises(InputError, match=r"g/1_ball/0002.h5: pos: .*finite"):
        run_evaluation(monkeypatch, *flags)
    shutil.rmtree(layout.mpm_dir("g", "1_ball"))
    run_evaluation(monkeypatch, *flags, "--no-videos")


@pytest.mark.gpu
def test_a_gpu_measures_what_a_cpu_does(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, checkpoint: Path
) -> None:
    found = []
    for device in ("cpu", "cuda"):
        flags = ["--data_root", toy_root, "--groups", "toy", "--checkpoints", checkpoint, "--resolution", 32]
        run_evaluation(monkeypatch, *flags, "--output", tmp_path / device, "--device", device)
        found.append(json.loads((tmp_path / device / "metrics.json").read_text()))
    for name in ("ngff", "ballistic"):
        ours, theirs = (report["sets"]["all"]["models"][name] for report in found)
        # Rounding of float32, which 20 frames of falling and bouncing make larger.
        assert theirs["rmse"]["mean"] == pytest.approx(ours["rmse"]["mean"], rel=1e-2, abs=1e-4)
        assert theirs["seconds"]["mean"] > 0
    assert (tmp_path / "cuda" / "videos" / "all_best.mp4").is_file()
