import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.config import Config, load_config
from gaussians.stage.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "config"
UNKNOWN_TYPE = (
    "boundary_conditions.0.type: expected one of bounding_box, surface_collider, cuboid, particle_impulse, "
    "enforce_particle_translation, enforce_particle_velocity_rotation, release_particles_sequentially"
)
PUBLISHED = ("dynamic_config.json", "static_config.json", "real_world_config.json", "vlm_config.json")


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.fps == 50
    assert config.substeps * config.substep_dt == pytest.approx(config.frame_dt)
    assert {condition.type for condition in config.boundary_conditions} == {"bounding_box"}


def test_all_configs_are_there() -> None:
    assert {path.name for path in CONFIGS.glob("*.json")} >= {*PUBLISHED, "quickstart_config.json"}


def test_published_values_arrive() -> None:
    config = load_config(CONFIGS / "dynamic_config.json")
    assert isinstance(config.E, dict)
    assert config.E["phone"] == 2e7
    assert (config.n_grid, config.grid_lim, config.substeps, config.frame_num) == (200, 4.0, 200, 100)
    assert config.g == (0.0, 0.0, -5.0)


def test_published_boundary_conditions_arrive(tmp_path: Path) -> None:
    conditions = [
        {"type": "surface_collider", "point": [1, 1, 0.5], "normal": [0, 0, 1], "surface": "separate", "friction": 0.5}
        | {"start_time": 0, "end_time": 1e3},
        {"type": "cuboid", "point": [1, 1, 1], "size": [0.1, 0.1, 0.1], "velocity": [0, 0, 0], "reset": 1},
        {"type": "particle_impulse", "force": [0, 0.1, 0], "num_dt": 10, "start_time": 0.0},
        {"type": "enforce_particle_translation", "point": [1, 1, 1], "size": [1, 1, 1], "velocity": [0, 0, 0]}
        | {"start_time": 0, "end_time": 1.5},
        {"type": "enforce_particle_velocity_rotation", "point": [1, 1, 1], "normal": [0, 0, 1], "start_time": 0}
        | {"half_height_and_radius": [0.2, 1], "rotation_scale": 3, "translation_scale": 0, "end_time": 1},
        {"type": "release_particles_sequentially", "normal": [0, 0, 1], "start_position": 0.5, "end_position": 1.5}
        | {"num_layers": 50, "start_time": 0, "end_time": 2},
    ]
    config = load_config(write(tmp_path / "config.json", {"boundary_conditions": conditions}))
    assert [found.type for found in config.boundary_conditions] == [wanted["type"] for wanted in conditions]


def test_orbit_is_in_world_coordinates() -> None:
    orbit = load_config(CONFIGS / "dynamic_config.json").orbit()
    assert orbit.center == pytest.approx((0.0, 0.0, -0.3))
    assert (orbit.azimuth, orbit.elevation, orbit.radius, orbit.delta_azimuth) == (120.0, 20.0, 4.0, 3.6)


def test_orbit_stands_still_if_the_camera_does_not_move() -> None:
    orbit = Config(move_camera=False, delta_a=3.6, delta_r=0.1).orbit()
    assert (orbit.delta_azimuth, orbit.delta_elevation, orbit.delta_radius) == (0.0, 0.0, 0.0)


