"""This module knows the dataset's objects and backgrounds: those of the catalogue, and those that people add.

An ``object.json`` beside an object's point cloud overrides single fields of the catalogue or, with an index of 100 and
up, describes an object that people added. A ``placement.json`` overrides the catalogue's placement of a background.
"""

import itertools
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dataset.layout import Layout, subdirectories
from gaussians.numbers import Positive, Vector
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as

Split = Literal["train", "novel", "custom"]

FIRST_CUSTOM_INDEX = 100
"""Objects that people add are numbered from here on."""


@dataclass(frozen=True)
class ObjectEntry:
    """Describes one object of the dataset.

    Attributes:
        index: the object's number in scene configs.
        name: the name of its folder; names of scenes join those of their objects with underscores.
        split: ``train``, ``novel`` (held out), or ``custom`` for objects that people added.
        youngs_modulus: Young's modulus, pascals.
        density: density, kg/m^3.
        gaussian_count: number of Gaussians of the published object, 0 where none was published.
        scale: factor from the size of the stored point cloud to metres.
        prompt: a text that says what the object is.
        material: name of the constitutive law that simulates it.
    """

    index: int
    name: str
    split: Split
    youngs_modulus: float
    density: float
    gaussian_count: int
    scale: float
    prompt: str
    material: str = "jelly"


@dataclass(frozen=True)
class Placement:
    """Brings a background's points p into the world: p' = R s (p - c) + T + c.

    Attributes:
        rotation: R as Euler angles about the fixed axes x, then y, then z, degrees.
        translation: T, metres.
        scale: s, a factor.
        center: c, metres; None: the mean camera position of the background's ``camera_2999.pt``.
        crop: whether to drop the Gaussians inside [-1, 1]^3 metres, where the objects are.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    rotation: Vector
    translation: Vector
    scale: Positive
    center: Vector | None = None
    crop: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the content of a ``placement.json``."""
        return asdict(self)


OBJECTS = (
    ObjectEntry(0, "ball", "train", 8e5, 600, 106_115, 0.4, "A pokemon ball."),
    ObjectEntry(1, "bear", "novel", 5e4, 500, 139_018, 0.65, "A teddy bear toy."),
    ObjectEntry(2, "bowl", "train", 1e7, 800, 232_764, 0.5, "A blue bowl with cloud."),
    ObjectEntry(3, "can", "train", 1e6, 800, 70_569, 1.0, "A cola."),
    ObjectEntry(4, "cloth", "train", 3e3, 100, 116_188, 1.0, "A yellow t-shirt with a owl on it."),
    ObjectEntry(5, "cloth2", "novel", 3e3, 100, 37_695, 1.0, "A checkered cloth."),
    ObjectEntry(6, "cloth3", "novel", 3e3, 100, 253_341, 0.6, "A cyan mouse pad."),
    ObjectEntry(7, "duck", "train", 3e5, 300, 80_544, 0.3, "A rubber duck."),
    ObjectEntry(8, "duck2", "novel", 5e5, 1200, 8_326, 0.65, "A yellow duck toy."),
    ObjectEntry(9, "miku", "train", 1e5, 400, 48_316, 0.6, "A hatsune miku."),
    ObjectEntry(10, "panda", "train", 1e5, 700, 56_104, 0.6, "A cartoon panda."),
    ObjectEntry(11, "phone", "train", 2e7, 2600, 26_571, 0.4, "A mobile phone."),
    ObjectEntry(12, "pillow", "train", 1e4, 500, 64_229, 0.7, "A blue and white stripped pillow."),
    ObjectEntry(13, "pillow2", "novel", 1e4, 500, 61_882, 1.2, "A black and white stripped pillow."),
    ObjectEntry(14, "rope", "train", 5e3, 500, 8_051, 1.0, "A thick rope."),
    ObjectEntry(15, "rope2", "novel", 5e3, 500, 104_410, 0.65, "A rope."),
    ObjectEntry(16, "soccer", "novel", 3e6, 700, 54_547, 1.0, "A soccer ball."),
    ObjectEntry(17, "toy", "novel", 1e5, 500, 60_283, 1.0, "A Roujiamo toy."),
)

