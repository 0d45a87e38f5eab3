"""Objects from Gaussians that were trained elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dataset.catalog import object_by_name
from dataset.layout import Layout
from dataset.objects.meshes import EXTENT
from dataset.objects.own_objects import splat_gaussians
from gaussians.files.splats.ply import read_ply, write_ply
from gaussians.files.storage_options import UP_AXES
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError


def column(up: str) -> Gaussians:
    """A column of 9 Gaussians 4 units high along ``up``, red at its upper end, with a faint one far away."""
    axis = torch.zeros(3)
    axis["xyz".index(up[-1])] = -1.0 if up.startswith("-") else 1.0
    heights = torch.linspace(0, 4, 9)
    means = torch.cat([torch.tensor([10.0, 20.0, 30.0]) + heights[:, None] * axis, torch.full((1, 3), 500.0)])
    sh = torch.zeros(10, 4, 3)
    sh[8, 0] = torch.tensor([1.7, -1.7, -1.7])
    return Gaussians(
        means=means,
        opacities=torch.tensor([0.9] * 9 + [0.01]),
        sh=sh,
        scales=torch.full((10, 3), 0.4),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(10, 1),
    )


@pytest.mark.parametrize("up", UP_AXES)
def test_splat_stands_upright_centred_and_half_a_metre_high(tmp_path: Path, up: str) -> None:
    write_ply(tmp_path / "column.ply", column(up))
    made = splat_gaussians(tmp_path / "column.ply", up).gaussians
    expected = torch.zeros(9, 3)
    expected[:, 2] = torch.linspace(-EXTENT / 2, EXTENT / 2, 9)
    # Coordinates of size 30 in float32, shrunk by 8.
    torch.testing.assert_close(made.means, expected, atol=1e-5, rtol=0)
    scales, _ = made.scales_and_quaternions()
    torch.testing.assert_close(scales, torch.full((9, 3), 0.4 * EXTENT / 4), rtol=1e-5, atol=0)
    assert made.sh[8, 0, 0] > 1


def test_splat_becomes_an_object_that_goes_by_its_name(
    tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout(tmp_path / "root")
    write_ply(tmp_path / "column.ply", column("-y"))
    command(
        *("dataset.generate_objects", "--data_root", layout.root, "--splat", tmp_path / "column.ply"),
        *("--name", "column", "--density", 800, "--prompt", "A column."),
    )
    entry = object_by_name("column", layout)
    assert (entry.index, entry.density, entry.youngs_modulus, entry.prompt) == (100, 800, 1e5, "A column.")
    made = read_ply(layout.object_ply("column"))
    assert len(made) == 9  # without the faint one, far away
    assert "column.ply: 1 of 10 Gaussians lie far outside and are left out" in capsys.readouterr().out
    assert made.sh_degree == 1
    assert made.means[8, 2] > made.means[0, 2]


def test_splat_without_extent_is_named_and_leaves_nothing(tmp_path: Path, command: Callable[..., None]) -> None:
    write_ply(tmp_path / "dot.ply", column("z")[:1])
    with pytest.raises(InputError, match=r"dot\.ply: has no extent"):
        command(
            *("dataset.generate_objects", "--data_root", tmp_path / "root"),
            *("--splat", tmp_path / "dot.ply", "--name", "dot"),
        )
    assert not (tmp_path / "root").exists()


def test_object_of_another_file_or_setting_is_refused_until_overwritten(
    tmp_path: Path, command: Callable[..., None]
) -> None:
    write_ply(tmp_path / "column.ply", column("z"))
    arguments = ["dataset.generate_objects", "--data_root", tmp_path, "--splat", tmp_path / "column.ply"]
    command(*arguments, "--name", "pole", "--up", "z")
    command(*arguments, "--name", "pole", "--up", "z")
    with pytest.raises(InputError, match=r"pole/made_from\.json: made with other up; --overwrite"):
        command(*arguments, "--name", "pole", "--up=-y")
    write_ply(tmp_path / "column.ply", column("z").transformed(scale=2.0))
    with pytest.raises(InputError, match="made with other file; --overwrite"):
        command(*arguments, "--name", "pole", "--up", "z")
    command(*arguments, "--name", "pole", "--up", "z", "--overwrite")
