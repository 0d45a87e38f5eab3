import numpy as np

from gaussians.cameras import Orbit
from videogen.reconstruction.segmentation.object_volume import FAR, FIRM, ObjectVolume

SIZE = 64
CAMERAS = Orbit((0.0, 0.0, 0.0), 0.0, 0.0, 4.0, delta_azimuth=90.0).cameras((0, 1), SIZE)


def observe_nothing(volume: ObjectVolume, certainty: float = np.inf) -> None:
    nothing = np.zeros((SIZE, SIZE), bool)
    volume.observe(0, nothing, np.full(nothing.shape, certainty), np.full(nothing.shape, FAR), FIRM)


def test_evidence_counts_once_the_volume_is_settled() -> None:
    volume = ObjectVolume(np.zeros(3), 0.4, CAMERAS)
    before = volume.draw(1)[1]
    assert before.any()
    observe_nothing(volume)
    assert (volume.draw(1)[1] == before).all()
    volume.settle()
    assert not volume.draw(1)[1].any()


def test_views_whose_colours_tell_nothing_carve_nothing() -> None:
    volume = ObjectVolume(np.zeros(3), 0.4, CAMERAS)
    before = volume.draw(1)[1]
    observe_nothing(volume, -np.inf)
    volume.settle()
    assert (volume.draw(1)[1] == before).all()
