import hashlib
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynamic_models.models.checkpoints import (
    CheckpointInfo,
    load_checkpoint,
    save_checkpoint,
)
from dynamic_models.models.interface import MAX_LAYERS, MAX_WIDTH
from dynamic_models.models.keypoint_prediction import predict_keypoints
from dynamic_models.models.registry import (
    MODELS,
    SHIPPED,
    ChosenCheckpoint,
    build_model,
    choose_checkpoint,
    default_checkpoint,
)
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError

SETTINGS = {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1, "threshold": 0.07}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "best.json", build_model(SETTINGS), info())
    return tmp_path / "best.json"


def info(**others: Any) -> CheckpointInfo:
    return CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=0.02, materials={"density": 500.0}, **others)


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

    def found(name: str) -> Path:
        return default_checkpoint(name, shipped=shipped.parent)

    assert found("ngff") == own  # whose absence load_checkpoint then reports
    save_checkpoint(shipped / "best.json", build_model(SETTINGS), info())
    own.mkdir(parents=True)  # of a training that has not saved yet
    assert found("ngff") == shipped
    save_checkpoint(own / "last.json", build_model(SETTINGS), info())
    assert found("ngff") == own
    assert found("gcn") == Path("checkpoints/gcn")


def test_the_checkpoint_is_taken_whose_cells_fit(tmp_path: Path) -> None:
    trained, shipped = tmp_path / "trained", tmp_path / "shipped"
    for name, dx in (("ngff", 0.03), ("ngff_coarse", 0.06), ("other", 0.06)):
        save_checkpoint(shipped / name / "best.json", build_model(SETTINGS), info(dx=dx))

    def chosen(dx: float, model: str = "ngff") -> ChosenCheckpoint:
        return choose_checkpoint(model, dx, trained, shipped)

    assert chosen(0.0).path == chosen(0.02).path == shipped / "ngff"
    assert chosen(0.06) == (
        shipped / "ngff_coarse",
        (f"ngff: {shipped / 'ngff_coarse'}, trained on cells of 6 cm; the scene's are 6 cm",),
    )
    assert chosen(0.02, "ngff_coarse").path == shipped / "ngff_coarse"  # its own name asks for it
    save_checkpoint(trained / "ngff" / "best.json", build_model(SETTINGS), info(dx=0.06))
    assert chosen(0.06).path == chosen(0.0).path == trained / "ngff"
    assert chosen(0.03).path == shipped / "ngff"
    save_checkpoint(trained / "ngff" / "best.json", build_model(SETTINGS), info())  # of unknown cells
    assert chosen(0.06).path == shipped / "ngff_coarse"


def test_a_stopped_training_replaces_no_other_checkpoint(tmp_path: Path) -> None:
    trained, shipped = tmp_path / "trained", tmp_path / "shipped"
    own, given = trained / "ngff", shipped / "ngff"

    def save(directory: Path, name: str, **training: object) -> None:
        save_checkpoint(directory / name, build_model(SETTINGS), info(training=training, dx=0.06))

    save(own, "best.json", iterations=80, finished=False)  # as the best of a finished training may say, too
    save(own, "last.json", iterations=1234, finished=False)
    told = f"warning: {own}: its training was stopped after 1,234 updates"
    assert choose_checkpoint("ngff", 0.06, trained, shipped) == (
        own,
        (f"ngff: {own}, trained on cells of 6 cm; the scene's are 6 cm", told),
    )
    save(given, "best.json", iterations=9)
    found = choose_checkpoint("ngff", 0.06, trained, shipped)
    assert found.path == given
    assert found.notes[1] == f"{told}; --checkpoint {own} takes it"
    assert choose_checkpoint("ngff", named=own / "best.json") == (
        own / "best.json",
        (f"warning: {own / 'best.json'}: its training was stopped after 1,234 updates",),
    )
    save(own, "last.json", iterations=2000, finished=True)
    assert choose_checkpoint("ngff", 0.06, trained, shipped).path == own
    assert choose_checkpoint("ngff", named=own).notes == ()
    (own / "last.json").write_text("{")  # loading it would say what is wrong
    assert choose_checkpoint("ngff", named=own).notes == ()


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


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/best.json")), ids=lambda path: path.parent.name)
def test_shipped_checkpoints_are_whole(path: Path) -> None:
    model, found = load_checkpoint(path, path.parent.name.removesuffix("_coarse"))
    assert found.training["scenes"] >= 200
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, found.weights}
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


@pytest.mark.parametrize("name", ["ngff", "ngff_coarse"])
def test_shipped_force_fields_drop_a_ball(name: str, ball_points: torch.Tensor) -> None:
    """Free fall out of reach of the floor, then rest on it; in training no ball fell alone."""
    model, found = load_checkpoint(SHIPPED / name, "ngff")
    height, radius, floor = -0.4, 0.2, found.world.walls[4]
    gaussians = Gaussians(
        means=ball_points + torch.tensor([0.0, 0.0, height]),
        opacities=torch.ones(len(ball_points)),
        sh=torch.zeros(len(ball_points), 1, 3),
        scales=torch.full((len(ball_points), 3), 0.01),
        quaternions=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(len(ball_points), 1),
        labels=torch.zeros(len(ball_points), dtype=torch.int32),
    )
    materials = torch.tensor([[8e5, 0.3, 600.0, 20.0]])
    predicted = predict_keypoints(model, gaussians, found.num_keypoints, 100, 0.02, found.world, materials)
    points = predicted.positions[0]
    fallen = points[10].mean(0) - points[0].mean(0)
    torch.testing.assert_close(fallen, torch.tensor([0.0, 0.0, -2.5 * 0.2**2]), rtol=0, atol=1e-4)
    # The grids of the training data have cells of 3 and 6 cm.
    assert float(points[..., 2].min()) > floor - 0.03
    assert float(points[-1, :, 2].mean()) == pytest.approx(floor + radius, abs=0.04)
    assert float((points[-1] - points[-2]).norm(dim=-1).max()) < 0.02 * 0.5  # slower than 0.5 m/s
    extent = (points[-1] - points[-1].mean(0)).norm(dim=-1).max()
    assert float(extent) == pytest.approx(radius, abs=0.03)


@pytest.mark.parametrize("dynamic_model", MODELS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_dim": MAX_WIDTH},
            r"expected shape .*65536|is (missing from|unknown among) the weights",
        ),
        ({"hidden_dim": 10**6}, "settings: hidden_dim: expected less than or equal to 65536"),
        ({"num_layers": MAX_LAYERS}, "is (missing from|unknown among) the weights"),
        ({"num_layers": 10**6}, "settings: num_layers: expected less than or equal to 1000"),
    ],
)
def test_settings_of_networks_far_larger_than_the_weights_allocate_nothing(
    checkpoint: Path, dynamic_model: str, changes: dict[str, int], message: str
) -> None:
    edit(checkpoint, settings={"dynamic_model": dynamic_model, "hidden_dim": 8} | changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        load_checkpoint(checkpoint)
    # A layer of that width alone takes 16 GB; the outline of a thousand layers some tens of MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int64, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(checkpoint: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(weights(checkpoint)).items()}
    save_file(tensors, weights(checkpoint))
    edit(checkpoint, sha256=hashlib.sha256(weights(checkpoint).read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"safetensors: .*: expected float32, found"):
        load_checkpoint(checkpoint)
