from pathlib import Path

import pytest

from gaussians.files.prompts import Prompts, parse_boxes, read_prompts, write_prompts
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import read_json, write_json

PROMPTS = Prompts(points=((3.0, 4.0), (7.0, 1.0)), boxes=((2.0, 2.0, 5.0, 6.0), (6.0, 0.0, 9.0, 3.0)), texts=("a", "b"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    write_prompts(path, PROMPTS)
    assert read_prompts(path) == PROMPTS
    contents = read_json(path)
    del contents["point"]  # as published files are
    write_json(path, contents)
    assert read_prompts(path) == PROMPTS
    write_prompts(path, Prompts(points=PROMPTS.points))
    assert set(read_json(path)) == {"point", "center_point"}
    assert read_prompts(path).names == ("object 1", "object 2")
    shown = PROMPTS.model_copy(update={"views": (0, 3)})
    write_prompts(path, shown)
    assert read_prompts(path) == shown


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"text": ["a"]}, "bbox: missing"),
        ({"bbox": []}, "at least one object"),
        ({"bbox": [[0, 0, 1]]}, r"bbox\.0\.3: missing"),
        ({"point": [[0, 0]], "view": [-1]}, r"view\.0: "),
        ({"point": [[0, 0]], "view": [0, 1]}, "view: expected one entry for each of 1 objects, found 2"),
        ({"point": [[0, 0]], "text": ["a", "b"]}, "text: expected one entry for each of 1 objects, found 2"),
        ({"point": [[0, 0]], "bbox": [[0, 0, 1, 1]] * 3}, "point: expected one entry for each of 3 objects, found 1"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, contents: dict[str, object], message: str) -> None:
    write_json(tmp_path / "prompts.json", contents)
    with pytest.raises(InputError, match=rf"prompts\.json: .*{message}"):
        read_prompts(tmp_path / "prompts.json")


def test_a_box_covers_the_same_part_of_a_scaled_picture() -> None:
    """Pixels 2 to 5 of 10 cover 0.2 to 0.6 of the width: of 30 those are pixels 6 to 17."""
    scaled = PROMPTS.scaled((10, 8), (30, 16))
    assert scaled.boxes is not None
    assert scaled.boxes[0] == pytest.approx((6, 4, 17, 13))
    assert scaled.points is not None
    assert scaled.points[0] == pytest.approx((3.5 * 3 - 0.5, 4.5 * 2 - 0.5))
    assert scaled.texts == PROMPTS.texts


def test_what_is_outside_the_picture_is_named() -> None:
    assert PROMPTS.outside(10, 8) == []
    assert PROMPTS.outside(8, 8) == ["bbox.1: expected (u0, v0, u1, v1) within 8 x 8, found (6, 0, 9, 3)"]
    assert PROMPTS.outside(10, 3)[0] == "point.0: expected a pixel of 10 x 3, found (3, 4)"
    assert len(parse_boxes(["5,1,2,3"]).outside(10, 10)) == 1


def test_boxes_are_read_from_flags() -> None:
    assert parse_boxes(["1,2,3,4", "5 6.5, 7 8"]).boxes == ((1, 2, 3, 4), (5, 6.5, 7, 8))
    for text in ("1,2,3", "a,b,c,d", "1,2,3,inf"):
        with pytest.raises(InputError, match="--bbox: expected u0,v0,u1,v1"):
            parse_boxes([text])
