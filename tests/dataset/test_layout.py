"""Where the files of a dataset, or of another program, are found."""

from pathlib import Path

import pytest

from dataset.layout import find_point_cloud
from gaussians.stage.errors import InputError


def make_clouds(folder: Path, *iterations: str) -> Path:
    for name in iterations:
        cloud = folder / "point_cloud" / name / "point_cloud.ply"
        cloud.parent.mkdir(parents=True)
        cloud.write_bytes(b"ply")
    return folder


@pytest.mark.parametrize(
    ("iterations", "last"),
    [
        (("iteration_5000", "iteration_7000", "iteration_20000"), "iteration_20000"),
        (("iteration_30000", "iteration_7000"), "iteration_30000"),
        (("iteration_30000", "iteration_100000"), "iteration_100000"),
        (("iteration_best", "iteration_7"), "iteration_7"),
        (("iteration_best",), "iteration_best"),
    ],
)
def test_the_last_iteration_is_found_by_its_number(tmp_path: Path, iterations: tuple[str, ...], last: str) -> None:
    assert find_point_cloud(make_clouds(tmp_path, *iterations)).parent.name == last


def test_a_file_is_found_as_it_is_and_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.splat").touch()
    assert find_point_cloud(tmp_path / "a.splat") == tmp_path / "a.splat"
    with pytest.raises(InputError, match="expected a PLY file or a directory with"):
        find_point_cloud(tmp_path)
