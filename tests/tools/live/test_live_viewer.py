"""What the panel of the live world does, without a browser."""

import gc
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from dataset.layout import Layout
from gaussians.files.trajectory_format import TrajectoryMeta
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.files.video import read_video
from tests.tools.live.worlds import DT, free_fall
from tools.live.live_viewer import LiveViewer
from tools.live.live_world import LiveWorld
from tools.live.palette import Palette
from tools.live.simulation import Simulator
from tools.viewer.scene.layers import Stage

CAMERA = SimpleNamespace(position=np.array([0.0, -3, 0]), wxyz=np.array([0.7, -0.7, 0, 0]), fov=0.8, aspect=1.5)
PERSON = cast(Any, SimpleNamespace(client_id=-1, camera=CAMERA))


class StandStill(Simulator):
    """A simulator in which nothing moves."""

    def run(self, world: LiveWorld, folder: Path) -> Generator[float, None, Path]:
        start, rest = world.source().frame(0, ()), world.motion.rest
        assert rest.labels is not None
        meta = TrajectoryMeta(
            frame_dt=DT, substep_dt=1e-3, frame_count=0, dx=0.06, gravity=(0, 0, -5), walls=world.source().walls
        )
        path = folder / "simulation"
        with TrajectoryWriter(path, meta, rest.opacities, rest.sh, rest.labels, fields=("pos", "cov3D")) as writer:
            for _ in range(len(world.history)):
                writer.write(start)
                yield 0.5
            writer.finish()
        return path


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[LiveViewer]:
    palette = Palette(Layout(tmp_path), count=200)
    made = LiveViewer(
        free_fall(), None, palette, StandStill(Path("none"), tmp_path, "cpu"), "localhost", 0, tmp_path / "saved"
    )
    yield made
    made.stop()


def work(viewer: LiveViewer) -> None:
    while viewer.panel.busy:
        viewer.panel.work(0.0)


def test_a_simulation_is_shown_beside_the_prediction(viewer: LiveViewer, capsys: pytest.CaptureFixture[str]) -> None:
    viewer.push(PERSON)
    for _ in range(4):
        viewer.world.step()
    viewer.simulate(PERSON)
    work(viewer)
    stage = viewer.view.stage
    assert [layer.source.name for layer in stage.layers] == ["prediction", "simulation"]
    assert (stage.arrangement, viewer.view.session.playback.playing) == ("side by side", True)
    fallen, still = (layer.source.frame(4, ()).means[:, 2].mean() for layer in stage.layers)
    # 0.08 s of -5 m/s^2, by steps that first gain speed and then move: 0.5 g t^2 (1 + 1 / 4).
    assert float(fallen - still) == pytest.approx(-0.016, abs=5e-3)
    viewer.toggle_running()
    assert [layer.source.name for layer in viewer.view.stage.layers] == ["0_a_b"]
    assert viewer.view.session.frame == 4
    assert capsys.readouterr().err == ""


def test_what_is_dropped_is_shown_and_chosen(viewer: LiveViewer) -> None:
    viewer.drop(PERSON)
    (layer,) = viewer.view.stage.layers
    assert [part.name for part in layer.parts] == ["a", "b", "ball"]
    viewer.world.step()
    viewer.twist(PERSON)  # the chosen one
    assert viewer.world.motion.forces[-1].obj_id == 2
    viewer.reset()
    assert viewer.world.motion.forces == []


def test_a_run_is_recorded_and_saved(viewer: LiveViewer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        viewer.world.step()
    viewer.record(PERSON)
    work(viewer)
    # 6 frames of 0.02 s at 30 pictures a second.
    assert len(list(read_video(tmp_path / "saved" / "0_a_b.mp4"))) == 4
    viewer.save(PERSON)
    assert "0_a_b_forces.json" in capsys.readouterr().out
    assert (tmp_path / "saved" / "0_a_b" / "objects.json").is_file()


def test_a_slip_of_the_hand_pushes_nothing(viewer: LiveViewer) -> None:
    viewer._dragged("push", 0, torch.zeros(3), torch.full((3,), 1e-3))
    assert viewer.world.motion.forces == []
    viewer._dragged("push", 1, torch.zeros(3), torch.tensor([0.0, 0.0, 0.5]))
    (push,) = viewer.world.motion.forces
    # 40 m/s^2 for a metre of arrow.
    assert push.force == pytest.approx((0, 0, 20 * viewer.world.motion.masses[1]))


def test_replays_leave_nothing_behind(viewer: LiveViewer) -> None:
    buffer = viewer.panel.server._websock_server._broadcast_buffer

    def remembered() -> tuple[int, int]:
        viewer.world.step()
        viewer.toggle_replay()
        stages.append(weakref.ref(viewer.view.stage))
        viewer.toggle_replay()
        return len(buffer.message_from_id), len(viewer.panel.controls._controls)

    stages: list[weakref.ref[Stage]] = []
    gc.disable()  # which would free them some day anyway
    try:
        assert remembered() == remembered()
        assert [stage() for stage in stages] == [None, None]
    finally:
        gc.enable()
