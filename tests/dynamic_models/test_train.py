import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio
import pytest
import torch
from tensorboard.backend.event_processing import event_accumulator

from dataset.layout import Layout
from dynamic_models import train
from dynamic_models.data.windows import load_scenes
from dynamic_models.evaluation.metrics import trajectory_errors
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.training import loop
from dynamic_models.training.training_state import StopSignal
from gaussians.stage.claims import claim
from gaussians.stage.errors import InputError
from tests.faults import start

SMALL = "--num_keypoints 12 --hidden_dim 12 --num_layers 1 --steps 20 --chunk 6 --batch_size 3 --step_size 2e-2"
SMALL += " --epochs 8 --save_interval 2 --lr 3e-3 --min_lr 1e-3 --training_tracker none --video_interval 0 --device cpu"
ROOT = Path(__file__).resolve().parent.parent.parent


def run_training(monkeypatch: pytest.MonkeyPatch, root: Path, output: Path, flags: str = "") -> list[dict[str, Any]]:
    """Train in this process; the lines of metrics.jsonl."""
    arguments = ["train", "--data_root", str(root), "--output", str(output), *SMALL.split(), *flags.split()]
    monkeypatch.setattr(sys, "argv", arguments)
    train.main()
    return read_metrics(output)


def read_metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an undisturbed training."""
    output = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_training(monkeypatch, toy_root, output, "--groups toy")
    return output


def test_training_writes_a_checkpoint_that_knows_its_data(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run_training(monkeypatch, toy_root, tmp_path / "out", "--groups toy --val_groups held")
    assert [line["iteration"] for line in metrics] == list(range(1, 9))
    assert capsys.readouterr().out.splitlines()[-1].startswith("trained ngff in ")
    model, info = load_checkpoint(tmp_path / "out")
    assert info.num_keypoints == 12
    assert info.materials["density"] == pytest.approx(600)
    assert info.settings["threshold"] == pytest.approx(0.06)  # three cells of 0.02 m
    best = min(line["val_rmse"] for line in metrics if "val_rmse" in line)
    assert info.training["val_rmse"] == best
    # What the JSON says of the checkpoint is what the checkpoint does.
    scene = load_scenes(Layout(toy_root), ["held"], 12, 20, progress=False)[0]
    state, target, _ = scene.window(0, 20)
    with torch.no_grad():
        error = trajectory_errors(model(state, 20, 0.02)[0], target[0], state.mask[0]).rmse
    assert error == pytest.approx(best, rel=1e-4)


def test_trainings_can_be_looked_at(monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_training(
        monkeypatch, toy_root, out, "--groups toy --val_groups held --training_tracker tensorboard --video_interval 9"
    )
    assert imageio.v3.imread(out / "curves.png").std() > 10
    video = imageio.v3.imread(out / "rollout.mp4")
    assert video.shape == (20, 320, 640, 3)  # --steps frames of the simulation and of the model
    assert abs(video[0, 60:300, :320].astype(float) - video[0, 60:300, 320:]).mean() < 1  # both begin alike
    (events,) = (out / "ngff").glob("events.*")
    reader = event_accumulator.EventAccumulator(str(events)).Reload()
    assert [entry.value for entry in reader.Scalars("loss")] == pytest.approx([x["loss"] for x in read_metrics(out)])


def test_one_small_scene_is_learned_by_heart(monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path) -> None:
    """A bounce off the floor, seen whole: the loss falls far below what it is untrained."""
    flags = "--groups held --steps 25 --chunk 25 --batch_size 1 --epochs 90 --save_interval 90 --no-augment"
    flags += " --threshold 0.15 --loss mse"
    metrics = run_training(monkeypatch, toy_root, tmp_path / "out", flags + " --ode_method leapfrog --hidden_dim 24")
    assert metrics[0]["loss"] > 5e-5  # untrained springs are a centimetre off
    assert metrics[-1]["loss"] < 0.15 * metrics[0]["loss"]


def test_resumed_training_is_the_undisturbed_one(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path
) -> None:
    whole = run_training(monkeypatch, toy_root, tmp_path / "whole", "--groups toy --chunk_start 3")

    class StopsAfterThree(StopSignal):
        checks = 0

        @property
        def asked(self) -> bool:
            self.checks += 1
            return self.checks == 3

    flags = f"--data_root {toy_root} --output {tmp_path / 'parts'} {SMALL} --groups toy --chunk_start 3"
    loop.train(train.parse_args(flags.split()), StopsAfterThree())
    part = read_metrics(tmp_path / "parts")
    assert [line["iteration"] for line in part] == [1, 2, 3]
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 4, "loss"')  # what a kill may leave behind
    joined = run_training(monkeypatch, toy_root, tmp_path / "parts", "--groups toy --chunk_start 3")
    losses, expected = ([line["loss"] for line in metrics] for metrics in (joined, whole))
    assert losses == expected


@pytest.mark.parametrize("moment", [15, 30, 49, 74])
def test_a_killed_training_goes_on_from_what_was_saved(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, whole: Path, tmp_path: Path, moment: int
) -> None:
    """Killed at one of some 85 moments at which it is about to change a file."""
    flags = ("--data_root", toy_root, "--output", tmp_path / "parts", "--groups", "toy", *SMALL.split())
    killed = start(tmp_path / "log", "dynamic_models.train", *flags, moment=moment)
    assert killed.wait() == -signal.SIGKILL
    assert read_metrics(tmp_path / "parts")
    joined = run_training(monkeypatch, toy_root, tmp_path / "parts", "--groups toy")
    assert [line["loss"] for line in joined] == [line["loss"] for line in read_metrics(whole)]
    found, expected = (load_checkpoint(path)[1].training["train_rmse"] for path in (tmp_path / "parts", whole))
    assert found == expected


def test_finished_or_foreign_training_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "best.json").read_bytes()
    run_training(monkeypatch, toy_root, tmp_path, "--groups toy")
    assert "already trained" in capsys.readouterr().out
    with pytest.raises(InputError, match="was trained with hidden_dim 12, now 16"):
        run_training(monkeypatch, toy_root, tmp_path, "--groups toy --hidden_dim 16")
    (tmp_path / "state.pt").write_bytes(b"PK rubbish")
    with pytest.raises(InputError, match=r"state\.pt: damaged"):
        run_training(monkeypatch, toy_root, tmp_path, "--groups toy")
    assert (tmp_path / "best.json").read_bytes() == before
    run_training(monkeypatch, toy_root, tmp_path, "--groups toy --resume none --epochs 2 --hidden_dim 16")
    assert load_checkpoint(tmp_path / "last.json")[1].settings["hidden_dim"] == 16


def test_training_goes_on_from_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(monkeypatch, toy_root, tmp_path / "first", "--groups toy --hidden_dim 16")
    flags = f"--groups held --pretrained {tmp_path / 'first'} --lr 1e-9 --min_lr 1e-9 --epochs 2"
    run_training(monkeypatch, toy_root, tmp_path / "second", flags)  # whose own --hidden_dim is another
    (first, _), (second, info) = load_checkpoint(tmp_path / "first"), load_checkpoint(tmp_path / "second")
    assert info.settings["hidden_dim"] == 16
    for name, weights in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weights, rtol=0, atol=1e-8)
    capsys.readouterr()
    run_training(monkeypatch, toy_root, tmp_path / "second", flags)
    assert "already trained" in capsys.readouterr().out
    run_training(monkeypatch, toy_root, tmp_path / "other", "--groups toy --hidden_dim 16 --epochs 1 --seed 1")
    with pytest.raises(InputError, match="was trained with pretrained"):
        run_training(monkeypatch, toy_root, tmp_path / "second", flags.replace("first", "other"))
    with pytest.raises(InputError, match=r"weight 'stress.* is unknown"):
        run_training(monkeypatch, toy_root, tmp_path / "third", f"{flags} --no-deformation")


def test_a_directory_has_one_training_at_a_time(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path
) -> None:
    with claim(tmp_path / "out"), pytest.raises(InputError, match=r"out: process \d+ on .* is writing there"):
        run_training(monkeypatch, toy_root, tmp_path / "out", "--groups toy")
    run_training(monkeypatch, toy_root, tmp_path / "out", "--groups toy")
    assert not (tmp_path / "out" / ".lock").exists()


def test_accumulated_batches_are_one_large_batch(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path
) -> None:
    large = run_training(monkeypatch, toy_root, tmp_path / "a", "--groups toy --batch_size 4")
    small = run_training(
        monkeypatch, toy_root, tmp_path / "b", "--groups toy --batch_size 2 --gradient_accumulation_steps 2"
    )
    # float32 sums in another order, through 6 updates
    assert [line["loss"] for line in small] == pytest.approx([line["loss"] for line in large], rel=1e-3)


def test_the_remaining_time_is_estimated(toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"--data_root {toy_root} --output {tmp_path} {SMALL} --groups toy"
    ticks = itertools.count()
    loop.train(train.parse_args(flags.split()), clock=lambda: 1000.0 * next(ticks))
    # Two of eight updates are left; the clock is looked at two or three times an update.
    hours = re.search(r"about ([\d.]+) (h|min) to go at this rate; --resume none --time_limit", capsys.readouterr().out)
    assert hours
    assert 4000 <= float(hours[1]) * (3600 if hours[2] == "h" else 60) <= 7000


def test_time_limit_ends_a_training(toy_root: Path, tmp_path: Path) -> None:
    flags = f"--data_root {toy_root} --output {tmp_path} {SMALL} --groups toy --epochs 1000000 --time_limit 1"
    ticks = itertools.count()
    loop.train(train.parse_args(flags.split()), clock=lambda: 0.1 * next(ticks))
    metrics = read_metrics(tmp_path)
    assert metrics[-1]["seconds"] >= 1
    assert metrics[-2]["seconds"] < 1
    assert load_checkpoint(tmp_path / "last.json")[1].training["iterations"] == metrics[-1]["iteration"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--chunk 30", "--chunk: expected 2 to 20"),
        ("--chunk_start 9", "--chunk_start: expected 2 to 6"),
        ("--lr 0", "--lr: expected a positive number"),
        ("--min_lr 1", "--min_lr: expected at most"),
        ("--noise -0.1", r"--noise: expected 0 or more, found -0\.1"),
        ("--groups nowhere", "no such group; there are held, toy"),
        ("--dt 0.01", r"frame_dt: expected 0\.01 s, found 0\.02 s"),
        ("--groups toy --steps 60", "expected at least 60 frames"),
        ("--training_tracker swanlab", "swanlab is not installed"),
    ],
)
def test_unusable_flags_write_nothing(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path, flags: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "swanlab", None)  # what a library that is not installed looks like
    with pytest.raises(InputError, match=message):
        run_training(monkeypatch, toy_root, tmp_path / "out", flags)
    assert not (tmp_path / "out").exists()


def test_published_flags_are_accepted_with_their_defaults() -> None:
    published = {
        "seed": 0, "dynamic_model": "ngff", "steps": 100, "chunk": 100, "num_keypoints": 4096, "sample_num": 60,
        "epochs": 2001, "batch_size": 8, "step_size": 5e-3, "mass": 0.1, "hidden_dim": 512,
        "num_layers": 2, "lr": 1e-4, "min_lr": 5e-5, "save_interval": 100, "rtol": 1e-3, "atol": 1e-4,
        "ode_method": "euler", "gradient_accumulation_steps": 1, "mixed_precision": "no",
    }  # fmt: skip
    args = train.parse_args([])
    assert {name: getattr(args, name) for name in published} == published
    readme = "--num_keypoints 2048 --ode_method euler --step_size 2e-2 --lr 1e-3 --min_lr 1e-4 --hidden_dim 128 "
    readme += "--num_layers 4 --batch_size 8 --steps 80 --chunk 80 --epochs 2000 --dynamic_model ngff --sample_num 10 "
    readme += "--output_dim 3 --threshold 5e-2 --dt 2e-2 --project_name p --experiment_name e"
    args = train.parse_args(readme.split())
    assert args.threshold == 0.05
    assert args.output == Path("checkpoints/e")


def launch(arguments: list[str], *launcher: str) -> subprocess.Popen[str]:
    """Start a training; with a launcher one in which what GPUs do differently is done, see ``fixed_shapes``."""
    module = "tests.dynamic_models.training.fixed_shapes" if launcher else "dynamic_models.train"
    command = [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), module, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_sigterm_saves_and_ends_well(toy_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = f"--data_root {toy_root} --groups toy --output {out} {SMALL} --epochs 1000000 --save_interval 1000000"
    process = launch(flags.split())
    assert process.stderr is not None
    shown = ""
    while "loss=" not in shown:  # beside the progress bar, after the first iteration
        character = process.stderr.read(1)
        assert character, f"the training ended: {shown}"
        shown += character
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.splitlines()[-1].startswith("interrupted and saved ngff")
    iterations = load_checkpoint(out / "last.json")[1].training["iterations"]
    assert iterations == read_metrics(out)[-1]["iteration"]
    assert (out / "state.pt").is_file()


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_the_doubled_batch(
    monkeypatch: pytest.MonkeyPatch, toy_root: Path, tmp_path: Path
) -> None:
    """With shapes as on a GPU, and hardly any room for contacts at first."""
    shared = f"--data_root {toy_root} --groups toy {SMALL} --epochs 8 --threshold 0.2"
    flags = f"{shared} --batch_size 2 --output {tmp_path / 'two'}".split()
    process = launch(flags, "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    rooms = [re.findall(rf"process {k}: room .* then ([\d.]+)", output) for k in (0, 1)]
    assert rooms[0] == rooms[1]  # after every update
    assert float(rooms[0][-1]) > 0.04  # both have made some
    one = run_training(monkeypatch, toy_root, tmp_path / "one", "--groups toy --batch_size 4 --threshold 0.2")
    two = read_metrics(tmp_path / "two")
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-3)
    first, second = (load_checkpoint(tmp_path / name / "last.json")[0].state_dict() for name in ("one", "two"))
    for name in first:
        # Means over two halves instead of one whole, in float32; Adam divides small gradients by themselves.
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