def test_camera_settings_are_no_simulation_settings() -> None:
    assert Config(init_radius=2.0).simulation_settings() == Config(init_radius=3.0, delta_a=1.0).simulation_settings()
    assert Config(n_grid=32).simulation_settings() != Config(n_grid=64).simulation_settings()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"E": -1}, "E: expected greater than 0, found -1"),
        ({"E": "soft"}, "E: expected a valid number"),
        ({"E": True}, "E: expected a valid number"),
        ({"E": {"duck": 0}}, "E.duck: expected greater than 0"),
        ({"density": {"duck": "heavy"}}, "density.duck: expected a valid number"),
        ({"n_grid": 64.5}, "n_grid: expected a valid integer"),
        ({"n_grid": 2}, "n_grid: expected greater than or equal to 16"),
        ({"grid_lim": -4}, "grid_lim: expected greater"),
        ({"nu": 0.5}, "nu: expected less than 0.5"),
        ({"frame_num": 0}, "frame_num: expected greater than or equal to 1"),
        ({"frame_num": True}, "frame_num: expected a valid integer"),
        ({"g": [0, 0]}, "g.2: missing"),
        ({"g": [0, 0, "down"]}, "g.2: expected a valid number"),
        ({"g": [0, 0, float("nan")]}, "g.2: expected a finite number"),
        ({"frame_dt": float("inf")}, "frame_dt: expected a finite number"),
        ({"substep_dt": 3e-4}, "substep_dt: expected frame_dt = 0.02 to be a whole number of substeps"),
        ({"substep_dt": 0.05}, "substep_dt: expected frame_dt"),
        ({"substep_dt": "fast"}, 'substep_dt: expected a number of seconds or "auto", found "fast"'),
        ({"initial_velocity": [1, 0]}, "initial_velocity.2: missing"),
        ({"initial_velocity": {"duck": [1, 0, "x"]}}, "initial_velocity.duck.2: expected a valid number"),
        ({"initial_angular_velocity": 3}, "initial_angular_velocity: expected a valid array, found 3"),
        ({"sim_area": [1, -1, -1, 1, -1, 1]}, "sim_area: expected x0 < x1"),
        ({"rotation_degree": [90]}, "rotation_degree and rotation_axis: expected lists of the same length"),
        ({"rotation_degree": [90], "rotation_axis": [3]}, "rotation_axis.0: expected 0, 1 or 2"),
        ({"mpm_space_vertical_upward_axis": [0, 1, 0]}, "mpm_space_vertical_upward_axis: expected [0, 0, 1]"),
        ({"default_camera_index": 3}, "default_camera_index: expected -1"),
        ({"material": "mud"}, "material: the material 'mud' is not supported: expected one of jelly, metal, sand"),
        ({"yield_stress": 0}, "yield_stress: expected greater than 0, found 0"),
        ({"yield_stress": {"duck": -1}}, "yield_stress.duck: expected greater than 0, found -1"),
        ({"hardening": 2}, "hardening: expected 0 or 1, found 2"),
        ({"xi": -1}, "xi: expected greater than or equal to 0"),
        ({"friction_angle": 90}, "friction_angle: expected less than 90"),
        ({"plastic_viscosity": "thick"}, "plastic_viscosity: expected a valid number"),
        ({"softening": -0.1}, "softening: expected greater than or equal to 0"),
        ({"critical_compression": 1.0}, "critical_compression: expected less than 1"),
        ({"critical_stretch": {"duck": 0}}, "critical_stretch.duck: expected greater than 0"),
        ({"pic_damping": 1.5}, "pic_damping: expected less than or equal to 1"),
        ({"material": {"duck": "mud"}}, "material: the material 'mud' is not supported"),
        (
            {"boundary_conditions": [{"type": "bouding_box"}]},
            f"{UNKNOWN_TYPE}, found \"bouding_box\": did you mean 'bounding_box'?",
        ),
        ({"boundary_conditions": [{}]}, f"{UNKNOWN_TYPE}, found null"),
        ({"boundary_conditions": [3]}, "boundary_conditions.0: expected an object, found 3"),
        ({"boundary_conditions": [{"type": "cuboid"}]}, "boundary_conditions.0.cuboid.point: missing"),
        (
            {"boundary_conditions": [{"type": "bounding_box", "size": 1}]},
            "boundary_conditions.0.bounding_box.size: unknown key",
        ),
        ({"additional_material_params": [{"point": [0, 0, 0]}]}, "additional_material_params.0.size: missing"),
        ({"contact": {"type": "sticky"}}, "contact.type: expected 'grid' or 'frictional', found \"sticky\""),
        ({"contact": {"type": "frictional", "friction": -1}}, "contact.friction"),
        ({"contact": {"friction": 0.3}}, 'contact: friction: expected none for contact of type "grid"'),
        (
            {"contact": {"type": "frictional", "friction": {"can": 0.3}}},
            'contact: friction: expected "default" or two names with a slash, as in "can/bowl", found \'can\'',
        ),
        ({"density": 1e-320}, "density: expected 1e-15 to 1e+15, found 9.99989e-321"),
        ({"density": {"duck": 1e300}}, "density.duck: expected 1e-15 to 1e+15, found 1e+300"),
        ({"E": 1e30}, "E: expected 1e-15 to 1e+15, found 1e+30"),
        ({"g": [0, 0, -1e300]}, "g.2: expected -1e+15 to 1e+15, found -1e+300"),
        ({"initial_velocity": {"duck": [1e30, 0, 0]}}, "initial_velocity.duck.0: expected -1e+15 to 1e+15"),
        ({"sim_area": [-1e300, 1e300, -1, 1, -1, 1]}, "sim_area.0: expected -1e+15 to 1e+15"),
        ({"rotation_degree": [1e300], "rotation_axis": [0]}, "rotation_degree.0: expected -1e+15 to 1e+15"),
        ({"rpic_damping": -1e300}, "rpic_damping: expected greater than or equal to -1"),
        ({"grid_v_damping_scale": 1e-320}, "grid_v_damping_scale: expected 1e-15 to 1e+15"),
        ({"xi": 1e300}, "xi: expected 0 to 1e+15, found 1e+300"),
        ({"critical_stretch": 1e-320}, "critical_stretch: expected 1e-06 to 0.999"),
        ({"frame_dt": 1e300}, "frame_dt: expected 1e-06 to 1000, found 1e+300"),
        (
            {"substep_dt": 2e-8},
            "substep_dt: expected at most 100000 substeps in a frame, found 1e+06 of 2e-08 s in 0.02",
        ),
        ({"init_radius": 1e300}, "init_radius: expected 0.001 to 100000, found 1e+300"),
        ({"delta_r": 1e300}, "delta_r: expected -1e+15 to 1e+15"),
        ({"mpm_space_viewpoint_center": [1e300, 0, 0]}, "mpm_space_viewpoint_center.0: expected -100000 to 100000"),
        (
            {"boundary_conditions": [{"type": "surface_collider", "point": [0, 0, 0], "normal": [0, 0, 1e-320]}]},
            "boundary_conditions.0.surface_collider.normal: expected a direction, found zero",
        ),
        (
            {
                "boundary_conditions": [
                    {"type": "cuboid", "point": [0, 0, 0], "size": [1e-320, 1, 1], "velocity": [0] * 3}
                ]
            },
            "boundary_conditions.0.cuboid.size.0: expected 1e-15 to 1e+15",
        ),
        (
            {"additional_material_params": [{"point": [0, 0, 0], "size": [1, 1, 1], "density": 1e-320}]},
            "additional_material_params.0.density: expected 1e-15 to 1e+15",
        ),
        ({"particle_filling": {"density_threshold": 1e300}}, "particle_filling.density_threshold: expected 0 to 1e+15"),
        (
            {"additional_material_params": [{"point": [0, 0, 0], "size": [1, 1, 1], "nu": 0.5}]},
            "additional_material_params.0.nu: expected less than 0.5",
        ),
        ({"particle_filling": {"n_grid": 2}}, "particle_filling.n_grid: expected"),
        ({"n_gird": 64}, "n_gird: unknown key: did you mean 'n_grid'?"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_refusals_name_the_field_and_what_was_expected(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    base = json.loads((CONFIGS / "dynamic_config.json").read_text())
    assert refusal(write(tmp_path / "config.json", base | changes)).startswith(expected)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "3", '"text"', "null", '{"n_grid": 64,}', "[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert refusal(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json") == "no such file"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(Config.model_fields)) | st.text(max_size=8)


