"""The scripts that work on whole datasets: on a Slurm of this machine, and without one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset.catalog import objects_of_split
from tests.dataset.scene_files import FALLING
from tests.faults import contents
from tests.slurm_cluster import Cluster, free_ports, running_cluster, wait_for

ROOT = Path(__file__).resolve().parent.parent
SCENES = 4
# A second for each scene: time enough to get in its way.
SETTINGS = FALLING | {"n_grid": 20, "frame_num": 4, "substep_dt": 4e-5, "mpm_space_viewpoint_center": [2.0, 2.0, 0.7]}
MADE = ("scene_configs", "scenes", "mpm", "initial", "dynamic")
# Python runs this at its start: a file that is about to get the name of one in ``held`` waits until that one is gone.
HOLD = """
import os, sys, time

def hold(event, arguments):
    if event == "os.rename":
        scene, name = str(arguments[1]).split(os.sep)[-2:]
        while os.path.exists(os.path.join({held!r}, scene, name)):
            time.sleep(0.02)

sys.addaudithook(hold)
"""


def run_script(name: str, environment: dict[str, str], *arguments: str) -> str:
    command = ["bash", f"scripts/{name}.sh", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment_of(root: Path) -> dict[str, str]:
    """What the scripts take from the environment, for a tiny dataset in ``root``."""
    return os.environ | {
        "DATA_ROOT": str(root),
        "SCENE_GROUPS": "2",
        "SCENE_NUM": str(SCENES),
        "CONFIG": str(root / "config.json"),
        "TRAIN_GROUPS": "2",
        "EVAL_SETS": "2=2",
        "CHECKPOINT": str(root / "checkpoint"),
        "REPORTS": str(root / "reports"),
        "LOGS": str(root / "logs"),
        "JOB_LOGS": str(root / "logs"),
        "RENDER_FLAGS": "--views 0,circle360 --resolution 32 --device cpu",
        "TRAIN_FLAGS": "--num_keypoints 8 --hidden_dim 8 --steps 4 --chunk 4 --epochs 8 --batch_size 1 --device cpu",
        "EVAL_DYNAMICS_FLAGS": "--device cpu",
        "OMP_NUM_THREADS": "1",
        "VIRTUAL_ENV": sys.prefix,
    }


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of objects and a background."""
    root = tmp_path_factory.mktemp("objects")
    names = ",".join(entry.name for entry in objects_of_split("train"))
    command = [sys.executable, "-m", "dataset.generate_objects", "--data_root", str(root), "--gaussians", "200"]
    subprocess.run([*command, "--objects", names, "--backgrounds", "table6"], cwd=ROOT, check=True, capture_output=True)
    (root / "config.json").write_text(json.dumps(SETTINGS))
    return root


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


