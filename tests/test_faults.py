"""What kills, full disks and second processes do to a dataset: nothing that the next run does not mend."""

import itertools
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dataset.catalog import objects_of_split
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.scene_files import FALLING, cube, gaussians_at, make_scene
from tests.faults import RENDER, SIMULATE, Run, contents, small_disk, start, wait_for_orphans

SCENES = ("0_ball_duck", "1_duck_ball")
KILLS = 10  # of each command
SETTINGS = FALLING | {"n_grid": 20, "frame_num": 3, "mpm_space_viewpoint_center": [2.0, 2.0, 0.7]}
PICTURES = ("--views", "0,circle360", "--resolution", 16, "--compile_video", "--render_img", "--render_depth")


@dataclass
class Stage:
    """A command that makes many files of a small group, and what it makes undisturbed.

    Attributes:
        arguments: all but where to write.
        logs: directory of what its runs print.
        reference: the files that it makes.
        moments: at how many it can be killed.
    """

    module: str
    arguments: tuple[object, ...]
    logs: Path
    reference: dict[str, Any] = field(default_factory=dict)
    moments: int = 0

    def start(self, output: Path, moment: int = 0) -> Run:
        log = self.logs / f"{self.module}-{next(_numbers)}.log"
        return start(log, self.module, *self.arguments, "--output_path", output, moment=moment)

    def complete(self, output: Path) -> None:
        """Run it to its end, which leaves what an undisturbed run does and nothing else."""
        run = self.start(output)
        assert run.wait() == 0, run.lines
        assert contents(output, hidden=True) == self.reference

    def check_nothing_half(self, output: Path) -> None:
        """No file of ``output`` is another than that of an undisturbed run, unless it says so itself."""
        for name, content in contents(output).items():
            if name.endswith("meta.json") and not content["complete"]:
                with pytest.raises(InputError, match="incomplete"):
                    TrajectoryReader((output / name).parent)
            elif isinstance(content, dict) and "made_from" in content:
                expected = self.reference[name]
                assert content["made_from"] == expected["made_from"]
                assert content["outputs"].items() <= expected["outputs"].items()
            else:
                assert content == self.reference[name], name


_numbers = itertools.count()


def make_stage(module: str, arguments: tuple[object, ...], output: Path) -> Stage:
    """Run a command undisturbed."""
    stage = Stage(module, arguments, output.parent.parent)
    run = stage.start(output)
    assert run.wait() == 0, run.lines
    stage.reference, stage.moments = contents(output, hidden=True), run.moments
    return stage


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two scenes, simulated and rendered."""
    root = tmp_path_factory.mktemp("dataset")
    for name in SCENES:
        make_scene(root / "scenes" / "2" / name, tuple(name.split("_")[1:]), count=60)
    write_ply(root / "backgrounds" / "table.ply", gaussians_at(cube(50, (0, 0, -1.2), 7)))
    (root / "config.json").write_text(json.dumps(SETTINGS))
    return root


@pytest.fixture(scope="module")
def simulation(root: Path) -> Stage:
    common = ("--data_root", root, "--config", root / "config.json", "--device", "cpu")
    return make_stage(SIMULATE, ("--model_path", root / "scenes" / "2", *common), root / "mpm" / "2")


@pytest.fixture(scope="module")
def rendering(root: Path, simulation: Stage) -> Stage:
    common = ("--data_root", root, "--config", root / "config.json", "--device", "cpu")
    background = ("--background_path", root / "backgrounds" / "table.ply")
    arguments = ("--model_path", root / "mpm" / "2", *common, *background, *PICTURES)
    return make_stage(RENDER, arguments, root / "dynamic" / "2")


@pytest.fixture(params=["simulation", "rendering"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def test_killed_at_any_moment_it_goes_on_to_the_same_files(stage: Stage, tmp_path: Path) -> None:
    # Several threads make one directory: there may be a moment more or fewer.
    for moment in random.Random(stage.module).sample(range(1, stage.moments - 2), KILLS):
        output = tmp_path / str(moment)
        run = stage.start(output, moment)
        assert run.wait() == -signal.SIGKILL
        wait_for_orphans(output)
        stage.check_nothing_half(output)
        stage.complete(output)


def test_killed_again_and_again_it_comes_to_an_end(stage: Stage, tmp_path: Path) -> None:
    """Killed soon after its first scene is complete: that is kept, or the end would never come."""
    for _ in range(20):
        run = stage.start(tmp_path / "output", stage.moments * 11 // 20)
        if run.wait() == 0:
            break
        assert run.wait() == -signal.SIGKILL
        wait_for_orphans(tmp_path / "output")
        stage.check_nothing_half(tmp_path / "output")
    stage.complete(tmp_path / "output")


def test_two_processes_with_the_same_work_share_it(stage: Stage, tmp_path: Path) -> None:
    runs = [stage.start(tmp_path / "output") for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0], [run.lines for run in runs]
    assert contents(tmp_path / "output", hidden=True) == stage.reference
    # "simulated 1 of 2 scenes, ..." or "rendered 2 scenes: ...": nothing was done twice.
    said = [run.lines[-1].split()[1] for run in runs]
    assert sum(map(int, said)) == len(SCENES), said


def test_what_is_complete_is_not_touched(stage: Stage, tmp_path: Path) -> None:
    stage.complete(tmp_path / "output")
    written = modified(tmp_path / "output")
    stage.complete(tmp_path / "output")
    assert modified(tmp_path / "output") == written


def modified(path: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and which one it is."""
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino) for file in path.rglob("*") if file.is_file()}


