import base64
import re
from pathlib import Path

import msgspec
import pytest
import zstandard

from gaussians.stage.errors import InputError
from tests.tools.viewer.scene.samples import moving_source
from tools.viewer.saving.html_page import write_page
from tools.viewer.scene.layers import Stage
from tools.viewer.serving.client_page import client_page, mended


def recording(page: Path) -> dict:
    """The recording in a page, as viser's player unpacks it."""
    data = re.search(r'__VISER_EMBED_DATA__="([^"]+)"', page.read_text(encoding="utf-8"))
    assert data is not None
    packed = base64.b64decode(data[1])
    size = int.from_bytes(packed[:8], "little")
    inner = zstandard.ZstdDecompressor().decompress(packed[8:], max_output_size=size)
    length = int.from_bytes(inner[:8], "little")
    return msgspec.msgpack.decode(inner[8 : 8 + length])


def times_of_splats(page: Path) -> list[float]:
    """When a page shows another frame, seconds."""
    messages = recording(page)["messages"]
    return sorted({round(time, 6) for time, message in messages if "buffer" in message.get("updates", {})})


def test_a_page_holds_every_frame_at_its_time(tmp_path: Path) -> None:
    stage = Stage([moving_source(frames=6)[0]])
    # Frames every 0.02 s: every second one makes 25 a second.
    outcome = write_page(stage, tmp_path / "a.html")
    assert "3 of 6 frames, 25 a second" in outcome
    assert times_of_splats(tmp_path / "a.html") == [0.04, 0.08]
    assert recording(tmp_path / "a.html")["durationSeconds"] == pytest.approx(0.12)


def test_a_page_that_would_be_too_large_has_fewer_frames(tmp_path: Path) -> None:
    stage = Stage([moving_source(count=2000, degree=0, frames=13)[0]])
    write_page(stage, tmp_path / "all.html")
    frames = len(times_of_splats(tmp_path / "all.html"))
    size = (tmp_path / "all.html").stat().st_size
    write_page(stage, tmp_path / "less.html", largest=0.9 * size)
    assert (tmp_path / "less.html").stat().st_size <= 0.9 * size
    assert 0 < len(times_of_splats(tmp_path / "less.html")) < frames
    with pytest.raises(InputError, match="a page of one frame has"):
        write_page(Stage([moving_source(frames=1)[0]]), tmp_path / "none.html", largest=1e5)
    assert not (tmp_path / "none.html").exists()


def test_the_page_of_this_version_is_mended_and_others_are_left_alone() -> None:
    assert b"replaceAll" in client_page()
    assert b"1e18" in client_page()
    assert mended("<html></html>") == "<html></html>"
