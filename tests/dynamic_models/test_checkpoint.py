import json
from pathlib import Path

import pytest
import torch

from dynamic_models import checkpoint as checkpoint_module
from dynamic_models.checkpoint import CheckpointInfo, default_checkpoint, load_checkpoint, save_checkpoint
from dynamic_models.models import build_model
from gaussians.errors import InputError

SETTINGS = {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1, "threshold": 0.07}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "best.json", build_model(SETTINGS), info())
    return tmp_path / "best.json"


def info() -> CheckpointInfo:
    return CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=0.02, materials={"density": 500.0})


def weights(checkpoint: Path) -> Path:
    return checkpoint.parent / json.loads(checkpoint.read_text())["weights"]


def edit(checkpoint: Path, **changes: object) -> None:
    checkpoint.write_text(json.dumps(json.loads(checkpoint.read_text()) | changes))


def test_what_was_saved_comes_back(checkpoint: Path) -> None:
    torch.manual_seed(0)
    expected = build_model(SETTINGS).state_dict()
    for path in (checkpoint, checkpoint.parent):
        model, found = load_checkpoint(path, "ngff")
        assert not model.training
        assert found.model_dump(exclude={"weights", "sha256"}) == info().model_dump(exclude={"weights", "sha256"})
        assert model.settings.threshold == 0.07
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name])


def test_saving_again_leaves_one_pair_of_files(checkpoint: Path) -> None:
    save_checkpoint(checkpoint, build_model(SETTINGS), info())
    assert sorted(path.suffix for path in checkpoint.parent.iterdir()) == [".json", ".safetensors"]
    load_checkpoint(checkpoint)


def test_own_checkpoints_go_before_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own, shipped = Path("checkpoints/ngff"), tmp_path / "shipped" / "ngff"
    monkeypatch.setattr(checkpoint_module, "SHIPPED", shipped.parent)
    assert default_checkpoint("ngff") == own  # whose absence load_checkpoint then reports
    save_checkpoint(shipped / "best.json", build_model(SETTINGS), info())
    own.mkdir(parents=True)  # of a training that has not saved yet
    assert default_checkpoint("ngff") == shipped
    save_checkpoint(own / "last.json", build_model(SETTINGS), info())
    assert default_checkpoint("ngff") == own
    assert default_checkpoint("gcn") == Path("checkpoints/gcn")


def test_missing_files_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: no such file"):
        load_checkpoint(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected best\.json or last\.json"):
        load_checkpoint(tmp_path / "empty")
    with pytest.raises(InputError, match=r"\.json file or its directory"):
        load_checkpoint(weights(checkpoint))
    weights(checkpoint).unlink()
    with pytest.raises(InputError, match=r"safetensors: no such file"):
        load_checkpoint(checkpoint)


def test_truncated_or_changed_weights_are_refused(checkpoint: Path) -> None:
    path = weights(checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(InputError, match="truncated or changed"):
        load_checkpoint(checkpoint)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="truncated or changed"):
        load_checkpoint(checkpoint)


def test_pickles_are_not_read(checkpoint: Path) -> None:
    import hashlib

    torch.save({"weights": torch.zeros(3)}, weights(checkpoint))
    digest = hashlib.sha256(weights(checkpoint).read_bytes()).hexdigest()
    edit(checkpoint, sha256=digest)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_checkpoint(checkpoint)


def test_other_models_and_settings_are_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="dynamic_model: expected gcn, found ngff"):
        load_checkpoint(checkpoint, "gcn")
    edit(checkpoint, settings=SETTINGS | {"hidden_dim": 16})
    with pytest.raises(InputError, match=r"expected shape \(.*\) by its settings, found"):
        load_checkpoint(checkpoint)
    edit(checkpoint, settings=SETTINGS | {"num_layers": 2})
    with pytest.raises(InputError, match="is missing from the weights"):
        load_checkpoint(checkpoint)
    edit(checkpoint, settings=SETTINGS | {"colour": 1})
    with pytest.raises(InputError, match="settings: colour"):
        load_checkpoint(checkpoint)
    edit(checkpoint, settings={"dynamic_model": "nerf"})
    with pytest.raises(InputError, match=r"expected one of ngff.*'nerf'"):
        load_checkpoint(checkpoint)


def test_foreign_json_is_refused(checkpoint: Path) -> None:
    edit(checkpoint, format_version=99)
    with pytest.raises(InputError, match="format_version: expected at most 1, found 99"):
        load_checkpoint(checkpoint)
    edit(checkpoint, format_version=1, num_keypoints=-3)
    with pytest.raises(InputError, match="num_keypoints"):
        load_checkpoint(checkpoint)
    checkpoint.write_text('{"a": 1}')
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(checkpoint)
    checkpoint.write_text('{"settings": ')
    with pytest.raises(InputError, match="not valid JSON"):
        load_checkpoint(checkpoint)


def test_weights_elsewhere_are_not_followed(checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint names a file beside it; a path to anywhere else is not opened."""
    edit(checkpoint, weights="../../etc/passwd")
    with pytest.raises(InputError, match=r"passwd: no such file: expected the weights"):
        load_checkpoint(checkpoint)


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    model = build_model(SETTINGS)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = torch.nan
    save_checkpoint(tmp_path / "best.json", model, info())
    with pytest.raises(InputError, match="non-finite"):
        load_checkpoint(tmp_path)
