import numpy as np
import pytest

from videogen.reconstruction.segmentation.grab_cut import boxes_of_points, labels_from_boxes

SIDE = 80
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
CENTERS, RADIUS = ((25, 30), (54, 48)), 12


def disc(u: float, v: float, radius: float = RADIUS) -> np.ndarray:
    return (COLUMNS - u) ** 2 + (ROWS - v) ** 2 <= radius**2


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A red and a green disc before blue noise."""
    noise = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 3))
    image = noise + np.array([20, 20, 120])
    for center, color in zip(CENTERS, ([180, 30, 30], [30, 180, 40]), strict=True):
        image = np.where(disc(*center)[..., None], noise + color, image)
    return image.astype(np.uint8)


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


def test_discs_are_cut_out_of_their_boxes(picture: np.ndarray) -> None:
    boxes = [(u - RADIUS, v - RADIUS, u + RADIUS, v + RADIUS) for u, v in CENTERS]
    labels = labels_from_boxes(picture, boxes)
    assert iou(labels == 1, disc(*CENTERS[0])) > 0.95
    assert iou(labels == 2, disc(*CENTERS[1])) > 0.95
    assert (labels == labels_from_boxes(picture, boxes)).all()


def test_boxes_are_found_about_points(picture: np.ndarray) -> None:
    for box, (u, v) in zip(boxes_of_points(picture, CENTERS), CENTERS, strict=True):
        assert box == pytest.approx((u - RADIUS, v - RADIUS, u + RADIUS, v + RADIUS), abs=1.5)


def test_a_box_in_which_nothing_differs_gives_its_ellipse() -> None:
    labels = labels_from_boxes(np.full((SIDE, SIDE, 3), 90, np.uint8), [(30, 30, 49, 49)])
    assert iou(labels == 1, disc(39.5, 39.5, 10)) > 0.9


def test_an_object_before_another_one_keeps_what_both_claim() -> None:
    noise = np.random.default_rng(1).integers(0, 60, (SIDE, SIDE, 3))
    behind, inside = disc(38, 40, 22), disc(44, 44, 7)
    beside = (np.abs(COLUMNS - 30) <= 5) & (np.abs(ROWS - 56) <= 16)
    image = noise + np.array([20, 20, 120])
    for mask, color in ((behind, [180, 30, 30]), (inside, [30, 180, 40]), (beside, [170, 170, 20])):
        image = np.where(mask[..., None], noise + color, image)
    boxes = [(16, 18, 60, 62), (37, 37, 51, 51), (25, 40, 35, 72)]
    labels = labels_from_boxes(image.astype(np.uint8), boxes)
    assert iou(labels == 1, behind & ~inside & ~beside) > 0.9
    assert iou(labels == 2, inside) > 0.9
    assert iou(labels == 3, beside) > 0.9
