"""This module defines what a configuration says of contact between objects."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gaussians.numbers import NotNegative

DEFAULT_FRICTION = 0.4
"""Coulomb's coefficient of pairs for which the configuration has none: about that of wood on wood."""


class ContactSettings(BaseModel):
    """Holds the settings of contact between objects; the floor and colliders have their own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    type: Literal["grid", "frictional"] = "grid"
    """grid: all objects share one velocity field, so that they stick where they are within some cells of each other.
    frictional: each has its own, and those that touch push each other and slide."""
    friction: NotNegative | dict[str, NotNegative] | None = None
    """Coulomb's coefficient of frictional contact (no unit): a number for all, or a map by pair, "a/b" in any order,
    where a and b are objects or materials, and "default". None: 0.4."""

    @model_validator(mode="after")
    def _friction_has_a_meaning(self) -> "ContactSettings":
        if self.type == "grid" and self.friction is not None:
            raise ValueError('friction: expected none for contact of type "grid", in which nothing slides')
        for pair in self.friction if isinstance(self.friction, dict) else ():
            if pair != "default" and len([name for name in pair.split("/") if name]) != 2:
                raise ValueError(
                    f'friction: expected "default" or two names with a slash, as in "can/bowl", found {pair!r}'
                )
        return self

    @property
    def names(self) -> set[str]:
        """Return the names of objects and materials in a map of friction."""
        pairs = self.friction if isinstance(self.friction, dict) else ()
        return {name for pair in pairs if pair != "default" for name in pair.split("/")}

    def coefficients(self, names: Sequence[str], materials: Sequence[str]) -> np.ndarray:
        """Return Coulomb's coefficients (K, K) of K objects.

        In a map a pair of objects comes before one of an object and a material, and that before two materials.

        Args:
            names: what the objects are called.
            materials: names of their constitutive laws.
        """
        found = np.empty((len(names), len(names)))
        for i, (name, material) in enumerate(zip(names, materials, strict=True)):
            for j, (other_name, other_material) in enumerate(zip(names, materials, strict=True)):
                pairs = [(name, other_name), (name, other_material), (material, other_name), (material, other_material)]
                found[i, j] = self._of(pairs)
        return found

    def _of(self, pairs: Sequence[tuple[str, str]]) -> float:
        if not isinstance(self.friction, dict):
            return DEFAULT_FRICTION if self.friction is None else self.friction
        for a, b in pairs:
            for key in (f"{a}/{b}", f"{b}/{a}"):
                if key in self.friction:
                    return self.friction[key]
        return self.friction.get("default", DEFAULT_FRICTION)
