"""Procedural objects, backgrounds, and objects from meshes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from dataset.catalog import BACKGROUNDS, OBJECTS, object_by_name, object_json
from dataset.layout import Layout
from dataset.objects.builtin_objects import SOLIDS, write_background
from dataset.objects.meshes import EXTENT, mesh_gaussians
from dataset.rendering.background import load_background
from dataset.scenes.composition import DEFAULT_ORBIT
from dataset.shapes.covering import SurfaceSamples, cover_surface
from dataset.shapes.fields import box, capsule, sphere, torus, union
from dataset.shapes.sampling import FieldSampler
from dataset.shapes.solid import Part, Solid, object_gaussians, solid_gaussians
from gaussians.files.ply import read_ply
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import sh_to_rgb
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.errors import InputError

NAMES = [entry.name for entry in OBJECTS]
COUNT = 1_500


def make(name: str, count: int = COUNT) -> Gaussians:
    return object_gaussians(SOLIDS[name](), count, 1.0, np.random.default_rng(0))


def colours(gaussians: Gaussians) -> np.ndarray:
    return sh_to_rgb(gaussians.sh, torch.tensor([0.0, 0.0, 1.0])).numpy()


def random_sphere(count: int, rng: np.random.Generator) -> SurfaceSamples:
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return SurfaceSamples(directions, directions, np.full((count, 3), 0.5), 4 * np.pi)


def test_samples_of_a_sphere_and_a_torus_are_even_and_on_the_surface() -> None:
    for field, area, volume in [
        (sphere(0.3), 4 * np.pi * 0.09, 4 / 3 * np.pi * 0.027),
        (torus(0.25, 0.1), 4 * np.pi**2 * 0.025, 2 * np.pi**2 * 0.25 * 0.01),
    ]:
        sampler = FieldSampler(field, 0.4, np.random.default_rng(0))
        points, normals = sampler.surface(40_000)
        assert np.abs(field(points)).max() < 1e-6
        # Ten thousands of samples: the estimates' standard error is under 1 %.
        assert sampler.area_and_volume() == pytest.approx((area, volume), rel=0.04)
        # On a torus evenly covered, the share outside the circle of the tube's centres is 1/2 + r / (pi R).
        if volume < 0.06:
            outside = (np.hypot(points[:, 0], points[:, 1]) > 0.25).mean()
            assert outside == pytest.approx(0.5 + 0.1 / (np.pi * 0.25), abs=0.01)
        steps = field(points + 1e-3 * normals)
        assert steps == pytest.approx(1e-3, rel=1e-2)


def test_a_covered_sphere_is_closed_even_and_flat() -> None:
    rng = np.random.default_rng(0)
    gaussians = cover_surface(random_sphere(11_000, rng), 1_000, 6, rng)
    assert len(gaussians) == 1_000
    means = gaussians.means.numpy()
    spacing = cKDTree(means).query(means, k=2)[0][:, 1]
    # Nearest neighbours are 0.120 m away in a hexagonal lattice of this density, and 0.056 +- 0.029 m at random.
    assert 0.085 < spacing.mean() < 0.12
    assert spacing.std() / spacing.mean() < 0.25
    thickness, width = gaussians.scales.sort(1).values[:, [0, 2]].T
    assert (thickness < 0.4 * width).float().mean() > 0.95


def test_a_body_far_inside_is_filled_evenly() -> None:
    solid = Solid([Part(box((0.2, 0.2, 0.2)), (0.5, 0.5, 0.5))])
    gaussians = solid_gaussians(solid, 4_000, np.random.default_rng(0))
    means = gaussians.means.numpy()
    inside = means[np.abs(means).max(1) < 0.17]
    assert len(inside) > 800
    probes = np.random.default_rng(1).uniform(-0.15, 0.15, (2_000, 3))
    # Spacing h and no hole larger than about one spacing: the farthest point of a cubic lattice is 0.87 h away.
    spacing = (0.34**3 / len(inside)) ** (1 / 3)
    assert cKDTree(inside).query(probes)[0].max() < 1.2 * spacing


@pytest.mark.parametrize("name", NAMES)
def test_objects_have_their_size_and_stand_on_the_origin(name: str) -> None:
    gaussians = make(name)
    assert len(gaussians) == COUNT
    low, high = gaussians.means.min(0).values, gaussians.means.max(0).values
    assert 0.4 <= float((high - low).max()) <= 0.7
    assert torch.allclose(low, -high, atol=1e-5)
    assert gaussians.means.isfinite().all()
    assert gaussians.sh.isfinite().all()
    assert gaussians.scales is not None
    assert 1e-4 < float(gaussians.scales.max()) < 0.1
    # What a colour varies by: none of the objects is of one colour.
    assert colours(gaussians).std(0).max() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_thinner_than_four_centimetres(name: str) -> None:
    """Erosion by 1.8 cm and dilation by 3.8 cm bring back the surface: all but the rims that taper (2 %)."""
    solid = SOLIDS[name]()
    sampler = FieldSampler(solid.field, solid.reach, np.random.default_rng(0))
    surface, _ = sampler.surface(3_000)
    factor = (solid.extent or 0) / float(np.ptp(surface, 0).max())
    inside, _ = sampler.interior(40_000, 0.01)
    core = inside[-solid.field(inside) * factor > 0.018]
    assert np.quantile(cKDTree(core).query(surface)[0] * factor, 0.98) < 0.038


def test_colours_are_where_they_belong() -> None:
    ball = make("ball", 4_000)
    paint, z = colours(ball), ball.means[:, 2].numpy()
    on_surface = ball.means.norm(dim=1).numpy() > 0.18
    top, bottom = paint[on_surface & (z > 0.08)], paint[on_surface & (z < -0.08)]
    assert (top[:, 0] > 1.5 * top[:, 1]).all()  # also where it shines
    assert (np.ptp(bottom, axis=1) < 0.1).all()
    assert bottom.min() > 0.5
    panda = make("panda", 4_000)
    assert (colours(panda).max(1) < 0.3).mean() > 0.2
    assert (colours(panda).min(1) > 0.6).mean() > 0.2


def test_a_bowl_is_hollow_and_a_ball_is_solid() -> None:
    bowl, ball = make("bowl").means, make("ball").means
    rim = float(bowl[:, 2].max())
    cavity = (torch.hypot(bowl[:, 0], bowl[:, 1]) < 0.15) & (bowl[:, 2] > rim - 0.06)
    assert not cavity.any()
    assert (ball.norm(dim=1) < 0.1).sum() > 30


def test_same_seed_same_file(tmp_path: Path, command: Callable[..., None]) -> None:
    def hashes(root: Path, seed: int) -> list[str]:
        arguments = ("--data_root", root, "--objects", "duck", "--backgrounds", "table5", "--seed", seed)
        command("dataset.generate_objects", *arguments, "--gaussians", 300, "--background_gaussians", 500)
        return [file_hash(path) for path in sorted(root.rglob("*.ply"))]

    first = hashes(tmp_path / "a", 3)
    assert len(first) == 2
    assert hashes(tmp_path / "b", 3) == first
    assert not set(hashes(tmp_path / "c", 4)) & set(first)


def test_the_command_writes_skips_and_overwrites(tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path)
    arguments = ("dataset.generate_objects", "--data_root", tmp_path, "--objects", "ball, can")
    command(*arguments, "--gaussians", 250)
    assert sorted(path.name for path in layout.objects.iterdir()) == ["ball", "can"]
    assert not layout.root.joinpath("backgrounds").exists()
    stored = read_ply(layout.object_ply("ball"))
    assert len(stored) == 250
    # The catalogue's scale brings the stored object to its size in scenes.
    assert float((stored.means.max(0).values - stored.means.min(0).values).max()) * 0.4 == pytest.approx(0.42, abs=1e-3)
    assert json.loads(layout.object_json("ball").read_text()) == object_json(object_by_name("ball"))
    command(*arguments, "--gaussians", 300)
    assert len(read_ply(layout.object_ply("ball"))) == 250
    command(*arguments, "--gaussians", 300, "--overwrite")
    assert len(read_ply(layout.object_ply("ball"))) == 300


def test_a_published_background_is_left_alone(tmp_path: Path, command: Callable[..., None]) -> None:
    folder = Layout(tmp_path).background_dir("table2")
    folder.mkdir(parents=True)
    (folder / "gaussians_postopt.ply").write_bytes(b"theirs")
    command("dataset.generate_objects", "--data_root", tmp_path, "--backgrounds", "table2")
    assert [path.name for path in folder.iterdir()] == ["gaussians_postopt.ply"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objects", "ball,chair"], "--objects: 'chair' is not builtin"),
        (["--backgrounds", "lawn"], "--backgrounds: 'lawn' is not builtin"),
        (["--gaussians", "10"], "--gaussians: expected 200 or more"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
        (["--name", "chair"], "--name: describes an object of your own"),
        (["--mesh", "a.obj", "--splat", "a.ply", "--name", "chair"], "expected one of them"),
        (["--splat", "none.ply", "--name", "chair"], "none.ply: no such file"),
        (["--mesh", "none.obj", "--name", "chair"], "none.obj: no such file"),
        (["--mesh", "none.obj"], "--name: expected letters"),
        (["--mesh", "none.obj", "--name", "two_words"], "--name: expected letters"),
        (["--mesh", "none.obj", "--name", "duck"], "object of the catalogue"),
        (["--mesh", "none.obj", "--name", "chair", "--density", "0"], "--density: expected a positive number"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, command: Callable[..., None], arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        command("dataset.generate_objects", "--data_root", tmp_path, *arguments)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gaussians]:
    """Every background, small, as it stands in the world."""
    root = tmp_path_factory.mktemp("root")
    for name in BACKGROUNDS:
        write_background(Layout(root), name, 6_000, 0)
    return {name: load_background(Layout(root).background_dir(name)) for name in BACKGROUNDS}


@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_a_table_top_is_flat_and_covers_where_objects_move(backgrounds: dict[str, Gaussians], name: str) -> None:
    means = backgrounds[name].means
    assert len(means) == 6_000
    above = means[(means[:, :2].abs() < 1.94).all(1) & (means[:, 2] > -0.95)]
    # Cells on a plane are on it to rounding.
    assert (above[:, 2] + 0.94).abs().max() < 1e-5
    line = torch.linspace(-1.94, 1.94, 40)
    floor = torch.cartesian_prod(line, line).numpy()
    # About 2,000 of them lie on these 15 m^2, 0.09 m apart, but closer together at the edges of patterns.
    assert cKDTree(above[:, :2].numpy()).query(floor)[0].max() < 0.3


@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_no_view_of_the_orbit_is_obstructed(backgrounds: dict[str, Gaussians], name: str) -> None:
    """No Gaussian lies in front of the box in which objects move, inside any of the 100 images."""
    means = backgrounds[name].means
    low, high = torch.tensor([-1.94, -1.94, -0.93]), torch.tensor([1.94, 1.94, 0.9])
    cameras = DEFAULT_ORBIT.cameras(range(100), 100)
    for position, viewmat, K in zip(cameras.positions, cameras.viewmats, cameras.Ks, strict=True):
        rays = means - position
        assert float(rays.norm(dim=1).min()) > 1.0
        entry, leave = (low - position) / rays, (high - position) / rays
        enters, leaves = torch.minimum(entry, leave).amax(1), torch.maximum(entry, leave).amin(1)
        seen = (means @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
        pixels = seen[:, :2] / seen[:, 2:]
        in_image = (seen[:, 2] > 0) & ((pixels > 0) & (pixels < 100)).all(1)
        assert not (in_image & (leaves > enters) & (enters > 1)).any()


def test_a_backgrounds_picture_is_closed_and_shows_the_object(backgrounds: dict[str, Gaussians]) -> None:
    ball = make("ball").transformed(translation=torch.tensor([0.0, 0.0, -0.3]))
    cameras = DEFAULT_ORBIT.cameras([0, 37], 64)
    for gaussians in backgrounds.values():
        rendered = rasterize(Gaussians.cat([ball, gaussians]), cameras)
        assert float(rendered.alpha.mean()) > 0.97
        # The ball is where all cameras look: red above its band.
        red = rendered.rgb[:, 28, 32]
        assert (red[:, 0] > 2 * red[:, 1]).all()


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


def test_a_mesh_becomes_an_object_with_a_free_index(tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path / "root")
    mesh = export(hollow_cup(), tmp_path / "cup.obj")
    for name in ("cup", "beaker"):
        arguments = ("--mesh", mesh, "--name", name, "--up", "z", "--density", 750, "--gaussians", 300)
        command("dataset.generate_objects", "--data_root", layout.root, *arguments)
    beaker = object_by_name("beaker", layout)
    assert (beaker.index, beaker.density, beaker.youngs_modulus, beaker.prompt) == (101, 750, 1e5, "A beaker.")
    assert len(read_ply(layout.object_ply("cup"))) == 300


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.obj", b"hello", "has no faces"),
        ("bad.glb", b"x" * 60, "cannot be read as a mesh"),
        ("bad.xyzw", b"x", "cannot be read as a mesh"),
        ("point.obj", b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "has no extent"),
        ("nan.obj", b"v 0 0 nan\nv 0 1 0\nv 1 0 0\nf 1 2 3\n", "expected finite vertices"),
    ],
)
def test_bad_meshes_are_named(
    tmp_path: Path, command: Callable[..., None], name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=name) as error:
        command("dataset.generate_objects", "--data_root", tmp_path / "root", "--mesh", path, "--name", "thing")
    assert message in str(error.value)
    assert not (tmp_path / "root").exists()


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


def test_fields_are_distances() -> None:
    """Known distances: outside, on and inside of a box, a tapered stick and a union."""
    points = np.array([[0.5, 0, 0], [0.3, 0, 0], [0, 0, 0], [0.4, 0.5, 0]])
    assert box((0.3, 0.4, 0.5))(points) == pytest.approx([0.2, 0.0, -0.3, np.hypot(0.1, 0.1)])
    stick = capsule((0, 0, 0), (0, 0, 1), 0.1, 0.3)
    assert stick(np.array([[0.5, 0, 0], [0.5, 0, 1], [0.5, 0, 0.5]])) == pytest.approx([0.4, 0.2, 0.3])
    both = union(sphere(0.1), sphere(0.1, (1, 0, 0)))
    assert both(np.array([[0.5, 0, 0], [1, 0, 0]])) == pytest.approx([0.4, -0.1])
