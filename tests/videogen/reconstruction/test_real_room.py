"""Photographs of a room, whose cameras look around in it: only the first three show the same things."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gaussians.cameras import Cameras
from videogen.reconstruction.placement import FLOOR, free_place, place_on_ground
from videogen.reconstruction.plane_sweep import sweep, unproject
from videogen.reconstruction.posing.posed_pictures import PosedPictures


def test_the_floor_of_a_real_room_is_found(real_data: Path) -> None:
    """The cameras are in metres, with z up from the floor. Measured: 4 cm, and 1.1 degrees, as they were held."""
    room = real_data / "photos" / "room"
    with np.load(room / "condition.npz") as file:
        cameras = Cameras(
            torch.from_numpy(np.linalg.inv(file["poses"])).float(), torch.from_numpy(file["intrinsics"]), 434, 350
        )
    images = np.stack([np.asarray(Image.open(room / "rgb" / f"{number}.png").convert("RGB")) for number in range(3)])
    pictures = PosedPictures(torch.from_numpy(images), cameras[torch.arange(3)], ("0", "1", "2"), (0, 1, 2))
    swept = sweep(pictures, max_side=128)
    points = unproject(swept.cameras, swept.depth)[swept.consistent]
    placed = place_on_ground(free_place(points, cameras), points, cameras, scale=1.0).similarity
    assert placed.rotation[2, 2] > np.cos(np.radians(2))
    heights = placed.cameras(cameras).positions[:3, 2] - FLOOR
    assert (heights - cameras.positions[:3, 2]).abs().max() < 0.15