BACKGROUNDS = {
    "table": Placement((-113.2965, 3.564, 63.4301), (-0.5443, -0.1, 0.5878), 1.878),
    "table0": Placement((-115.0, 2.0, 63.4301), (0.1, -0.2, 0.95), 3.3),
    "table1": Placement((-115.0, 2.0, 63.4301), (-0.5, 0.0, 0.65), 3.0),
    "table2": Placement((-115.0, 2.0, 63.4301), (0.0, 0.6, 0.45), 2.2),
    "table3": Placement((-116.0, 3.0, 60.0), (-0.3, 0.8, 0.45), 2.2),
    "table4": Placement((-115.0, 2.0, 63.4301), (0.1, -0.2, 1.05), 3.5),
    "table5": Placement((-113.2965, 3.564, 63.4301), (0.0, 0.0, 0.7), 2.2),
    "table6": Placement((-113.0, 4.0, 63.4301), (-0.5, 0.0, 0.75), 3.0),
    "table7": Placement((-115.0, 2.0, 63.4301), (-0.5, 0.6, 0.62), 2.5),
}
"""Placements of the published captures, by name."""

_BY_NAME = {entry.name: entry for entry in OBJECTS}


class _ObjectFile(BaseModel):
    """Checks the fields of an ``object.json``; for objects of the catalogue any of them may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    index: Annotated[int, Field(ge=0)] | None = None
    youngs_modulus: Positive | None = None
    density: Positive | None = None
    scale: Positive | None = None
    prompt: str | None = None
    material: str | None = None


def object_by_name(name: str, layout: Layout | None = None) -> ObjectEntry:
    """Return the object of a name, with what its ``object.json`` says where ``layout`` has one.

    Raises:
        InputError: there is no such object, or its ``object.json`` is invalid.
    """
    builtin = _BY_NAME.get(name)
    path = None if layout is None else layout.object_json(name)
    if path is None or not path.is_file():
        if builtin is None:
            raise InputError(_unknown_object(name, layout))
        return builtin
    found: dict[str, Any] = {key: value for key, value in read_json_as(path, _ObjectFile) if value is not None}
    if builtin is not None:
        if found.get("index", builtin.index) != builtin.index:
            raise InputError(f"{path}: index: expected {builtin.index}, as {name} has it, found {found['index']}")
        return replace(builtin, **found)
    for key in ("index", "youngs_modulus", "density"):
        if key not in found:
            raise InputError(f"{path}: no field {key!r}: expected index, youngs_modulus and density")
    if found["index"] < FIRST_CUSTOM_INDEX:
        raise InputError(f"{path}: index: expected {FIRST_CUSTOM_INDEX} or more, found {found['index']}")
    defaults: dict[str, Any] = {"scale": 1.0, "prompt": f"A {name}."}
    return ObjectEntry(name=name, split="custom", gaussian_count=0, **(defaults | found))


def _unknown_object(name: str, layout: Layout | None) -> str:
    where = "" if layout is None else f" and there is no {layout.object_json(name)}"
    return f"object {name!r} is not in the catalogue ({', '.join(_BY_NAME)}){where}"


def all_objects(layout: Layout | None = None) -> list[ObjectEntry]:
    """Return the catalogue's objects and those that people put under ``layout.objects``, in the order of their index.

    Raises:
        InputError: an ``object.json`` is invalid, or two objects have one index.
    """
    names = dict.fromkeys(_BY_NAME)
    if layout is not None:
        names |= dict.fromkeys(path.name for path in subdirectories(layout.objects) if (path / "object.json").is_file())
    entries = sorted((object_by_name(name, layout) for name in names), key=lambda entry: entry.index)
    for first, second in itertools.pairwise(entries):
        if first.index == second.index:
            raise InputError(f"objects {first.name!r} and {second.name!r} have the same index {first.index}")
    return entries


def objects_of_split(split: str, layout: Layout | None = None) -> list[ObjectEntry]:
    """Return the objects of a split: ``train``, ``novel``, or ``all`` for every object, added ones included."""
    return [entry for entry in all_objects(layout) if split in ("all", entry.split)]


def object_json(entry: ObjectEntry) -> dict[str, Any]:
    """Return the content of an ``object.json`` that describes ``entry``."""
    content = {key: getattr(entry, key) for key in ("index", "youngs_modulus", "density", "scale", "prompt")}
    material = next(field for field in fields(ObjectEntry) if field.name == "material")
    return content if entry.material == material.default else content | {"material": entry.material}


def load_placement(background: Path) -> Placement:
    """Return the placement of a background directory: its ``placement.json``, else the catalogue's for its name.

    Raises:
        InputError: the file is invalid, or there is neither.
    """
    path = background / "placement.json"
    if not path.is_file():
        name = background.resolve().name
        if name not in BACKGROUNDS:
            raise InputError(f"{path}: no such file, and {name!r} is not in the catalogue ({', '.join(BACKGROUNDS)})")
        return BACKGROUNDS[name]
    return read_json_as(path, Placement)
