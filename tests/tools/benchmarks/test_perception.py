import pytest
import torch

from externals.pi3_splat.network import Pi3Sizes
from tools.benchmarks import perception


def test_every_model_is_measured_in_each_type(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Pi3Sizes(
        width=32, heads=2, encoder_depth=1, decoder_depth=2, head_depth=1, camera_width=16, upsampling=(8, 8, 8)
    )
    monkeypatch.setitem(perception._PI3_WORKLOADS, "cpu", (sizes, 2, 28))
    rows = list(perception.measure(torch.device("cpu")))
    assert [(row["model"], row["products"]) for row in rows] == [("Pi3_splat", "bfloat16"), ("Pi3_splat", "float32")]
    for row in rows:
        assert str(row["work"]).startswith("2 pictures of 28 x 28, ")
        assert isinstance(row["seconds"], float)
        assert row["seconds"] > 0
        assert isinstance(row["peak GiB"], float)
        assert row["peak GiB"] > 0.1
