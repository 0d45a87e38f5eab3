from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from gaussians.stage.warp_runtime import start_warp
from tools.benchmarks.simulation import contact


def test_contact_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "_FRICTIONS", (0.2,))
    monkeypatch.setattr(contact, "_DEGREES", (25,))
    monkeypatch.setattr(contact, "_CELLS", (20, 24))
    start_warp()
    rows = contact.measure(torch.device("cpu"))
    assert [row["what"] for row in rows] == ["block on a slope", "balls head-on", "balls head-on"]
    assert rows[0]["found"] == pytest.approx(rows[0]["rigid"], rel=0.05)
    assert 0 < rows[1]["found"] < rows[2]["found"] < 1
    contact.plot(rows, torch.device("cpu"), "a machine", tmp_path / "contact.png")
    assert iio.imread(tmp_path / "contact.png").std() > 1
