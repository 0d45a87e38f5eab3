import pytest
import torch

from externals.pi3_splat.network import Pi3Sizes
from tools.benchmarks import perception


def test_every_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from externals.diffsplat import denoising

    sizes = Pi3Sizes(
        width=32, heads=2, encoder_depth=1, decoder_depth=2, head_depth=1, camera_width=16, upsampling=(8, 8, 8)
    )
    monkeypatch.setitem(perception._PI3_WORKLOADS, "cpu", (sizes, 2, 28))
    for version in ("sd15", "sd35m"):
        monkeypatch.setitem(denoising._STEPS, version, 1)
    monkeypatch.setattr(perception, "_REPEATS", 1)
    rows = list(perception.measure(torch.device("cpu")))
    assert [(row["model"], row["products"]) for row in rows] == [
        ("Pi3_splat", "bfloat16"),
        ("Pi3_splat", "float32"),
        ("SAM 2.1 tiny", "float32"),
        ("OSEDiff", "float32"),
        ("DiffSplat sd15", "float32"),
        ("DiffSplat sd35m", "float32"),
    ]
    assert all(str(row["work"]).startswith("2 pictures of 28 x 28, ") for row in rows[:2])
    for row in rows:
        assert isinstance(row["seconds"], float)
        assert row["seconds"] > 0
        assert isinstance(row["peak GiB"], float)
        assert row["peak GiB"] > 0.1
