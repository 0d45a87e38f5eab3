"""What a training goes on from, whole or damaged."""

import contextlib
import copy
import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dynamic_models import train
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.training import loop
from dynamic_models.training.training_state import MetricsLog, StopSignal
from gaussians.stage.errors import InputError

FLAGS = "--num_keypoints 6 --hidden_dim 8 --num_layers 1 --steps 8 --chunk 3 --batch_size 3 --epochs 4 --lr 1e-3"
FLAGS += " --save_interval 2 --training_tracker none --video_interval 0 --device cpu --groups toy"


class StopsAfterThree(StopSignal):
    """SIGTERM during the third of four iterations."""

    checks = 0

    @property
    def asked(self) -> bool:
        self.checks += 1
        return self.checks == 3


@pytest.fixture(scope="module")
def interrupted(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("interrupted") / "training"
    go_on(toy_root, output, StopsAfterThree())
    return output


def go_on(root: Path, output: Path, stop: StopSignal | None = None) -> None:
    loop.train(train.parse_args(f"--data_root {root} --output {output} {FLAGS}".split()), stop)


def iterations(output: Path) -> list[int]:
    return [json.loads(line)["iteration"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_sigterm_does_what_it_did_once_a_training_has_failed() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(InputError), StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        raise InputError("the loss is not finite")
    assert signal.getsignal(signal.SIGTERM) is former


def test_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    for i in range(1, 6):
        log.write({"iteration": i})
    log.close()
    MetricsLog(tmp_path / "metrics.jsonl", 3).close()
    assert iterations(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda log: b"", [4]),
        (lambda log: log[:40], [4]),
        (lambda log: log.replace(b'"loss"', b'"lo"ss', 1), [2, 3, 4]),
        (lambda log: log.replace(b'"loss"', b'"\xff\xfes"', 1), [2, 3, 4]),
        (lambda log: log.replace(b'"iteration": 2', b'"iteration": "x"'), [1, 3, 4]),
        (lambda log: log.replace(b'"iteration": 2', b'"iteration": 1e99'), [1, 3, 4]),
        (lambda log: b"[]\n" + log[: log.index(b"\n")], [1, 4]),
        (lambda log: bytes(100), [4]),
    ],
)
def test_a_damaged_log_does_not_keep_a_training_from_going_on(
    interrupted: Path,
    toy_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes],
    found: list[int],
) -> None:
    output = shutil.copytree(interrupted, tmp_path / "training")
    log = output / "metrics.jsonl"
    log.write_bytes(damage(log.read_bytes()))
    go_on(toy_root, output)
    assert iterations(output) == found
    lost = 4 - len(found)
    assert f"{log}: warning: {lost} of 3 iterations are missing or damaged in it" in "".join(capsys.readouterr())


def with_moment(name: str, value: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["optimizer"]["state"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model"), "no 'model'"),
        (lambda state: state.pop("optimizer"), "no 'optimizer'"),
        (lambda state: state.pop("identity"), "no 'identity'"),
        (lambda state: state.update(identity="{"), "Expecting"),
        (lambda state: state["progress"].update(iteration="x"), "progress: iteration: expected"),
        (lambda state: state["progress"].update(iteration=-1), "progress: iteration: expected"),
        (lambda state: state["progress"].update(elapsed=math.nan), "progress: elapsed: expected"),
        (lambda state: state["progress"].update(best=math.nan), "progress: best: expected"),
        (lambda state: state.update(progress=None), "progress: "),
        (lambda state: state["model"].popitem(), "is missing from the weights"),
        (lambda state: state["model"].update({next(iter(state["model"])): torch.zeros(1)}), "expected shape"),
        (lambda state: next(iter(state["model"].values())).fill_(math.nan), "non-finite"),
        (lambda state: state["model"].update({next(iter(state["model"])): "text"}), "no tensor"),
        (lambda state: state["optimizer"]["state"].clear(), "no moments of weight 0"),
        (with_moment("exp_avg", torch.zeros(2)), "exp_avg of weight 0"),
        (with_moment("exp_avg_sq", torch.zeros(1).expand(10**9)), "10.* declared"),
        (with_moment("step", torch.tensor(math.nan)), "step of weight 0"),
    ],
)
def test_a_damaged_state_is_one_line_that_says_what_to_do(
    interrupted: Path, toy_root: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    output = shutil.copytree(interrupted, tmp_path / "training")
    state = copy.deepcopy(torch.load(output / "state.pt", weights_only=True))
    change(state)
    torch.save(state, output / "state.pt")
    before = {path: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(InputError, match=rf"state\.pt: damaged \(.*{message}.*\); --resume none starts anew"):
        go_on(toy_root, output)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_a_state_from_before_walls_had_a_weight_goes_on_without_one(
    interrupted: Path, toy_root: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(interrupted, tmp_path / "training")
    state = torch.load(output / "state.pt", weights_only=True)
    identity = json.loads(state["identity"])
    assert identity.pop("wall_weight") == 0
    state["identity"] = json.dumps(identity)
    torch.save(state, output / "state.pt")
    with pytest.raises(InputError, match=r"was trained with wall_weight 0.*, now 3"):
        loop.train(train.parse_args(f"--data_root {toy_root} --output {output} {FLAGS} --wall_weight 3".split()))
    go_on(toy_root, output)
    assert iterations(output) == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"PK rubbish", bytes(1000)])
def test_a_state_that_is_no_archive_is_one_line(
    interrupted: Path, toy_root: Path, tmp_path: Path, content: bytes
) -> None:
    output = shutil.copytree(interrupted, tmp_path / "training")
    (output / "state.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"state\.pt: damaged"):
        go_on(toy_root, output)


def test_a_damaged_best_checkpoint_is_replaced(
    interrupted: Path, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(interrupted, tmp_path / "training")
    state = torch.load(output / "state.pt", weights_only=True)
    assert state["progress"]["best"] < math.inf
    state["progress"]["best"] = 0.0  # no later one is better
    torch.save(state, output / "state.pt")
    next(output.glob("best-*.safetensors")).unlink()
    go_on(toy_root, output)
    assert "the next checkpoint takes its place" in "".join(capsys.readouterr())
    load_checkpoint(output / "best.json")
    (output / "best.json").write_text("")
    with pytest.raises(InputError, match=r"best\.json: .*; --resume none trains anew"):
        go_on(toy_root, output)
