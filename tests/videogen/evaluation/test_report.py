from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from dynamic_models.evaluation.settings import SceneSet
from gaussians.stage.errors import InputError
from videogen.evaluation.report import VideoReport, summarize, to_json, to_markdown
from videogen.evaluation.scene_result import (
    MEASURES,
    PREDICTIONS,
    RECONSTRUCTED,
    SEEN,
    STILL,
    TRUE,
    SceneResult,
    key_of,
)
from videogen.evaluation.video_evaluation import choose_scenes

SPATIAL = SceneSet("spatial", ("3",), 0)
ABOUT = {"dynamic_model": "ngff", "resolution": 64, "device": "a CPU", "refined": False}


def scene(name: str, errors: dict[str, list[float]]) -> SceneResult:
    """A scene of two objects, all of whose measures are ``errors`` over time, and the second object shows nowhere."""
    tensors = {}
    for prediction in PREDICTIONS:
        values = torch.tensor(errors[prediction], dtype=torch.float64)
        by_object = torch.stack([values, torch.full_like(values, torch.nan)], 1)
        for measure in MEASURES:
            whole = measure in ("psnr", "ssim")
            tensors[key_of(prediction, SEEN, measure)] = values if whole else by_object
    told = {
        "held_out_psnr": 30.0,
        "held_out_ssim": 0.9,
        "mask_iou": 0.95,
        "seconds": {"gaussians": 9.0},
    }
    facts = {"kinds": [SEEN], "objects": ["a", "b"], "frame_dt": 0.02, "reconstruction": told}
    return SceneResult("3", name, tensors, facts)


def test_what_the_reconstruction_adds_is_the_difference_in_the_same_scenes() -> None:
    results = [
        scene("0_a_b", {TRUE: [0, 1, 3], RECONSTRUCTED: [0.5, 2, 5], STILL: [0, 8, 8]}),
        scene("1_a_b", {TRUE: [0, 5, 5], RECONSTRUCTED: [0.7, 6, 6], STILL: [0, 4, 4]}),
    ]
    found = {name: value.mean for name, value in summarize(results, SEEN, "metres").items()}
    expected = {"start": 0.6, TRUE: (2 + 5) / 2, RECONSTRUCTED: (3.5 + 6) / 2, "added": (1.5 + 1) / 2, STILL: 6}
    assert found == pytest.approx(expected)
    report = VideoReport({SPATIAL: results}, ["3/2_a_b: lost"], ABOUT)
    data = to_json(report)
    assert data["sets"]["spatial"]["pictures"][SEEN]["iou"]["added"]["mean"] == pytest.approx(1.25)
    assert data["scenes"]["3/1_a_b"]["measured"][TRUE][SEEN]["psnr"] == {"start": 0, "mean": 5}
    text = to_markdown(report)
    row = next(line for line in text.splitlines() if line.startswith("| 3/0_a_b"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["30.0", "0.900", "0.950"]
    assert "- 3/2_a_b: lost" in text
    assert "of fewer than 10 scenes" in text


def test_a_report_without_scenes_names_what_failed() -> None:
    text = to_markdown(VideoReport({SPATIAL: []}, ["3/0_a_b: lost"], ABOUT))
    assert text.endswith("- 3/0_a_b: lost\n")


def test_scenes_are_taken_from_the_groups_of_a_set_in_turn(tmp_path: Path) -> None:
    for group, count in (("4", 3), ("5", 1), ("6", 3)):
        for number in range(count):
            (tmp_path / "mpm" / group / f"{number}_duck").mkdir(parents=True)
    chosen = choose_scenes(Layout(tmp_path), SceneSet("compositional", ("4", "5", "6"), 0), 5)
    assert [f"{group}/{name[0]}" for group, name in chosen] == ["4/0", "5/0", "6/0", "4/1", "6/1"]
    with pytest.raises(InputError, match="mpm/7: no trajectories, which --sets seven asks for"):
        choose_scenes(Layout(tmp_path), SceneSet("seven", ("7",), 0), 5)
