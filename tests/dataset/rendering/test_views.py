import pytest

from dataset.rendering.views import View, chosen_views, parse_views
from gaussians.stage.errors import InputError


def test_flag_chooses_path_single_view_or_every_fourth() -> None:
    assert [view.name for view in chosen_views(None)] == ["circle360"]
    assert chosen_views(7) == [View("view_7", 7)]
    assert [view.number for view in chosen_views(-1)] == list(range(0, 100, 4))


@pytest.mark.parametrize("number", [-2, 100])
def test_views_off_the_orbit_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=f"expected 0 to 99, found {number}"):
        chosen_views(number)


def test_mixed_list_is_parsed() -> None:
    assert [view.name for view in parse_views("84, circle360,circle360_jitter")] == [
        "view_84",
        "circle360",
        "circle360_jitter",
    ]


@pytest.mark.parametrize("text", ["", "100", "round", "3,3", "1,,2", "-1"])
def test_bad_lists_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_views(text)
