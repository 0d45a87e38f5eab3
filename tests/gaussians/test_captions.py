import pytest

from gaussians.captions import gravity_caption


@pytest.mark.parametrize(
    ("gravity", "caption"),
    [
        ((0.0, 0.0, -9.8), "gravity 9.8 m/s^2"),
        ((0.0, 0.0, 0.0), "no gravity"),
        ((0.0, 0.0, 5.0), "gravity (0, 0, 5) m/s^2"),
        ((1.5, 0.0, -9.81), "gravity (1.5, 0, -9.81) m/s^2"),
    ],
)
def test_gravity_is_its_strength_where_it_points_down(gravity: tuple[float, float, float], caption: str) -> None:
    assert gravity_caption(gravity) == caption
