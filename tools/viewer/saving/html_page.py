"""Write a clip as one page that plays without a server: viser's own player with a recording in it.

viser's recording is taken, and not a file of the PlayCanvas family (compressed PLY, SOG): those hold Gaussians at rest,
of which a clip would need one a frame and a player that nobody maintains, while viser's player comes with the library,
draws what the viewer draws, and has play, pause, a slider of time and a list of what can be hidden.
"""

from collections.abc import Callable
from pathlib import Path

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError
from tools.viewer.overlays.guides import Guides, look_at
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.splat_nodes import Moment, SplatNodes
from tools.viewer.scene.splat_packing import Coarseness
from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.client_page import mended
from tools.viewer.serving.guarded_server import start_server, stop_server

LARGEST_PAGE = 30e6
"""Bytes: larger pages get fewer frames a second."""
# The first is quarters of a millimetre, and covariances to 1 in 128, which halves a page and cannot be told apart; the
# second is for what is too large otherwise.
_COARSENESSES = (Coarseness(grid=0.25, bits=6, tolerance=1 / 32), Coarseness(grid=0.5, bits=5, tolerance=1 / 16))
_FRAMES_PER_SECOND = 30.0


def write_page(
    stage: Stage, path: Path, largest: float = LARGEST_PAGE, progress: Callable[[float], None] | None = None
) -> str:
    """Write a page that plays a stage, with fewer digits and then fewer frames where it would be too large.

    Args:
        stage: what is shown.
        path: an .html file; it appears when it is whole.
        largest: bytes that the page may have.
        progress: is told which share of the present attempt is done.

    Returns:
        What was written.

    Raises:
        InputError: a file is damaged, the page cannot be written, or a single frame is larger than ``largest``.
    """
    count, step = stage.duration
    every = max(1, round(1 / (_FRAMES_PER_SECOND * step)))
    coarseness, *coarser = _COARSENESSES
    while True:
        chosen = list(range(0, count, every))
        page = recorded_page(stage, [k * step for k in chosen], every * step, coarseness, progress)
        if len(page) <= largest:
            break
        if coarser:
            coarseness = coarser.pop()
            continue
        if len(chosen) == 1:
            raise InputError(
                f"{path}: a page of one frame has {len(page) / 1e6:.0f} MB, more than {largest / 1e6:g} MB"
            )
        # At least one frame less; the page itself and the first frame stay.
        every = max(every + 1, int(every * len(page) / largest))
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(page)
    rate = 1 / (every * step)
    frames = f"{len(chosen)} of {count} frames, {rate:.3g} a second" if count > 1 else "one frame"
    return f"{path}: {len(page) / 1e6:.1f} MB, {frames}"


def recorded_page(
    stage: Stage,
    times: list[float],
    interval: float,
    coarseness: Coarseness,
    progress: Callable[[float], None] | None = None,
) -> bytes:
    """Return a page that shows a stage at some times one after the other, ``interval`` seconds each.

    Colours are those of degree 0, which do not depend on the viewing direction: nothing computes others in the page.

    Raises:
        InputError: a file is damaged.
    """
    controls = Controls()
    server = start_server("localhost", 0, "Gaussians", controls)
    try:
        server.scene.set_up_direction(stage.signed_up)  # type: ignore[arg-type]
        guides = Guides(server.scene, stage)
        look_at(server, guides, stage.up)
        nodes, moment = SplatNodes(server.scene), Moment(stage, times[0], coarseness=coarseness)
        nodes.draw(moment, None)
        recording = server.get_scene_serializer()
        for number, time in enumerate(times[1:], 1):
            recording.insert_sleep(interval)
            moment = Moment(stage, time, moment, coarseness)
            nodes.draw(moment, None)
            if progress is not None:
                progress(number / len(times))
        recording.insert_sleep(interval if len(times) > 1 else 0.0)
        return mended(recording.as_html()).encode()
    finally:
        stop_server(server)