Disk = tuple[Path, Callable[[str], None]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Makes file systems of a size: each one's path, and what mounts it again with other options."""
    with ExitStack() as stack:

        def make(size: str) -> Disk:
            path = tmp_path / f"disk-{next(_numbers)}"
            try:
                return path, stack.enter_context(small_disk(path, size))
            except PermissionError as error:
                pytest.skip(str(error))

        yield make


@pytest.mark.parametrize("part", [0.1, 0.4, 0.8])
def test_a_full_disk_is_named_and_leaves_nothing_half(
    stage: Stage, root: Path, disk: Callable[[str], Disk], part: float
) -> None:
    made = root / {SIMULATE: "mpm", RENDER: "dynamic"}[stage.module]
    pages = sum(-(-file.stat().st_size // 4096) for file in made.rglob("*") if file.is_file())
    path, remount = disk(f"{int(part * pages) * 4}k")
    run = stage.start(path / "output")
    assert run.wait() == 2, run.lines
    assert run.lines[-1].startswith("error: ")
    assert "No space left on device" in run.lines[-1]
    stage.check_nothing_half(path / "output")
    assert not [name for name in contents(path / "output", hidden=True) if "partial" in name]
    remount("size=50m")
    stage.complete(path / "output")


def test_a_read_only_place_is_named_and_what_is_complete_there_is_taken(
    stage: Stage, disk: Callable[[str], Disk]
) -> None:
    path, remount = disk("50m")
    remount("ro")
    run = stage.start(path / "output")
    assert run.wait() == 2
    assert run.lines[-1].startswith("error: ")
    assert "cannot be written: Read-only file system" in run.lines[-1]
    remount("rw")
    stage.complete(path / "output")
    remount("ro")
    stage.complete(path / "output")


@pytest.mark.parametrize("size", [0, 100, -1], ids=["empty", "cut short", "lacking its last byte"])
@pytest.mark.parametrize("name", ["0002.h5", "opacity.h5", "labels.npy"])
def test_a_truncated_trajectory_is_named_and_simulated_again(
    simulation: Stage, rendering: Stage, tmp_path: Path, name: str, size: int
) -> None:
    simulation.complete(tmp_path / "mpm")
    damaged = tmp_path / "mpm" / SCENES[1] / name
    os.truncate(damaged, size if size >= 0 else damaged.stat().st_size - 1)
    paths = ("--model_path", tmp_path / "mpm", "--output_path", tmp_path / "out")
    run = start(tmp_path / "log", RENDER, *paths, *rendering.arguments[2:])
    assert run.wait() == 2, run.lines
    assert str(damaged) in run.lines[-1]
    # The other scene is none the worse for it.
    found = contents(tmp_path / "out", hidden=True)
    assert found == {name: content for name, content in rendering.reference.items() if name.startswith(SCENES[0])}
    simulation.complete(tmp_path / "mpm")


@pytest.fixture(scope="module")
def configs(root: Path) -> None:
    """Objects, and scenes of them."""
    names = [entry.name for entry in objects_of_split("train")]
    for module, *flags in (
        ("dataset.generate_objects", "--gaussians", 200, "--objects", ",".join(names), "--backgrounds", "table6"),
        ("dataset.generate_configs", "--obj_num", 2, "--scene_num", 50),
    ):
        run = start(root / "log", module, "--data_root", root, *flags)
        assert run.wait() == 0, run.lines


def commands(root: Path, output: Path) -> dict[str, tuple[object, ...]]:
    """The arguments of every command that loops."""
    common = ("--data_root", root, "--config", root / "config.json", "--device", "cpu")
    model = ("--num_keypoints", 8, "--hidden_dim", 8, "--steps", 3, "--chunk", 3, "--device", "cpu")
    objects = ("--data_root", root)
    output_path, data = ("--output_path", output), ("--data_root", root, "--groups", 2)
    return {
        SIMULATE: ("--model_path", root / "scenes" / "2", *common, *output_path),
        RENDER: ("--model_path", root / "mpm" / "2", *common, *output_path, "--initial_path", output, *PICTURES),
        "dataset.generate_objects": ("--data_root", output, "--gaussians", 300),
        "dataset.generate_configs": (*objects, "--output_path", output, "--obj_num", 2, "--scene_num", 1000),
        "dataset.generate_scene": (*objects, "--input", root / "scene_configs" / "2.json", "--output", output),
        "dynamic_models.train": (*data, *model, "--epochs", 10_000, "--output", output / "checkpoint"),
        "dynamic_models.evaluate": (*data, "--models", "ballistic", "--device", "cpu", "--output", output),
    }


# Early, in the midst of its work, and late; and the status that it ends with.
TERMINATED = 143
MOMENTS = {
    SIMULATE: ((1, TERMINATED), (20, TERMINATED), (60, TERMINATED)),
    RENDER: ((1, TERMINATED), (100, TERMINATED), (280, TERMINATED)),
    "dataset.generate_objects": ((1, TERMINATED), (40, TERMINATED), (150, TERMINATED)),
    "dataset.generate_configs": ((1, TERMINATED), (2, TERMINATED), (3, TERMINATED)),
    "dataset.generate_scene": ((1, TERMINATED), (50, TERMINATED), (400, TERMINATED)),
    # The training saves itself and ends well, once it has begun.
    "dynamic_models.train": ((1, TERMINATED), (40, 0), (70, 0)),
    "dynamic_models.evaluate": ((1, TERMINATED), (8, TERMINATED), (20, TERMINATED)),
}


@pytest.mark.parametrize("module", MOMENTS)
def test_sigterm_ends_a_command_in_one_line(
    root: Path, rendering: Stage, configs: None, tmp_path: Path, module: str
) -> None:
    for moment, status in MOMENTS[module]:
        output = tmp_path / str(moment)
        run = start(tmp_path / "log", module, *commands(root, output)[module], moment=moment, number=signal.SIGTERM)
        assert run.wait() == status, run.lines
        text = run.log.read_text()
        assert "Traceback" not in text
        assert "Exception ignored" not in text
        if status == TERMINATED:
            assert run.lines[-1] == "terminated"
        left = contents(output, hidden=True)
        assert not [name for name in left if "partial" in name]
        assert not [name for name in left if name.endswith("meta.json") and not left[name]["complete"]]
