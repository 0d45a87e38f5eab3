"""The live world in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.scenes.scene_files import write_scene
from dynamic_models.models.registry import SHIPPED
from gaussians.representation import Gaussians
from gaussians.spherical_harmonics import rgb_to_sh
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from tests.tools.browser import PATIENCE, Server, blue, opened, picture, red, row, type_into, until


def write_balls(path: Path) -> None:
    """A red ball left of a blue one, in the air."""
    generator = torch.Generator().manual_seed(0)
    ball = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1) * 0.25
    gaussians = Gaussians(
        means=torch.cat([ball + torch.tensor([-0.35, -0.35, 0.0]), ball + torch.tensor([0.35, 0.35, 0.0])]),
        opacities=torch.full((600,), 0.9),
        sh=rgb_to_sh(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).repeat_interleave(300, 0)),
        covariances=torch.tensor([9e-4, 0, 0, 9e-4, 0, 9e-4]).expand(600, 6).clone(),
        labels=torch.tensor([0, 1], dtype=torch.int32).repeat_interleave(300),
    )
    known = {"youngs_modulus": 1e5, "density": 500.0}
    write_scene(path, gaussians, [{"label": k, "name": name} | known for k, name in enumerate(("red", "blue"))])


def middle(mask: np.ndarray) -> np.ndarray:
    """Column and row of the middle of a mask, pixels."""
    return np.array([float(places.mean()) for places in np.nonzero(mask)[::-1]])


def test_browser_pushes_drags_resets_and_leaves(tmp_path: Path, serve: Callable[..., Server], chromium) -> None:  # type: ignore[no-untyped-def]
    write_balls(tmp_path / "balls")
    write_json(tmp_path / "weightless.json", {"g": [0.0, 0.0, 0.0], "n_grid": 64, "frame_dt": 0.02})
    server = serve(
        "tools.interactive", "--model_path", tmp_path / "balls", "--config", tmp_path / "weightless.json",
        "--checkpoint", SHIPPED / "ngff_coarse", "--device", "cpu", "--save_path", tmp_path / "saved",
        "--data_root", tmp_path,
    )  # fmt: skip
    assert "600 Gaussians, 2 objects" in server.line
    page, reports = opened(chromium, server.url)
    page.get_by_text("Without the mouse", exact=True).click(timeout=PATIENCE * 1000)
    first = until(page, "both balls show", lambda image: min(red(image).sum(), blue(image).sum()) > 500)
    first = until(page, "they stand still", lambda image: np.array_equal(image, picture(page)))

    # Slowly against x, to the left, where it hides nothing of the blue one. 20 pixels: a fifth of a ball.
    type_into(page, "Length", "0.05")
    type_into(page, "Strength", "10")
    type_into(page, "Heading", "180")
    page.get_by_role("button", name="Push", exact=True).click()
    left = middle(red(first))[0] - 20
    pushed = until(page, "the red ball is pushed", lambda image: red(image).any() and middle(red(image))[0] < left)
    assert abs(middle(blue(pushed)) - middle(blue(first))).max() < 10

    # A second browser comes, sees the same, and goes on when the first one leaves.
    other, other_reports = opened(chromium, server.url)
    until(other, "the blue ball shows", lambda image: blue(image).sum() > 500)  # the red one may be gone by now
    page.close()
    assert reports == []
    other.get_by_role("button", name="Reset").click()
    until(
        other, "it is back", lambda image: red(image).any() and abs(middle(red(image)) - middle(red(first))).max() < 3
    )

    # Drag the blue ball to the left; the picture begins at (70, 150) of the page.
    type_into(other, "Strength", "2")
    x, y = middle(blue(first)) + np.array([70, 150])
    other.mouse.move(x, y)
    other.mouse.down()
    other.mouse.move(x - 60, y, steps=6)
    other.mouse.up()
    left = middle(blue(first))[0] - 20
    until(other, "the blue ball is dragged", lambda image: blue(image).any() and middle(blue(image))[0] < left)
    assert row(other, "Chosen").locator("input").first.input_value() == "blue"
    # viser listens to presses on the scene through react-three-fiber, which makes such listeners passive, and yet asks
    # to prevent what the browser does by itself. It does nothing that would matter.
    assert [line for line in other_reports if "preventDefault inside passive event listener" not in line] == []

    # What was predicted plays, and the present comes back.
    other_reports.clear()
    other.get_by_text("Compare and save", exact=True).click()
    other.get_by_role("button", name="Replay", exact=True).click()
    playing = other.get_by_role("button", name="Pause", exact=True)
    playing.wait_for()
    until(other, "the blue ball flies again", lambda image: blue(image).any() and middle(blue(image))[0] < left)
    other.get_by_role("button", name="Back to the present", exact=True).click()
    playing.wait_for(state="detached")
    # viser's page removes controls at once, but sets values only when all messages since the last picture are read. So
    # it finds no control for a time shown just before its control went.
    late = re.compile(r"Tried to update non-existent component '[\w-]{36}' \{value: \d[\d.]*( s)?\}")
    assert [line for line in other_reports if not late.fullmatch(line)] == []
    other.close()
    status, errors = server.stop()
    assert status == 0
    assert [line for line in errors.splitlines() if "ngff_coarse" not in line] == []


@pytest.mark.parametrize("flag", ["--model_path", "--palette"])
def test_missing_input_is_one_line(tmp_path: Path, command: Callable[..., None], flag: str) -> None:
    write_balls(tmp_path / "balls")
    paths = {"--model_path": tmp_path / "balls"} | {flag: tmp_path / "none"}
    with pytest.raises(InputError, match="none: "):
        command("tools.interactive", *(word for pair in paths.items() for word in pair), "--port", 0)
