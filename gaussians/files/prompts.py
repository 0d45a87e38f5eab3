"""Read and write prompts.json: where each object is in the first view, and what it is.

    {"point": [[u, v]], "center_point": [[u, v]], "bbox": [[u0, v0, u1, v1]], "text": ["A rubber duck."]}

``docs/formats.md`` describes the format. Pixels are counted from 0, so that pixel (u, v) covers [u, u + 1) x [v, v + 1)
of the image, and the last ones that show an object are u1 and v1.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, model_validator

from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json_as, write_json

Point = tuple[FiniteFloat, FiniteFloat]
Box = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class Prompts(BaseModel):
    """A ``Prompts`` holds for each of K objects a point, a box or both, in pixels of a view, and a text."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, validate_by_name=True)

    points: Annotated[tuple[Point, ...] | None, Field(validation_alias=AliasChoices("point", "center_point"))] = None
    """K pixels (u, v) that show the objects."""
    boxes: Annotated[tuple[Box, ...] | None, Field(validation_alias="bbox")] = None
    """K pairs of pixels (u0, v0, u1, v1), the first and the last that show the objects."""
    texts: Annotated[tuple[str, ...] | None, Field(validation_alias="text")] = None
    """What the K objects are."""
    views: Annotated[tuple[NonNegativeInt, ...] | None, Field(validation_alias="view")] = None
    """The K views that the points and boxes are in, each the number of a picture or frame from 0; None: the first."""

    @model_validator(mode="after")
    def _count(self) -> "Prompts":
        entries = {"point": self.points, "bbox": self.boxes, "text": self.texts, "view": self.views}
        if self.points is None and self.boxes is None:
            raise ValueError("bbox: missing, and point, too: expected either")
        for key, found in entries.items():
            if found is not None and len(found) != len(self):
                raise ValueError(f"{key}: expected one entry for each of {len(self)} objects, found {len(found)}")
        if len(self) == 0:
            raise ValueError("bbox: expected at least one object")
        return self

    def __len__(self) -> int:
        return len(self.boxes if self.boxes is not None else self.points or ())

    @property
    def names(self) -> tuple[str, ...]:
        """Return what the objects are, or their numbers where no text says so."""
        return self.texts or tuple(f"object {number}" for number in range(1, len(self) + 1))

    def scaled(self, size: tuple[int, int], new_size: tuple[int, int]) -> "Prompts":
        """Return the prompts for a picture whose (width, height), pixels, were ``size`` and are ``new_size``."""
        x, y = new_size[0] / size[0], new_size[1] / size[1]
        points, boxes = self.points, self.boxes
        if points is not None:
            points = tuple(((u + 0.5) * x - 0.5, (v + 0.5) * y - 0.5) for u, v in points)
        if boxes is not None:
            boxes = tuple((u0 * x, v0 * y, (u1 + 1) * x - 1, (v1 + 1) * y - 1) for u0, v0, u1, v1 in boxes)
        return self.model_copy(update={"points": points, "boxes": boxes})

    def outside(self, width: int, height: int) -> list[str]:
        """Return a line for each point and box that is not inside a picture of ``width`` x ``height`` pixels."""
        problems = []
        for index, (u, v) in enumerate(self.points or ()):
            if not (0 <= u <= width and 0 <= v <= height):
                problems.append(f"point.{index}: expected a pixel of {width} x {height}, found ({u:g}, {v:g})")
        for index, (u0, v0, u1, v1) in enumerate(self.boxes or ()):
            if not (0 <= u0 <= u1 <= width and 0 <= v0 <= v1 <= height):
                problems.append(
                    f"bbox.{index}: expected (u0, v0, u1, v1) within {width} x {height}, "
                    f"found ({u0:g}, {v0:g}, {u1:g}, {v1:g})"
                )
        return problems


def read_prompts(path: str | Path) -> Prompts:
    """Read prompts.json; where the objects are within a picture is not checked: see ``Prompts.outside``.

    Raises:
        InputError: the file is missing, not JSON, has neither boxes nor points or a wrong type, or its lists differ
            in length.
    """
    return read_json_as(path, Prompts)


def write_prompts(path: str | Path, prompts: Prompts) -> None:
    """Write prompts.json with points under the published writer's and the published reader's name."""
    contents = {
        "point": prompts.points,
        "center_point": prompts.points,
        "bbox": prompts.boxes,
        "text": prompts.texts,
        "view": prompts.views,
    }
    write_json(path, {key: value for key, value in contents.items() if value is not None})


def parse_boxes(texts: Sequence[str]) -> Prompts:
    """Return the prompts that flags ``--bbox u0,v0,u1,v1`` ask for, one an object.

    Args:
        texts: the flags' values, at least one.

    Raises:
        InputError: one is not four numbers.
    """
    boxes: list[Box] = []
    for text in texts:
        try:
            u0, v0, u1, v1 = (float(word) for word in re.split(r"[,\s]+", text.strip()))
            boxes += Prompts(boxes=((u0, v0, u1, v1),)).boxes or ()
        except ValueError:  # also what infinite numbers raise
            raise InputError(f"--bbox: expected u0,v0,u1,v1, found {text!r}") from None
    return Prompts(boxes=tuple(boxes))
