"""Silhouettes of an object in a known place."""

import pytest
import torch

from gaussians.rotations import rotation_exp
from tests.videogen.reconstruction.completion.test_registration import TRUTH, bumpy, error, pictures
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion.silhouettes import Silhouettes

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def free(change: torch.Tensor) -> torch.Tensor:
    return change.new_zeros(())


def test_silhouettes_tell_a_wrong_place_and_leave_out_what_is_hidden() -> None:
    completed = bumpy()
    shown = pictures(completed)
    right = TRUTH.gaussians(completed)
    aside = right.transformed(translation=torch.tensor([0.0, 0.0, 0.8]))
    assert shown.overlap(right) == 1
    assert 0.2 < shown.overlap(aside) < 0.7
    hidden = torch.zeros_like(shown.masks)
    hidden[:, :, : hidden.shape[2] // 2] = True
    half = Silhouettes(shown.cameras, shown.masks & ~hidden, hidden)
    assert half.overlap(right) == 1
    assert Silhouettes(shown.cameras, half.masks, torch.zeros_like(hidden)).overlap(right) < 0.8


@pytest.mark.parametrize("device", DEVICES)
def test_object_is_brought_to_where_silhouettes_overlap(device: str) -> None:
    completed = bumpy().to(device)
    shown = pictures(bumpy(), views=3)
    turn, shift = torch.tensor([[0.1, -0.05, 0.1], [0.03, 0.0, -0.03]]).double()
    start = TRUTH @ Similarity(1.06, rotation_exp(turn), shift)
    found = shown.fitted(start, completed, free)
    before, after = (shown.overlap(place.gaussians(completed)) for place in (start, found))
    assert before < 0.9
    assert after > 0.97
    assert error(found, completed.means) < 0.4 * error(start, completed.means)


def test_what_costs_too_much_is_not_changed() -> None:
    completed = bumpy()
    shown = pictures(completed, views=1)
    start = TRUTH @ Similarity(1.1, torch.eye(3).double(), torch.zeros(3).double())
    held = shown.fitted(start, completed, lambda change: 1e6 * change.square().sum())
    assert abs(held.scale / start.scale - 1) < 0.01


def test_without_masks_nothing_moves() -> None:
    completed = bumpy()
    shown = pictures(completed)
    nothing = Silhouettes(shown.cameras, torch.zeros_like(shown.masks), shown.hidden)
    assert nothing.fitted(TRUTH, completed, free) is TRUTH
    assert nothing.overlap(TRUTH.gaussians(completed)) == 0
