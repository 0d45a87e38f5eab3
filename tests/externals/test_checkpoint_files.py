"""Checkpoints in every published kind of file, and what is no checkpoint: one line each, and nothing is run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from externals.checkpoint_files import check_free_memory, load_strictly, read_checkpoint, read_pickle, require
from gaussians.stage.errors import InputError

TENSORS = {"weight": torch.arange(6.0).reshape(3, 2), "bias": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16)}


class Malice:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("import sys; sys.malice = True",)


def sharded(folder: Path) -> Path:
    for number, name in enumerate(TENSORS):
        save_file({name: TENSORS[name]}, folder / f"model-{number}.safetensors")
    files = {name: f"model-{number}.safetensors" for number, name in enumerate(TENSORS)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def whole(folder: Path, name: str = "model.safetensors") -> Path:
    save_file(TENSORS, folder / name)
    return folder


def pickled(folder: Path, name: str = "a.pth", contents: object = TENSORS, archive: bool = True) -> Path:
    torch.save(contents, folder / name, _use_new_zipfile_serialization=archive)
    return folder / name


@pytest.mark.parametrize(
    ("write", "entry"),
    [
        (whole, None),
        (lambda folder: whole(folder) / "model.safetensors", None),
        (lambda folder: whole(folder, "diffusion_pytorch_model.safetensors"), None),
        (sharded, None),
        (pickled, None),
        (lambda folder: pickled(folder, archive=False), None),
        (lambda folder: pickled(folder, contents={"model": TENSORS, "epoch": 3}), "model"),
        (lambda folder: pickled(folder, "pytorch_model.bin").parent, None),
    ],
    ids=["folder", "file", "diffusers", "shards", "pickle", "old pickle", "nested", "pickle in a folder"],
)
def test_every_kind_of_file_gives_the_same_tensors(
    tmp_path: Path, write: Callable[[Path], Path], entry: str | None
) -> None:
    found = read_checkpoint(write(tmp_path), entry)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def html(folder: Path, name: str) -> Path:
    (folder / name).write_text("\n<!DOCTYPE html>\n<html><title>Sign in</title></html>")
    return folder / name


def truncated(folder: Path, path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-9])
    return path


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def leading_out(folder: Path) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": "../a.safetensors"}}))
    return folder


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: html(folder, "a.pth"), r"a\.pth: a web page, not a checkpoint: download it again"),
        (lambda folder: html(folder, "model.safetensors").parent, r"model\.safetensors: a web page"),
        (lambda folder: truncated(folder, pickled(folder)), r"a\.pth: expected a dictionary of tensors"),
        (lambda folder: truncated(folder, pickled(folder, archive=False)), r"a\.pth: expected a dictionary of tensors"),
        (lambda folder: truncated(folder, whole(folder) / "model.safetensors"), r"safetensors: damaged, or no"),
        (lambda folder: pickled(folder, contents={"a": Malice()}), r"a\.pth: .*it holds .*exec, .* is not run$"),
        (lambda folder: pickled(folder, contents={"a": Malice()}, archive=False), r"a\.pth: .*is not run$"),
        (lambda folder: pickled(folder, contents={"model": TENSORS}), r"a\.pth: no tensor 'model'"),
        (lambda folder: pickled(folder, contents=[1]), r"a\.pth: expected a dictionary of tensors, found list"),
        (lambda folder: without(sharded(folder), "model-1.safetensors"), r"1 of 2 parts missing \(model-1\.safet"),
        (leading_out, r"\.\./a\.safetensors: leads out of the folder"),
        (lambda folder: folder, r"no checkpoint in this folder: expected any of model\.safetensors"),
        (lambda folder: folder / "a.pth", r"a\.pth: no such file"),
    ],
    ids=[
        *("page as pickle", "page in a folder", "cut archive", "cut old pickle", "cut safetensors", "code", "old code"),
        *("nested", "list", "missing shard", "shard elsewhere", "empty folder", "nothing"),
    ],
)
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(write(tmp_path))
    assert not hasattr(sys, "malice")
    assert "weights_only" not in str(caught.value)


def test_an_entry_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.pth: expected tensors in an entry 'model', found weight, bias"):
        read_checkpoint(pickled(tmp_path), "model")
    assert read_pickle(pickled(tmp_path, contents={"rank": 4, "names": ["a"]})) == {"rank": 4, "names": ["a"]}


def test_tensors_are_loaded_onto_a_module_without_values() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 3)
    load_strictly(module, TENSORS | {"old.a": torch.zeros(1), "old.b": torch.zeros(1)}, "a.pth", ignored=["old.*"])
    assert module.bias.dtype == torch.bfloat16
    assert not module.training
    assert not module.weight.requires_grad
    assert module.weight.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_another_models_tensors_are_named() -> None:
    wrong = {"weight": torch.zeros(2, 2), "scale": torch.zeros(3)}
    message = (
        r"a\.pth: not a checkpoint of a layer: of 2 tensors 1 missing \(bias\), 1 unknown \(scale\), "
        r"1 of another shape \(weight \(2, 2\) for \(3, 2\)\)$"
    )
    with pytest.raises(InputError, match=message):
        load_strictly(nn.Linear(2, 3), wrong, "a.pth", what="a layer")


def test_a_buffer_that_no_checkpoint_holds_needs_a_value() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 3)
        module.register_buffer("frequencies", torch.zeros(3), persistent=False)
    with pytest.raises(ValueError, match="buffers on the meta device that no checkpoint holds: frequencies"):
        load_strictly(module, TENSORS, "a.pth")


def test_a_missing_library_is_named_with_what_brings_it() -> None:
    assert require("json") is json
    with pytest.raises(InputError, match=r"^not_there is not installed: pip install '\.\[perception\]'"):
        require("not_there.inside")


def test_too_little_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**34))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2**29)
    check_free_memory("cuda:0", 3 * 2**29, "a model", "lower --views")
    message = "a model: takes at least 2 GiB of memory, of which 1.5 GiB are free on cuda:0: lower --views"
    with pytest.raises(InputError, match=message):
        check_free_memory("cuda:0", 2**31, "a model", "lower --views")
