import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import pytest
import torch

from gaussians.files.trajectory_format import Frame, read_meta
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError
from tests.dataset_fixture import (
    GROUP,
    NUM_FRAMES,
    SCENES,
)
from tests.gaussians.samples import change_h5
from tests.tools.small_dataset import FRAME, MPM, SCENE, check, copy_of, nan_at_the_end
from tools.checks.check_pool import check_all
from tools.checks.findings import Check


def run_check(command, capsys, *arguments):
    """The command's exit status and what it printed."""
    with pytest.raises(SystemExit) as ended:
        command("tools.check_dataset", *arguments)
    return ended.value.code, capsys.readouterr().out


# Whole datasets


@pytest.mark.parametrize("dataset", ["whole", "published"])
@pytest.mark.parametrize("quick", [[], ["--quick"]], ids=["all", "quick"])
def test_a_whole_dataset_has_no_defect(request, command, capsys, dataset, quick):
    root = request.getfixturevalue(dataset)
    status, printed = run_check(command, capsys, root, "--jobs", 1, *quick)
    assert printed == (
        f"checked 2 scenes and 5 other places of {root}: no defect, 0 files that may be deleted, "
        "0 that the format does not name\n"
    )
    assert status == 0


@pytest.mark.parametrize("compression", [{}, hdf5plugin.Zstd(), hdf5plugin.Blosc("lz4"), {"compression": "gzip"}])
def test_published_trajectories_may_be_compressed_in_any_way(tmp_path, published, compression):
    root = copy_of(published, tmp_path, "scenes", "mpm")
    for file in (root / MPM).glob("*.h5"):
        with h5py.File(file) as opened:
            arrays = {name: opened[name][:] for name in opened}
        with h5py.File(file, "w") as opened:
            for name, array in arrays.items():
                opened.create_dataset(name, data=array, **compression)
    assert check(root).defects == []


@pytest.mark.parametrize("stage", ["scenes", "mpm", "initial", "dynamic", "reconstruct"])
def test_a_dataset_may_hold_some_stages_only(tmp_path, whole, stage):
    root = copy_of(whole, tmp_path, stage)
    found = check(root)
    assert (found.defects, found.leftovers, found.unknown) == ([], [], [])


def test_what_is_simulated_otherwise_is_checked_too(tmp_path, whole):
    """With guessed materials of the same scene; shifted of another one, with whose file it is not compared."""
    root = copy_of(whole, tmp_path, "scenes", "mpm")
    for folder in ("mpm_vlm", "shifted"):
        shutil.copytree(root / MPM, root / folder / GROUP / SCENE)
    meta = root / "shifted" / GROUP / SCENE / "meta.json"
    changed = json.loads(meta.read_text())
    changed["hashes"]["point_cloud"] = "0" * 64
    meta.write_text(json.dumps(changed))
    assert check(root).defects == []
    (root / "shifted" / GROUP / SCENE / "0001.h5").unlink()
    (root / "mpm_vlm" / GROUP / SCENE / "meta.json").write_text(meta.read_text())
    found = [line.removeprefix(f"{root}/").split("/")[0] for line in check(root).defects]
    assert set(found) == {"shifted", "mpm_vlm"}


def test_a_simulation_under_way_is_incomplete_in_the_words_of_the_reader(tmp_path, whole):
    root = copy_of(whole, tmp_path, "mpm")
    meta = read_meta(root / MPM)
    frame = Frame(torch.zeros(2, 3))
    writer = TrajectoryWriter(root / MPM, meta, torch.ones(2), torch.zeros(2, 1, 3), fields=("pos",))
    writer.write(frame)
    (defect,) = check(root).defects
    assert "incomplete: its simulation was interrupted or still runs" in defect


# What is no defect


def test_leftovers_and_unknown_files_are_named_apart(tmp_path, whole, command, capsys):
    root = copy_of(whole, tmp_path, "scenes", "mpm")
    shutil.copytree(whole / "objects", root / "objects")
    (root / MPM / ".0001.partial-77-0123abcd.h5").touch()
    (root / MPM / ".lock").touch()
    (root / f"mpm/{GROUP}/.{SCENE}.partial-77-0123abcd").mkdir()
    shutil.copy(root / FRAME, root / MPM / "0004.h5")
    (root / MPM / "notes.txt").touch()
    (root / "keypoints" / GROUP).mkdir(parents=True)
    (root / "keypoints" / GROUP / f"{SCENE}_64.safetensors").write_bytes(b"torn")
    (root / "videos").mkdir()
    status, printed = run_check(command, capsys, root, "--jobs", 1)
    assert status == 0
    deleted, unknown = printed.split("may be deleted:\n")[1].split("not in docs/formats.md:\n")
    assert {line.split(":")[0].strip() for line in deleted.splitlines()} == {
        f"{MPM}/.0001.partial-77-0123abcd.h5",
        f"{MPM}/.lock",
        f"mpm/{GROUP}/.{SCENE}.partial-77-0123abcd",
        f"{MPM}/0004.h5",
        f"keypoints/{GROUP}/{SCENE}_64.safetensors",
    }
    assert [line.strip() for line in unknown.splitlines()[:-1]] == ["videos", f"{MPM}/notes.txt"]
    assert "no defect, 5 files that may be deleted, 2 that the format does not name" in printed


