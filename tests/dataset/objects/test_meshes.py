"""Objects from meshes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from dataset.objects.meshes import EXTENT, mesh_gaussians
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb


def colours(gaussians: Gaussians) -> np.ndarray:
    return sh_to_rgb(gaussians.sh, torch.tensor([0.0, 0.0, 1.0])).numpy()


def hollow_cup() -> trimesh.Trimesh:
    """A cup with walls of 0.1 around a cavity that is open above, z up."""
    outline = [[0, 0], [0.5, 0], [0.5, 1], [0.4, 1], [0.4, 0.1], [0, 0.1]]
    return trimesh.creation.revolve(outline, sections=48)


def export(mesh: trimesh.Trimesh, path: Path) -> Path:
    mesh.export(path)
    return path


def test_a_hollow_mesh_stays_hollow_and_a_solid_one_is_filled(tmp_path: Path) -> None:
    cup = mesh_gaussians(export(hollow_cup(), tmp_path / "cup.stl"), "z", 2_000, np.random.default_rng(0))
    assert cup.notes == ["has no colours: it becomes light grey"]
    means = cup.gaussians.means
    assert float((means.max(0).values - means.min(0).values).max()) == pytest.approx(EXTENT, rel=0.03)
    radius = torch.hypot(means[:, 0], means[:, 1])
    assert not ((radius < 0.19) & (means[:, 2] > -0.19)).any()
    assert ((radius > 0.21) & (radius < 0.24) & (means[:, 2].abs() < 0.2)).sum() > 50
    ball = mesh_gaussians(
        export(trimesh.creation.icosphere(3), tmp_path / "ball.stl"), "z", 2_000, np.random.default_rng(0)
    )
    assert (ball.gaussians.means.norm(dim=1) < 0.12).sum() > 50


def test_inside_out_and_open_meshes(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(3)
    ball.invert()
    inverted = mesh_gaussians(export(ball, tmp_path / "ball.ply"), "z", 1_000, np.random.default_rng(0))
    assert (inverted.gaussians.means.norm(dim=1) < 0.15).sum() > 50
    holed = trimesh.creation.icosphere(3)
    holed.update_faces(np.arange(len(holed.faces)) > 30)
    open_ball = mesh_gaussians(export(holed, tmp_path / "holed.ply"), "z", 1_000, np.random.default_rng(0))
    assert any("not watertight" in note for note in open_ball.notes)
    assert (open_ball.gaussians.means.norm(dim=1) < 0.15).sum() > 50
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    flat = mesh_gaussians(export(sheet, tmp_path / "sheet.ply"), "z", 1_000, np.random.default_rng(0))
    assert any("encloses no volume" in note for note in flat.notes)
    assert len(flat.gaussians) == 1_000
    assert float(flat.gaussians.means[:, 2].abs().max()) < 1e-6


def test_vertex_colours_and_up_axes(tmp_path: Path) -> None:
    """A bar along the mesh's up axis, red at its upper end: red is above whatever axis that was."""
    for up, direction in [("x", 0), ("y", 1), ("z", 2)]:
        extents = np.full(3, 0.4)
        extents[direction] = 1.0
        bar = trimesh.creation.box(extents=extents)
        red = bar.vertices[:, direction] > 0
        bar.visual.vertex_colors = np.where(red[:, None], [255, 0, 0, 255], [0, 0, 255, 255]).astype(np.uint8)
        made = mesh_gaussians(export(bar, tmp_path / f"{up}.ply"), up, 600, np.random.default_rng(0)).gaussians
        assert float(made.means[:, 2].max()) == pytest.approx(0.25, rel=0.06)
        top = colours(made)[made.means[:, 2].numpy() > 0.2]
        assert (top[:, 0] > 3 * top[:, 2]).all()


def test_real_meshes(real_data: Path) -> None:
    """The duck keeps its texture, the mug its cavity; the football's image is missing, which is said."""
    rng = np.random.default_rng(0)
    duck = mesh_gaussians(real_data / "meshes/duck/duck.obj", "y", 2_000, rng)
    paint = colours(duck.gaussians)
    yellow = (paint[:, 0] > 0.5) & (paint[:, 1] > 0.4) & (paint[:, 2] < 0.3)
    orange = (paint[:, 0] > 0.5) & (paint[:, 1] < 0.45) & (paint[:, 2] < 0.3)
    assert yellow.mean() > 0.8
    assert 0.005 < orange.mean() < 0.15
    beak = duck.gaussians.means[torch.from_numpy(orange)]
    assert float(beak[:, 2].mean()) > 0.02  # on the head, so the duck stands upright
    assert (duck.gaussians.means.norm(dim=1) < 0.1).sum() > 10
    mug = mesh_gaussians(real_data / "meshes/mug.obj", "z", 2_000, rng).gaussians.means
    # The mug's radius of 41 mm becomes 0.169 m; its handle makes it longer in y.
    axis = mug[:, :2] - torch.tensor([0.0, float(mug[:, 1].min()) + 0.169])
    assert not ((axis.norm(dim=1) < 0.12) & (mug[:, 2] > -0.15)).any()
    football = mesh_gaussians(real_data / "meshes/soccerball.obj", "y", 500, rng)
    assert any("image is not there" in note for note in football.notes)
    teddy = mesh_gaussians(real_data / "meshes/teddy.obj", "y", 500, rng)
    assert teddy.notes == ["has no colours: it becomes light grey"]
    extents = teddy.gaussians.means.max(0).values - teddy.gaussians.means.min(0).values
    assert float(extents[2]) == pytest.approx(EXTENT, rel=0.05)
