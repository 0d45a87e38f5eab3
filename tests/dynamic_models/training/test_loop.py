import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.windows import Sampling, load_scenes
from dynamic_models.models.ngff import NGFF
from dynamic_models.models.registry import build_model
from dynamic_models.train import parse_args
from dynamic_models.training.loop import (
    check_finite,
    duration,
    launcher_notes,
    learning_rate,
    room_for,
    window_length,
)
from gaussians.stage.errors import InputError


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(1e-3, 1e-4, done / 1000) for done in range(1001)]
    peak = rates.index(max(rates))
    assert peak == 20
    assert rates[peak] == pytest.approx(1e-3)
    assert 0 < rates[0] < rates[1]
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert rates[510] == pytest.approx((1e-3 + 1e-4) / 2)  # half of the cosine
    assert rates[-1] == pytest.approx(1e-4)
    assert learning_rate(1e-3, 1e-4, 1.2) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "1.5 min"), (5000, "83 min"), (9000, "2.5 h"), (4e5, "4.6 days")],
)
def test_durations_are_readable(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_what_the_launcher_does_not_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_args(["--mixed_precision", "no"])
    for name in ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU", "MASTER_ADDR", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert launcher_notes(settings, 1) == []
    # What `accelerate launch --cpu --num_processes 2 --mixed_precision bf16` sets.
    for name, value in (("MIXED_PRECISION", "bf16"), ("USE_CPU", "True")):
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    overruled, alone = launcher_notes(settings, 1)
    assert overruled == "accelerate's mixed precision bf16 is overruled by --mixed_precision no"
    assert alone.startswith("accelerate launch --cpu starts one process, whatever --num_processes says")
    assert launcher_notes(parse_args(["--mixed_precision", "bf16"]), 2) == []


def test_windows_grow_to_full_length_by_half_of_the_training() -> None:
    assert [window_length(8, 40, done) for done in (0, 0.25, 0.5, 1)] == [8, 24, 40, 40]
    assert window_length(40, 40, 0) == 40


def test_room_is_sized_from_the_data(toy_root: Path) -> None:
    """With shapes as on a GPU: there is enough for any batch of windows as they were simulated, and not for all."""
    scenes = load_scenes(Layout(toy_root), ["toy"], 12, 30, progress=False)
    model = build_model(
        {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1, "threshold": 0.3, "step_size": 0.02}
    )
    assert isinstance(model, NGFF)
    sampling = Sampling(seed=0, num_frames=30, batch_size=2, objects=2, points=12)
    share = room_for(model, scenes, sampling, 10, torch.device("cpu"))
    at_most = max(float(model.needed(scene.window(k, 1).state)) for scene in scenes for k in range(30))
    assert 0.5 * at_most < share <= at_most
    model.fixed_shapes, model.room = True, 1 / 64
    model.make_room(share)
    assert 1.25 * share <= model.room < 1
    reserved = model.room
    for scene in scenes:
        state, _, pushes = scene.window(27, 3)
        model(state, 3, scene.frame_dt, pushes)
    assert model.room == reserved


def test_loss_that_is_not_finite_names_the_scene() -> None:
    with pytest.raises(InputError, match="iteration 7: the loss is not finite in scene 2/b;"):
        check_finite(torch.tensor([1.0, math.nan, 2.0]), ["2/a", "2/b", "2/a"], 7)