# The command


def test_defects_are_reported_by_scene_with_status_1(tmp_path, whole, command, capsys):
    for stage in ("scenes", "mpm"):
        shutil.copytree(whole / stage, tmp_path / stage)
    (tmp_path / FRAME).unlink()
    for k in range(NUM_FRAMES):
        change_h5(tmp_path / "mpm" / GROUP / SCENES[1] / f"{k:04d}.h5", "pos", nan_at_the_end())
    status, printed = run_check(command, capsys, tmp_path, "--jobs", 1)
    assert status == 1
    first, second = printed.index(f"{GROUP}/{SCENE}\n"), printed.index(f"{GROUP}/{SCENES[1]}\n")
    assert first < second
    assert f"  {MPM}/0001.h5: no such frame: expected frames 0 to 3\n" in printed[first:second]
    assert printed[second:].count("pos: expected finite values") == NUM_FRAMES
    assert "5 defects in 2 places" in printed


def test_several_processes_find_what_one_finds(tmp_path, whole, command, capsys):
    for stage in ("scenes", "mpm"):
        shutil.copytree(whole / stage, tmp_path / stage)
    (tmp_path / FRAME).unlink()
    status, printed = run_check(command, capsys, tmp_path, "--jobs", 1)
    line = [sys.executable, "-m", "tools.check_dataset", str(tmp_path), "--jobs", "2"]
    several = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (several.returncode, several.stdout) == (status, printed)
    assert "1 defect in 1 place" in printed


class _Crash:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_crash_on_damaged_data_is_a_defect_of_its_place(tmp_path):
    whole = [Check(f"objects/{k}", logging.debug) for k in range(3)]
    found = list(check_all([*whole, Check("2/0_ball_duck", _Crash()), *whole[:1]], 2))
    defects = {findings.place: findings.defects for findings in found}
    crashed = ["2/0_ball_duck: a library crashed on damaged data, or memory ran out"]
    assert defects == {check.place: [] for check in whole} | {"2/0_ball_duck": crashed}


def test_required_stages_must_be_there(tmp_path, whole, command, capsys):
    shutil.copytree(whole / "scene_configs", tmp_path / "scene_configs")
    copy_of(whole, tmp_path, "scenes", "mpm")
    (tmp_path / "dynamic" / GROUP / SCENE).mkdir(parents=True)
    status, printed = run_check(command, capsys, tmp_path, "--jobs", 1, "--require", "mpm,dynamic")
    assert status == 1
    named = re.findall(r"^  (\S+): nothing there: scene_configs/2.json names this scene$", printed, re.MULTILINE)
    assert named == [f"dynamic/{GROUP}/{SCENE}", f"mpm/{GROUP}/{SCENES[1]}", f"dynamic/{GROUP}/{SCENES[1]}"]
    assert run_check(command, capsys, tmp_path, "--jobs", 1)[0] == 0


def test_shards_and_groups_share_the_work(tmp_path, whole, command, capsys):
    for group in ("2", "3_0"):
        shutil.copytree(whole / "mpm" / GROUP, tmp_path / "mpm" / group)
    outputs = [run_check(command, capsys, tmp_path, "--jobs", 1, "--shard", f"{i}/3")[1] for i in range(3)]
    assert [re.search(r"checked \d+ scenes? and \d+ other", text)[0] for text in outputs] == [
        "checked 2 scenes and 1 other",
        "checked 1 scene and 0 other",
        "checked 1 scene and 0 other",
    ]
    assert "checked 2 scenes" in run_check(command, capsys, tmp_path, "--jobs", 1, "--groups", "3_0")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["."], r"\.: no dataset: expected some of objects, backgrounds"),
        (["data", "--groups", "9"], "--groups: no group '9' in data; there are 2"),
        (["data", "--jobs", "0"], "--jobs: expected 1 or more, found 0"),
    ],
)
def test_bad_usage_is_refused(tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "mpm" / "2").mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        command("tools.check_dataset", *arguments)


def test_an_unknown_stage_is_refused(tmp_path, command):
    with pytest.raises(SystemExit) as ended:
        command("tools.check_dataset", tmp_path, "--require", "videos")
    assert ended.value.code == 2


def test_outputs_that_are_not_what_their_record_says_are_defects(
    tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("dataset.generate_objects", "--data_root", tmp_path, "--objects", "ball", "--gaussians", 250)
    with pytest.raises(SystemExit, match="0"):
        command("tools.check_dataset", tmp_path, "--jobs", 1)
    assert "made_from" not in capsys.readouterr().out
    cloud = next((tmp_path / "objects").rglob("point_cloud.ply"))
    record = tmp_path / "objects" / "ball" / "made_from.json"
    size = cloud.stat().st_size
    record.write_text(record.read_text().replace(str(size), str(size + 1)))
    with pytest.raises(SystemExit, match="1"):
        command("tools.check_dataset", tmp_path, "--jobs", 1)
    assert f"expected {size + 1} bytes, as made_from.json records, found {size}" in capsys.readouterr().out
