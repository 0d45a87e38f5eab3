"""What objects are made of: flags, configuration and scene."""

import pytest

from dataset.config import Config
from dataset.scenes.scene_objects import SceneObject
from dataset.simulation.materials import object_materials
from gaussians.stage.errors import InputError

OBJECTS = [
    SceneObject(label=0, name="ball", index=0, youngs_modulus=1e5, density=600.0),
    SceneObject(label=1, name="teddy", index=100, youngs_modulus=2e4, density=300.0),
]


def test_materials_come_from_flag_then_config_then_scene() -> None:
    def moduli(config: Config, E: list[float] | None = None) -> list[float]:
        return [material.youngs_modulus for material in object_materials(OBJECTS, config, E)]

    assert moduli(Config()) == [1e5, 2e4]
    assert moduli(Config(E=3e5)) == [3e5, 3e5]
    assert moduli(Config(E={"ball": 7e5, "teddy": 1e4, "duck": 1.0})) == [7e5, 1e4]
    assert moduli(Config(E={"ball": 7e5})) == [7e5, 2e4]  # people's own objects say what they are made of
    assert moduli(Config(E={"ball": 7e5}), [1.0, 2.0]) == [1.0, 2.0]


def test_each_law_gets_its_settings() -> None:
    config = Config(material={"ball": "metal", "teddy": "sand"}, yield_stress={"ball": 2e3}, hardening=1, xi=0.5)
    ball, teddy = object_materials(OBJECTS, config)
    assert ball.settings == {"yield_stress": 2e3, "hardening": 1, "xi": 0.5}
    assert teddy.settings == {"friction_angle": 25.0}
    with pytest.raises(InputError, match=r"c\.json: yield_stress: no value for object 'ball'"):
        object_materials(OBJECTS, Config(material="foam", yield_stress={"duck": 1e3}), config_path="c.json")


def test_missing_materials_are_named() -> None:
    with pytest.raises(InputError, match=r"c\.json: density: no value for object 'ball'"):
        object_materials(OBJECTS, Config(density={"duck": 1.0}), config_path="c.json")
    with pytest.raises(InputError, match=r"c\.json: E: expected a value, .*'thing' is made of \(or give --E\)"):
        object_materials([SceneObject(label=0, name="thing")], Config(density=1.0), config_path="c.json")
    with pytest.raises(InputError, match=r"--E: expected 2 values \(ball, teddy\), found 1"):
        object_materials(OBJECTS, Config(), E=[1.0])
    with pytest.raises(InputError, match="material 'mud' is not supported"):
        object_materials([OBJECTS[0].model_copy(update={"material": "mud"})], Config())