class Pipeline:
    """A dataset that jobs of a cluster make."""

    def __init__(self, cluster: Cluster, objects: Path, root: Path, **variables: str) -> None:
        shutil.copytree(objects, root)
        self.cluster, self.root = cluster, root
        arrays = {f"{name}_SBATCH": "--array=0-1" for name in ("GENERATE_SCENE", "MPM", "RENDER")}
        arrays |= {f"{name}_SBATCH": "--array=0" for name in ("GENERATE_CONFIGS", "EVAL_DYNAMICS")}
        environment = cluster.environment | environment_of(root) | arrays | variables
        self.output = run_script("pipeline", environment)
        self.jobs = dict(re.findall(r"^(\w+) +job (\d+)", self.output, re.MULTILINE))

    def log(self, stage: str, task: int | None = None) -> str:
        """What a job said."""
        name = f"{stage}-{self.jobs[stage]}" + ("" if task is None else f"_{task}")
        return (self.root / "logs" / f"{name}.log").read_text(errors="replace")

    def numbers(self, stage: str, verb: str) -> list[int]:
        """How many scenes each task says it has dealt with."""
        return [int(found) for task in (0, 1) for found in re.findall(rf"{verb} (\d+)", self.log(stage, task))]

    def made(self) -> dict[str, object]:
        return {f"{name}/{key}": value for name in MADE for key, value in contents(self.root / name, True).items()}

    def check(self) -> None:
        """Every job ended well, and the dataset is whole."""
        states = self.cluster.wait()
        ended = {job: state for job, state in states.items() if job.split("_")[0] in self.jobs.values()}
        logs = "\n".join(path.read_text(errors="replace") for path in (self.root / "logs").iterdir())
        assert set(ended.values()) == {"COMPLETED"}, f"{ended}\n{logs}"
        command = [sys.executable, "-m", "tools.check_dataset", str(self.root), "--jobs", "1"]
        command += ["--require", "scenes,initial,mpm,dynamic"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (self.root / "reports" / "2" / "metrics.json").is_file()


def modified(path: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and which one it is."""
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino) for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """With a training on two nodes."""
    training = {"TRAIN_SBATCH": "--nodes=2 --gpus-per-node=1", "MAIN_ADDRESS": "127.0.0.1"}
    training |= {"MAIN_PORT": str(free_ports(1)[0])}
    pipeline = Pipeline(cluster, objects, tmp_path_factory.mktemp("undisturbed") / "data", **training)
    pipeline.check()
    return pipeline


def test_a_pipeline_makes_a_whole_dataset_and_nothing_twice(undisturbed: Pipeline) -> None:
    assert undisturbed.numbers("generate_scene", "wrote") == [2, 2]
    assert undisturbed.numbers("mpm", "simulated") == [2, 2]
    assert undisturbed.numbers("render", "rendered") == [2, 2]


def test_a_training_on_two_nodes_is_one_training(undisturbed: Pipeline) -> None:
    # 8 epochs of 4 scenes, one for each of the two processes of an update.
    assert re.findall(r"trained ngff in \S+: (\d+) iterations", undisturbed.log("train")) == ["16"]


def test_requeued_tasks_go_on_where_they_were(
    cluster: Cluster, objects: Path, undisturbed: Pipeline, tmp_path: Path
) -> None:
    scenes = [path.name for path in sorted((undisturbed.root / "mpm" / "2").iterdir())]
    first_of_1, second_of_0 = hold_frames(tmp_path / "hold", scenes[1:3])
    variables = {"TRAIN_SBATCH": "--gpus-per-node=1", "PYTHONPATH": str(tmp_path / "hold")}
    pipeline = Pipeline(cluster, objects, tmp_path / "data", **variables)
    folder, job = pipeline.root / "mpm" / "2", pipeline.jobs["mpm"]
    # As Slurm itself does when the time is nearly over: here while the task is at the first of its two scenes.
    wait_for(lambda: (folder / scenes[1] / "0000.h5").exists())
    cluster.ask("scancel", "--signal=USR1", "--batch", f"{job}_1")
    wait_for(lambda: "requeued" in pipeline.log("mpm", 1))
    first_of_1.unlink()
    # The other task is at its second scene.
    wait_for(lambda: (folder / scenes[2] / "0000.h5").exists())
    kept = {scenes[0]: modified(folder / scenes[0])}
    assert is_complete(folder / scenes[0])
    cluster.ask("scontrol", "requeue", f"{job}_0")
    wait_for(lambda: "terminated" in pipeline.log("mpm", 0))
    second_of_0.unlink()
    pipeline.check()
    assert pipeline.made() == undisturbed.made()
    assert all(modified(folder / name) == files for name, files in kept.items())
    # Each attempt that ended well names what it made; the one that was ended made the first scene.
    assert re.findall(r"terminated|simulated 1 of 2 scenes", pipeline.log("mpm", 0)) == [
        "terminated",
        "simulated 1 of 2 scenes",
    ]
    assert "mpm: the time is over: requeued" in pipeline.log("mpm", 1)
    assert pipeline.numbers("render", "rendered") == [2, 2]


def hold_frames(folder: Path, scenes: list[str]) -> list[Path]:
    """Make simulations that find ``folder`` in PYTHONPATH stop before the second frame of each scene.

    Returns:
        A file for each scene; the simulation goes on once it is removed.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOLD.format(held=str(folder)))
    held = [folder / scene / "0001.h5" for scene in scenes]
    for file in held:
        file.parent.mkdir()
        file.touch()
    return held


def is_complete(path: Path) -> bool:
    meta = path / "meta.json"
    return meta.exists() and bool(json.loads(meta.read_text())["complete"])


def test_a_task_whose_time_is_over_leaves_the_others_alone(cluster: Cluster, objects: Path, tmp_path: Path) -> None:
    script = tmp_path / "task.sh"
    script.write_text("#!/bin/bash\nsource scripts/shards.sh\nslurm_step bash -c 'echo started; exec sleep 300'\n")
    logs = [tmp_path / f"{task}.log" for task in (0, 1)]
    options = ["--array=0-1", "--requeue", "--open-mode=append", "--signal=B:USR1@60", f"--output={tmp_path}/%a.log"]
    environment = cluster.environment | environment_of(objects)
    command = ["sbatch", "--parsable", *options, str(script)]
    submitted = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    job = submitted.stdout.strip()

    def starts() -> list[int]:
        return [log.read_text().count("started") if log.exists() else 0 for log in logs]

    wait_for(lambda: starts() == [1, 1])
    for task, expected in ((0, [2, 1]), (1, [2, 2])):
        cluster.ask("scancel", "--signal=USR1", "--batch", f"{job}_{task}")
        wait_for(lambda expected=expected: starts() == expected)
    cluster.ask("scancel", job)


def test_a_part_of_an_array_is_no_whole(cluster: Cluster, objects: Path, tmp_path: Path) -> None:
    environment = cluster.environment | environment_of(objects)
    options = ["sbatch", "--parsable", "--array=1-2", f"--output={tmp_path}/%a.log", "scripts/mpm.sh"]
    submitted = subprocess.run(options, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    cluster.wait()
    assert cluster.states()[f"{submitted.stdout.strip()}_1"] == "FAILED"
    assert "SHARDS says how many shards there are" in (tmp_path / "1.log").read_text()


@pytest.fixture(scope="module")
def local_scenes(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset up to its scenes, made without Slurm."""
    root = tmp_path_factory.mktemp("local") / "data"
    shutil.copytree(objects, root)
    for name in ("generate_configs", "generate_scene"):
        run_script(name, environment_of(root))
    return root


def test_shards_run_here_without_slurm(local_scenes: Path) -> None:
    output = run_script("mpm", environment_of(local_scenes) | {"PROCESSES": "2", "SHARDS": "3"})
    logs = [local_scenes / "logs" / f"mpm-{i}.log" for i in range(2)]
    assert output.splitlines() == [f"mpm: process {i} of 2: {log}" for i, log in enumerate(logs)]
    # Shards 0, with two of the four scenes, and 2 in the first process, shard 1 in the second.
    assert [re.findall(r"simulated (\d+) scene", log.read_text()) for log in logs] == [["2", "1"], ["1"]]


def test_a_shard_that_fails_is_named(local_scenes: Path) -> None:
    environment = environment_of(local_scenes) | {"SCENE_GROUPS": "7", "PROCESSES": "2"}
    command = ["bash", "scripts/generate_scene.sh"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert f"error: {local_scenes / 'scene_configs' / '7.json'}: no such file" in done.stderr


def test_sigterm_reaches_all_shards(local_scenes: Path, tmp_path: Path) -> None:
    scenes = sorted(path.name for path in (local_scenes / "scenes" / "2").iterdir())
    hold_frames(tmp_path / "hold", scenes)
    environment = environment_of(local_scenes) | {"PROCESSES": "2", "LOGS": str(tmp_path)}
    environment |= {"PYTHONPATH": str(tmp_path / "hold")}
    command = ["bash", "scripts/mpm.sh", "--overwrite"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as script:
        logs = [tmp_path / f"mpm-{i}.log" for i in range(2)]
        wait_for(lambda: all(log.exists() and "frame" in log.read_text() for log in logs))
        script.send_signal(signal.SIGTERM)
        assert script.wait(60) == 143
    for log in logs:
        assert log.read_text().splitlines()[-1].endswith("erminated")
