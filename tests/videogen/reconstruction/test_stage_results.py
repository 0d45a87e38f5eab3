import json
from pathlib import Path

import pytest
import torch

from gaussians.stage.errors import InputError
from videogen.reconstruction.stage_results import StageResults


def result(folder: Path, value: float, *, overwrite: bool = False, seed: int = 0) -> float:
    """Return what the stage "sum" gives: ``value``, unless an earlier result is current."""

    def make() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        return {"sum": torch.tensor([value])}, {"sum": value}

    tensors, facts, _ = StageResults(folder, overwrite).get("sum", {"seed": seed}, make)
    assert tensors["sum"].item() == facts["sum"]
    return facts["sum"]


def test_a_result_is_kept_as_long_as_it_is_made_from_the_same(tmp_path: Path) -> None:
    assert result(tmp_path, 1.0) == 1.0
    assert result(tmp_path, 2.0) == 1.0
    assert result(tmp_path, 2.0, overwrite=True) == 1.0
    with pytest.raises(InputError, match=r"sum\.json: made with other seed; --overwrite makes it again"):
        result(tmp_path, 3.0, seed=1)
    assert result(tmp_path, 3.0, overwrite=True, seed=1) == 3.0


def test_a_result_without_its_record_is_overwritten_on_request_alone(tmp_path: Path) -> None:
    result(tmp_path, 1.0)
    (tmp_path / "sum.json").unlink()
    with pytest.raises(InputError, match=r"nothing says what it was made from \(sum\.json\); --overwrite makes it"):
        result(tmp_path, 2.0)
    assert result(tmp_path, 2.0, overwrite=True) == 2.0
    assert json.loads((tmp_path / "sum.json").read_text())["made_from"]["seed"] == 0