@settings(max_examples=300, deadline=None)
@given(content=st.dictionaries(FIELDS, JSON, max_size=6) | JSON)
def test_any_json_is_either_valid_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.json", content)
    try:
        config = load_config(path)
    except InputError as error:
        message = str(error)
    else:
        assert config == Config.model_validate_json(json.dumps(config.settings()))
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@settings(max_examples=100, deadline=None)
@given(
    E=st.floats(min_value=1e-3, max_value=1e9) | st.dictionaries(st.text(max_size=5), st.floats(1, 1e9), max_size=3),
    n_grid=st.integers(16, 1024),
    substeps=st.integers(1, 500),
    g=st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_valid_settings_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory, E: Any, n_grid: int, substeps: int, g: tuple[float, float, float]
) -> None:
    content = {"E": E, "n_grid": n_grid, "frame_dt": 0.02, "substep_dt": 0.02 / substeps, "g": g}
    config = load_config(write(tmp_path_factory.getbasetemp() / "valid.json", content))
    assert (config.E, config.n_grid, config.substeps, config.g) == (E, n_grid, substeps, g)


def test_shipped_settings_are_found_by_their_bare_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("quickstart_config") == load_config(CONFIGS / "quickstart_config.json")
    with pytest.raises(InputError, match=r"elsewhere\.json: no such file"):
        load_config("elsewhere.json")
    (tmp_path / "quickstart_config").write_text('{"nu": 0.1}')
    assert load_config("quickstart_config").nu == 0.1  # a file of the user's own goes first
