import json
import sys
from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from dynamic_models import evaluate
from dynamic_models.ballistic import Ballistic
from dynamic_models.checkpoint import CheckpointInfo, save_checkpoint
from dynamic_models.data import load_scenes
from dynamic_models.metrics import trajectory_errors
from dynamic_models.models import build_model
from gaussians.errors import InputError


def run_evaluation(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--device", "cpu", *flags])
    evaluate.main()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    settings = {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1, "step_size": 0.02}
    info = CheckpointInfo(settings=settings, num_keypoints=16, frame_dt=0.02)
    save_checkpoint(tmp_path / "ngff" / "best.json", build_model(settings), info)
    return tmp_path / "ngff"


def test_report_holds_the_errors_of_every_model(
    monkeypatch: pytest.MonkeyPatch,
    toy_root: Path,
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "report"
    flags = ["--data_root", str(toy_root), "--groups", "toy", "--checkpoints", str(checkpoint), "--output", str(out)]
    run_evaluation(monkeypatch, flags)
    report = json.loads((out / "metrics.json").read_text())
    assert report["num_keypoints"] == 16
    assert report["frames"] == 30
    scenes = load_scenes(Layout(toy_root), ["toy"], 16, 30, progress=False)
    errors = []
    for scene in scenes:
        state, target, _ = scene.window(0, 30)
        errors.append(trajectory_errors(Ballistic()(state, 30, 0.02)[0], target[0], state.mask[0]))
    ballistic = report["models"]["ballistic"]
    assert ballistic["rmse"] == pytest.approx(sum(e.rmse for e in errors) / 3, abs=1e-6)
    assert ballistic["final_position_error"] == pytest.approx(sum(e.final_position_error for e in errors) / 3, abs=1e-6)
    assert ballistic["error_over_time"] == pytest.approx(
        torch.stack([e.over_time for e in errors]).mean(0).tolist(), abs=1e-6
    )
    # Untrained, it falls through the floor where the ballistic one stops.
    assert report["models"]["ngff"]["rmse"] > ballistic["rmse"]
    assert set(report["models"]["ngff"]["scenes"]) == {scene.name for scene in scenes}
    table = (out / "metrics.md").read_text()
    assert table in capsys.readouterr().out
    assert f"| ballistic | {ballistic['rmse']:.4g} |" in table
    assert (out / "error_over_time.png").read_bytes().startswith(b"\x89PNG")


def test_undefined_correlation_is_null(monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path) -> None:
    """Two frames in which the ballistic model moves, but a model that does not has no correlation."""

    class Still(torch.nn.Module):
        def forward(self, state, num_frames, frame_dt):  # type: ignore[no-untyped-def]
            return state.points[:, None].expand(-1, num_frames, -1, -1, -1)

    monkeypatch.setattr(evaluate, "Ballistic", Still)
    flags = ["--data_root", str(toy_root), "--groups", "toy", "--models", "ballistic", "--output", str(tmp_path)]
    run_evaluation(monkeypatch, flags)
    assert json.loads((tmp_path / "metrics.json").read_text())["models"]["ballistic"]["correlation"] is None
    assert "undefined" in (tmp_path / "metrics.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--models ngff,magic", "expected ngff, ballistic, found 'magic'"),
        ("--models ballistic --checkpoints {checkpoint}", "one is of ngff, which is not among --models ballistic"),
        ("--models ngff --checkpoints {checkpoint}/nothing", "nothing: no such file"),
        ("--steps 1", "--steps: expected 2 or more"),
        ("--models ballistic --steps 31", r"expected at least 31 frames \(--steps\), found 30"),
    ],
)
def test_bad_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, checkpoint: Path, flags: str, message: str
) -> None:
    words = flags.format(checkpoint=checkpoint).split()
    out = tmp_path / "report"
    with pytest.raises(InputError, match=message):
        run_evaluation(monkeypatch, ["--data_root", str(toy_root), "--groups", "toy", "--output", str(out), *words])
    assert not out.exists()
