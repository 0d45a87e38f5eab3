import pytest
import torch

from dataset.rendering.views import View, cameras_at, chosen_views, parse_views
from gaussians.cameras import Orbit
from gaussians.stage.errors import InputError

ORBIT = Orbit(center=(0.0, 0.0, -0.3), azimuth=120.0, elevation=20.0, radius=4.0)


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


def test_fixed_camera_stands_and_moving_one_follows_the_orbit() -> None:
    fixed = View("view_3", 3).cameras(ORBIT, 64, 5)
    moving = View("circle360").cameras(ORBIT, 64, 5)
    assert torch.equal(fixed.viewmats, fixed.viewmats[:1].expand(5, 4, 4))
    assert torch.equal(moving.viewmats, ORBIT.cameras(range(5), 64).viewmats)
    assert torch.equal(fixed.viewmats[0], moving.viewmats[3])


def test_jitter_is_small_seeded_and_still_looks_at_the_centre() -> None:
    steady = View("circle360").cameras(ORBIT, 64, 100)
    shaken = View("circle360_jitter").cameras(ORBIT, 64, 100, seed=1)
    again = View("circle360_jitter").cameras(ORBIT, 64, 100, seed=1)
    other = View("circle360_jitter").cameras(ORBIT, 64, 100, seed=2)
    offsets = (shaken.positions - steady.positions).norm(dim=1)
    # Three normal components of 1 % of 4 m each: a length over six standard deviations does not happen.
    assert 0.01 < offsets.mean() < 0.15
    assert offsets.max() < 0.24
    assert torch.equal(shaken.viewmats, again.viewmats)
    assert not torch.equal(shaken.viewmats, other.viewmats)
    center = torch.tensor([*ORBIT.center, 1.0])
    local = shaken.viewmats @ center
    torch.testing.assert_close(local[:, :2], torch.zeros(100, 2), atol=1e-5, rtol=0)


def test_batch_of_one_frame_has_one_camera_a_path() -> None:
    paths = [View("view_3", 3).cameras(ORBIT, 64, 5), View("circle360").cameras(ORBIT, 64, 5)]
    batch = cameras_at(paths, 4)
    assert len(batch) == 2
    assert torch.equal(batch.viewmats[0], paths[0].viewmats[4])
    assert torch.equal(batch.viewmats[1], paths[1].viewmats[4])
