from pathlib import Path

import pytest

from dataset.rendering.render_jobs import RenderJob, find_backgrounds, find_jobs, find_trajectories
from gaussians.stage.errors import InputError


def trajectories(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "0000.h5").touch()
    return folder


def backgrounds(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "gaussians_feedforward.ply").touch()
    return folder


def test_one_scene_before_one_background_goes_right_to_the_output(tmp_path: Path) -> None:
    scene = trajectories(tmp_path, "0_ball") / "0_ball"
    table = backgrounds(tmp_path / "b", "table6") / "table6"
    jobs = find_jobs(scene, [table], tmp_path / "out", tmp_path / "initial")
    assert jobs == [RenderJob(scene, table, tmp_path / "out", tmp_path / "initial")]
    assert find_jobs(scene, [], tmp_path / "out", None) == [RenderJob(scene, None, tmp_path / "out", None)]


def test_a_group_goes_to_a_folder_for_each_scene_and_background(tmp_path: Path) -> None:
    group = trajectories(tmp_path / "mpm", "10_duck", "2_ball")
    (group / "notes").mkdir()
    tables = backgrounds(tmp_path / "backgrounds", "table6", "table0")
    jobs = find_jobs(group, [tables], tmp_path / "out", tmp_path / "initial")
    # Scenes in the order of their numbers.
    places = [f"{scene}/{table}" for scene in ("2_ball", "10_duck") for table in ("table0", "table6")]
    assert [str(job.output.relative_to(tmp_path / "out")) for job in jobs if job.output] == places
    assert [str(job.initial.relative_to(tmp_path / "initial")) for job in jobs if job.initial] == places
    assert [job.background for job in jobs] == 2 * [tables / "table0", tables / "table6"]
    assert [job.scene for job in jobs] == ["2_ball", "2_ball", "10_duck", "10_duck"]


def test_a_group_without_a_background_stands_on_the_ground(tmp_path: Path) -> None:
    group = trajectories(tmp_path / "mpm", "0_ball")
    (job,) = find_jobs(group, [], tmp_path / "out", None)
    assert job.output == tmp_path / "out" / "0_ball" / "ground"
    assert job.background is None


def test_one_scene_before_several_backgrounds_has_a_folder_for_each(tmp_path: Path) -> None:
    scene = trajectories(tmp_path, "0_ball") / "0_ball"
    tables = backgrounds(tmp_path / "b", "table0", "table1")
    jobs = find_jobs(scene, [tables / "table0", tables / "table1"], tmp_path / "out", None)
    assert [job.output for job in jobs] == [tmp_path / "out" / "table0", tmp_path / "out" / "table1"]


def test_backgrounds_are_called_like_their_folder_or_file(tmp_path: Path) -> None:
    table = backgrounds(tmp_path, "table6") / "table6"
    cloud, room = table / "gaussians_feedforward.ply", tmp_path / "room.ply"
    room.touch()
    assert find_backgrounds([cloud, room]) == {"table6": cloud, "room": room}
    with pytest.raises(InputError, match="2 backgrounds are called 'table6'"):
        find_backgrounds([cloud, table])


def test_what_is_no_background_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: expected a PLY file"):
        find_backgrounds([tmp_path])


def test_what_is_no_trajectory_is_left_to_its_reader(tmp_path: Path) -> None:
    assert find_trajectories(tmp_path / "absent") == [tmp_path / "absent"]
    assert find_trajectories(tmp_path) == [tmp_path]
