import contextlib
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussians.cameras import Cameras, Orbit, look_at, read_cameras, write_cameras
from gaussians.stage.errors import InputError

ORBIT = Orbit((0.1, -0.2, 0.3), azimuth=30, elevation=20, radius=3, delta_elevation=0.1, delta_radius=0.01)
ENTRY = {
    "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "position": [1, 2, 3],
    "width": 640,
    "height": 480,
    "fx": 500,
    "fy": 510,
}


def project(cameras: Cameras, point: torch.Tensor) -> torch.Tensor:
    """Pixels (C, 2) and depth of one world point, straight from the definition."""
    seen = cameras.viewmats[:, :3, :3] @ point + cameras.viewmats[:, :3, 3]
    pixels = (cameras.Ks @ seen[..., None]).squeeze(-1)
    return torch.cat([pixels[:, :2] / pixels[:, 2:], seen[:, 2:]], 1)


def test_a_camera_sees_its_target_in_the_middle_and_up_upwards():
    positions = torch.tensor([[3.0, 0.0, 0.0], [0.0, -2.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    cameras = look_at(positions, target, 640, 480, 500)
    u, v, depth = project(cameras, target).T
    torch.testing.assert_close(u, torch.full_like(u, 320))
    torch.testing.assert_close(v, torch.full_like(v, 240))
    torch.testing.assert_close(depth, (positions - target).norm(dim=1))
    above = project(cameras, target + torch.tensor([0, 0, 0.1], dtype=torch.float64))
    torch.testing.assert_close(above[:, 0], u)  # no roll
    assert (above[:, 1] < v).all()  # y runs down
    torch.testing.assert_close(cameras.positions, positions)


def test_x_of_the_image_runs_to_the_right():
    camera = look_at(torch.tensor([[0.0, -5.0, 0.0]]), torch.zeros(3), 100, 100, 100)
    # Looking along +y with z up, +x is to the right: 1 m at 5 m is 100 / 5 = 20 pixels.
    torch.testing.assert_close(project(camera, torch.tensor([1.0, 0, 0])), torch.tensor([[70.0, 50.0, 5.0]]))


@pytest.mark.parametrize("up", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_looking_straight_along_up_is_still_a_rotation(up, sign):
    cameras = look_at(sign * 2 * torch.tensor([up]).float(), torch.zeros(3), 10, 10, 10, up)
    rotation = cameras.viewmats[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3))
    torch.testing.assert_close(torch.det(rotation), torch.tensor(1.0))


def test_orbit_follows_the_published_formula():
    for k, position in zip((0, 7, 99), ORBIT.positions([0, 7, 99]), strict=True):
        a, e, r = math.radians(30 + 3.6 * k), math.radians(20 + 0.1 * k), 3 + 0.01 * k
        along_u, along_v = r * math.cos(e) * math.cos(a), r * math.cos(e) * math.sin(a)
        expected = [
            0.1 + (along_u + along_v) / math.sqrt(2),
            -0.2 + (along_u - along_v) / math.sqrt(2),
            0.3 + r * math.sin(e),
        ]
        assert position.tolist() == pytest.approx(expected)


def test_orbit_runs_clockwise_seen_from_above_and_closes_after_a_hundred_views():
    orbit = Orbit((0, 0, 0), azimuth=0, elevation=0, radius=1)
    positions = orbit.positions(range(101))
    assert positions[0].tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])
    # From (1, 1) / sqrt 2, clockwise is towards (1, -1) / sqrt 2, a quarter turn later.
    assert positions[25].tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 0])
    torch.testing.assert_close(positions[100], positions[0])


def test_orbit_cameras_look_at_the_centre():
    cameras = ORBIT.cameras([0, 50], 448)
    assert (cameras.width, cameras.height, len(cameras)) == (448, 448, 2)
    assert cameras.viewmats.dtype == torch.float32
    assert (cameras.Ks[:, 0, 0] == 672).all()
    pixels = project(cameras, torch.tensor(ORBIT.center))[:, :2]
    # float32: 1e-6 of a metre at 3 m is 2e-4 pixels.
    torch.testing.assert_close(pixels, torch.full_like(pixels, 224), rtol=0, atol=1e-3)


def test_some_of_the_cameras():
    cameras = ORBIT.cameras(range(5), 100)
    assert torch.equal(cameras[1:3].viewmats, cameras.viewmats[1:3])
    assert torch.equal(cameras[torch.tensor([4])].Ks, cameras.Ks[4:])


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"viewmats: expected shape \(C, 4, 4\), found \(4, 4\)"):
        Cameras(torch.eye(4), torch.eye(3), 10, 10)
    with pytest.raises(ValueError, match=r"Ks: expected shape \(2, 3, 3\), found \(1, 3, 3\)"):
        Cameras(torch.eye(4).expand(2, 4, 4), torch.eye(3)[None], 10, 10)


