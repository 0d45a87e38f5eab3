import sys
from pathlib import Path

import pytest

from gaussians.stage.errors import InputError
from videogen.side_by_side import main


def test_command_asks_for_a_title_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--videos", "a.mp4", "b.mp4", "--titles", "one", "--output", str(tmp_path / "c.mp4")]
    monkeypatch.setattr(sys, "argv", ["side_by_side", *arguments])
    with pytest.raises(InputError, match="--titles: expected 2"):
        main()