def test_cameras_json_round_trip(tmp_path):
    cameras = ORBIT.cameras([0, 30, 84], 448)
    write_cameras(tmp_path / "cameras.json", cameras)
    read = read_cameras(tmp_path / "cameras.json")
    assert (read.width, read.height) == (448, 448)
    torch.testing.assert_close(read.Ks, cameras.Ks)
    # The position goes through float32: about 1e-6 of 3 m.
    torch.testing.assert_close(read.viewmats, cameras.viewmats, rtol=0, atol=2e-6)


@pytest.mark.parametrize("radius", [1e-9, 1e6, 1e300])
def test_cameras_stand_where_they_see_something(radius):
    with pytest.raises(InputError, match=r"init_radius, delta_r: expected cameras 0\.001 to 100000 m from"):
        Orbit((0, 0, 0), azimuth=0, elevation=0, radius=radius).cameras([0], 8)
    inwards = Orbit((0, 0, 0), azimuth=0, elevation=0, radius=1, delta_radius=-0.1)
    assert inwards.cameras(range(10), 8).viewmats.isfinite().all()
    with pytest.raises(InputError, match="found view 10 at "):
        inwards.cameras(range(12), 8)


def test_cameras_json_holds_camera_to_world(tmp_path):
    write_cameras(tmp_path / "cameras.json", look_at(torch.tensor([[0.0, -5.0, 0.0]]), torch.zeros(3), 64, 48, 50))
    (entry,) = json.loads((tmp_path / "cameras.json").read_text())
    assert entry["position"] == pytest.approx([0, -5, 0])
    # Columns: the camera's x, y and z axes in the world.
    torch.testing.assert_close(torch.tensor(entry["rotation"]), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))
    assert (entry["width"], entry["height"], entry["fx"], entry["fy"]) == (64, 48, 50, 50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation": [[1, 0], [0, 1]]}, "1.rotation"),
        ({"rotation": [[1, 0, 0], [0, 1, 0], [0, 0, None]]}, "1.rotation.2.2"),
        ({"rotation": {"a": 1}}, "1.rotation"),
        ({"rotation": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, "1.rotation: expected the rows of a rotation"),
        ({"rotation": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "1.rotation: expected the rows of a rotation"),
        ({"rotation": [[0, 0, 0], [0, 0, 0], [0, 0, 0]]}, "1.rotation: expected the rows of a rotation"),
        ({"position": [0, float("nan"), 0]}, "1.position.1: expected a finite number"),
        ({"position": "here"}, "1.position"),
        ({"width": float("inf")}, "1.width"),
        ({"width": 0}, "1.width: expected greater than 0"),
        ({"height": 480.5}, "1.height: expected a valid integer"),
        ({"height": -480}, "1.height: expected greater than 0"),
        ({"fx": float("nan")}, "1.fx"),
        ({"fy": 0}, "1.fy: expected greater than 0"),
        ({"width": 641}, r"expected cameras of one image size, found \[\(640, 480\), \(641, 480\)\]"),
    ],
)
def test_a_bad_camera_is_named(tmp_path, change, message):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps([ENTRY, ENTRY | change]))
    with pytest.raises(InputError, match=rf"cameras\.json: {message}"):
        read_cameras(path)


@pytest.mark.parametrize("field", ENTRY)
def test_a_missing_field_is_named(tmp_path, field):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps([{name: value for name, value in ENTRY.items() if name != field}]))
    with pytest.raises(InputError, match=rf"cameras\.json: 0\.{field}: missing"):
        read_cameras(path)


@pytest.mark.parametrize("contents", ["[]", "{}", "null", "3", "[3]", "[[]]", '["rotation"]'])
def test_anything_but_a_list_of_cameras_is_refused(tmp_path, contents):
    path = tmp_path / "cameras.json"
    path.write_text(contents)
    with pytest.raises(InputError, match=r"cameras\.json: "):
        read_cameras(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ENTRY]), inner, max_size=3),
    max_leaves=9,
)


@given(st.fixed_dictionaries({}, optional={name: st.just(value) | VALUES for name, value in ENTRY.items()}))
def test_any_entry_is_cameras_or_an_input_error(tmp_path_factory, entry):
    path = tmp_path_factory.getbasetemp() / "any_cameras.json"
    path.write_text(json.dumps([entry]))
    with contextlib.suppress(InputError):
        cameras = read_cameras(path)
        assert cameras.viewmats.isfinite().all()
        assert cameras.Ks.isfinite().all()
